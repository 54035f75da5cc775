//! When a window has a row.
//!
//! | | a row | at the window's end |
//! |---|---|---|
//! | [`Trigger::event_time`] | | yes |
//! | [`Trigger::count`] | after so many records | if [`or_at_end`](Trigger::or_at_end) |
//! | [`Trigger::continuous`] | every so often by event time, if something came | yes |
//! | [`Trigger::by_clock`] | so long by the wall clock after the first record without a row | yes |
//!
//! A row is of all that is in the window, which stays in it; [`purging`](Trigger::purging) triggers take it out.

use std::time::Duration;

use super::length::Length;
use crate::{id::WallTime, record::Record, time::Timestamp, window::Window};

/// What a trigger wants done with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Nothing.
    Go,
    /// A row of what is in it.
    Fire,
    /// A row of what is in it, which then is taken out.
    FireAndPurge,
    /// What is in it is taken out.
    Purge,
}

/// When a trigger wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// When the clock of event time has reached this.
    EventTime(Timestamp),
    /// When the wall clock has reached this.
    Clock(WallTime),
}

/// What a trigger may know of a window, and ask for. Asking for one moment twice is asking once.
#[derive(Debug)]
pub struct TriggerContext<'a> {
    window: Window,
    event_time: Timestamp,
    wall_time: WallTime,
    /// When the window is complete, and when it is given up.
    complete: Timestamp,
    expires: Timestamp,
    wakes: &'a mut Vec<Wake>,
}

impl<'a> TriggerContext<'a> {
    /// Of a window at a moment; what is asked for is appended to `wakes`.
    pub fn new(window: Window, event_time: Timestamp, wall_time: WallTime, wakes: &'a mut Vec<Wake>) -> Self {
        let complete = window.max_timestamp();
        Self { window, event_time, wall_time, complete, expires: complete, wakes }
    }

    /// Of a window that is complete, and given up, at other times than when its last moment has come.
    pub(crate) fn lasting(self, complete: Timestamp, expires: Timestamp) -> Self {
        Self { complete, expires, ..self }
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// How far event time is. A record that is not behind it came late. In [`on_event_time`](WindowTrigger::on_event_time) no further than what was asked for, even if the watermark has jumped far
    /// beyond: so what a trigger does is not up to how often there is a watermark.
    pub fn event_time(&self) -> Timestamp {
        self.event_time
    }

    /// When the window is complete: when event time has reached this, no record will come that is not late.
    pub fn complete_at(&self) -> Timestamp {
        self.complete
    }

    /// When the window is given up, with what is in it: when event time has reached this. Late records count until then.
    pub fn expires_at(&self) -> Timestamp {
        self.expires
    }

    /// What the wall clock says.
    pub fn wall_time(&self) -> WallTime {
        self.wall_time
    }

    /// Asks for [`on_event_time`](WindowTrigger::on_event_time). If time has come there already, at once, behind the record; of what is asked for at a moment, that moment and
    /// those before it count for nothing.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.wakes.push(Wake::EventTime(time));
    }

    /// Asks for [`on_clock`](WindowTrigger::on_clock), as [`wake_at`](Self::wake_at) does.
    pub fn wake_at_clock(&mut self, time: WallTime) {
        self.wakes.push(Wake::Clock(time));
    }

    /// Whether the window is complete.
    pub fn is_complete(&self) -> bool {
        self.complete <= self.event_time
    }

    /// A row at once for a record that comes to a complete window; otherwise one is asked for at its end.
    fn at_end(&mut self) -> Act {
        if self.is_complete() {
            return Act::Fire;
        }
        self.wake_at(self.complete);
        Act::Go
    }
}

/// Says when a window of records `T` has a row. A plain value: what it keeps of a key's window is `State`, which is part of each checkpoint.
///
/// It asks with each record for all that it waits for. So nothing else is due when sessions are merged: their states are, by [`on_merge`](Self::on_merge), and then
/// comes [`on_record`](Self::on_record) for the record that brought them together.
pub trait WindowTrigger<T>: Clone + Send + 'static {
    /// What it keeps of a key's window. A window that is purged by it keeps it.
    type State: Record + Default;

    /// A record is in the window; `time` is when it happened.
    fn on_record(&self, record: &T, time: Timestamp, state: &mut Self::State, cx: &mut TriggerContext<'_>) -> Act;

    /// The clock of event time has reached `time`, which was asked for. Sessions may have become one since: so `time` may be one that the window would not ask for now.
    fn on_event_time(&self, _time: Timestamp, _state: &mut Self::State, _cx: &mut TriggerContext<'_>) -> Act {
        Act::Go
    }

    /// The wall clock has reached `time`, which was asked for.
    fn on_clock(&self, _time: WallTime, _state: &mut Self::State, _cx: &mut TriggerContext<'_>) -> Act {
        Act::Go
    }

    /// The window of `other` becomes a part of that of `into`.
    fn on_merge(&self, into: &mut Self::State, other: Self::State);

    /// Why it makes no sense, one sentence each.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it is called: windows that are kept with a trigger of one name are not gone on with by one of another, which their states and what was asked for mean nothing to. Nothing: as if
    /// there were none.
    fn name(&self) -> String {
        "own".to_string()
    }
}

/// A trigger, ready-made or one's own.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::window::Trigger;
///
/// let every_hundred = Trigger::count(100).or_at_end().purging();
/// let early = Trigger::continuous(Duration::from_secs(60));
/// # let _ = (every_hundred, early);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Trigger<W>(W);

impl<W> Trigger<W> {
    /// One's own.
    pub fn own(trigger: W) -> Self {
        Self(trigger)
    }

    /// What is in the window is taken out with each row, so that the next one is of what comes then.
    pub fn purging(self) -> Trigger<Purging<W>> {
        Trigger(Purging(self.0))
    }

    /// What it is.
    pub fn into_inner(self) -> W {
        self.0
    }
}

impl Trigger<EventTime> {
    /// One row when the window is complete, and one for each record that comes later.
    pub fn event_time() -> Self {
        Self(EventTime)
    }
}

impl Trigger<Counting> {
    /// A row after every `n` records.
    pub fn count(n: u64) -> Self {
        Self(Counting { n, is_at_end: false })
    }

    /// A row of what is left, too, when the window is complete: less than `n` records.
    #[must_use]
    pub fn or_at_end(self) -> Self {
        Self(Counting { is_at_end: true, ..self.0 })
    }
}

impl Trigger<Continuous> {
    /// A row whenever event time passes a whole multiple of `every` and something came since the last one, and when the window is complete.
    pub fn continuous(every: Duration) -> Self {
        Self(Continuous { every: Length::of(every) })
    }
}

impl Trigger<ByClock> {
    /// A row when a record has waited for one so long by the wall clock, and when the window is complete.
    pub fn by_clock(after: Duration) -> Self {
        Self(ByClock { after: Length::of(after) })
    }
}

/// See [`Trigger::event_time`].
#[derive(Clone, Copy, Debug)]
pub struct EventTime;

impl<T> WindowTrigger<T> for EventTime {
    type State = ();

    fn on_record(&self, _record: &T, _time: Timestamp, _state: &mut (), cx: &mut TriggerContext<'_>) -> Act {
        cx.at_end()
    }

    fn on_event_time(&self, _time: Timestamp, _state: &mut (), cx: &mut TriggerContext<'_>) -> Act {
        if cx.is_complete() { Act::Fire } else { Act::Go }
    }

    fn on_merge(&self, _into: &mut (), _other: ()) {}

    fn name(&self) -> String {
        String::new()
    }
}

/// One row when the window is given up.
#[derive(Clone, Copy, Debug)]
pub struct FinalOnly;

impl<T> WindowTrigger<T> for FinalOnly {
    type State = ();

    fn on_record(&self, _record: &T, _time: Timestamp, _state: &mut (), cx: &mut TriggerContext<'_>) -> Act {
        cx.wake_at(cx.expires);
        Act::Go
    }

    fn on_event_time(&self, _time: Timestamp, _state: &mut (), cx: &mut TriggerContext<'_>) -> Act {
        if cx.expires <= cx.event_time { Act::Fire } else { Act::Go }
    }

    fn on_merge(&self, _into: &mut (), _other: ()) {}

    /// What is otherwise than with [`EventTime`] is told by the lateness.
    fn name(&self) -> String {
        String::new()
    }
}

/// See [`Trigger::count`]. Its state is the number of records that had no row.
#[derive(Clone, Copy, Debug)]
pub struct Counting {
    n: u64,
    is_at_end: bool,
}

impl<T> WindowTrigger<T> for Counting {
    type State = u64;

    fn on_record(&self, _record: &T, _time: Timestamp, state: &mut u64, cx: &mut TriggerContext<'_>) -> Act {
        *state += 1;
        let at_end = if self.is_at_end { cx.at_end() } else { Act::Go };
        if *state < self.n && at_end == Act::Go {
            return Act::Go;
        }
        *state = 0;
        Act::Fire
    }

    fn on_event_time(&self, _time: Timestamp, state: &mut u64, cx: &mut TriggerContext<'_>) -> Act {
        let is_left = self.is_at_end && cx.is_complete() && std::mem::take(state) > 0;
        if is_left { Act::Fire } else { Act::Go }
    }

    fn on_merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }

    fn faults(&self) -> Vec<String> {
        let fault = || "its trigger fires after every 0 records: it must be at least 1".to_string();
        (self.n == 0).then(fault).into_iter().collect()
    }

    /// Windows that have no other record would not be asked at their end for what is left.
    fn name(&self) -> String {
        if self.is_at_end { "count or at end" } else { "count" }.to_string()
    }
}

/// See [`Trigger::continuous`]. Its state is the next multiple at which there is a row, if something came.
#[derive(Clone, Copy, Debug)]
pub struct Continuous {
    every: Length,
}

impl<T> WindowTrigger<T> for Continuous {
    type State = Option<Timestamp>;

    fn on_record(&self, _: &T, time: Timestamp, state: &mut Self::State, cx: &mut TriggerContext<'_>) -> Act {
        if cx.is_complete() {
            *state = None;
            return Act::Fire;
        }
        cx.wake_at(cx.complete);
        // A late record waits for the multiple that comes next, not for one that has passed.
        let after = time.max(Timestamp(cx.event_time.0.saturating_add(1)));
        let next = Window::around(after, 0, self.every.millis - after.0.rem_euclid(self.every.millis)).end;
        let next = state.map_or(next, |earlier| earlier.min(next));
        *state = Some(next);
        cx.wake_at(Window::new(cx.window.start, next).max_timestamp());
        Act::Go
    }

    fn on_event_time(&self, _time: Timestamp, state: &mut Self::State, cx: &mut TriggerContext<'_>) -> Act {
        let is_due = state.is_some_and(|next| next.0.saturating_sub(1) <= cx.event_time.0);
        if !is_due && !cx.is_complete() {
            return Act::Go;
        }
        *state = None;
        Act::Fire
    }

    fn on_merge(&self, into: &mut Self::State, other: Self::State) {
        *into = (*into).into_iter().chain(other).min();
    }

    fn faults(&self) -> Vec<String> {
        self.every.fault("time between two rows of its trigger").into_iter().collect()
    }

    fn name(&self) -> String {
        "continuous".to_string()
    }
}

/// See [`Trigger::by_clock`]. Its state is when the row is due, if something came.
#[derive(Clone, Copy, Debug)]
pub struct ByClock {
    after: Length,
}

impl<T> WindowTrigger<T> for ByClock {
    type State = Option<WallTime>;

    fn on_record(&self, _: &T, _: Timestamp, state: &mut Self::State, cx: &mut TriggerContext<'_>) -> Act {
        let act = cx.at_end();
        if act == Act::Fire {
            *state = None;
        } else {
            let now = cx.wall_time.0;
            let due = *state.get_or_insert(WallTime(now.saturating_add(self.after.millis.unsigned_abs())));
            cx.wake_at_clock(due);
        }
        act
    }

    fn on_event_time(&self, _time: Timestamp, state: &mut Self::State, cx: &mut TriggerContext<'_>) -> Act {
        if !cx.is_complete() {
            return Act::Go;
        }
        *state = None;
        Act::Fire
    }

    fn on_clock(&self, _time: WallTime, state: &mut Self::State, cx: &mut TriggerContext<'_>) -> Act {
        match state.take_if(|due| *due <= cx.wall_time) {
            Some(_) => Act::Fire,
            None => Act::Go,
        }
    }

    fn on_merge(&self, into: &mut Self::State, other: Self::State) {
        *into = (*into).into_iter().chain(other).min();
    }

    fn faults(&self) -> Vec<String> {
        self.after.fault("time after which its trigger fires").into_iter().collect()
    }

    fn name(&self) -> String {
        "by clock".to_string()
    }
}

/// See [`Trigger::purging`].
#[derive(Clone, Copy, Debug)]
pub struct Purging<W>(W);

impl<T, W: WindowTrigger<T>> WindowTrigger<T> for Purging<W> {
    type State = W::State;

    fn on_record(&self, record: &T, time: Timestamp, state: &mut W::State, cx: &mut TriggerContext<'_>) -> Act {
        purged(self.0.on_record(record, time, state, cx))
    }

    fn on_event_time(&self, time: Timestamp, state: &mut W::State, cx: &mut TriggerContext<'_>) -> Act {
        purged(self.0.on_event_time(time, state, cx))
    }

    fn on_clock(&self, time: WallTime, state: &mut W::State, cx: &mut TriggerContext<'_>) -> Act {
        purged(self.0.on_clock(time, state, cx))
    }

    fn on_merge(&self, into: &mut W::State, other: W::State) {
        self.0.on_merge(into, other);
    }

    fn faults(&self) -> Vec<String> {
        self.0.faults()
    }

    fn name(&self) -> String {
        let name = self.0.name();
        if name.is_empty() { "purging".to_string() } else { format!("{name}, purging") }
    }
}

fn purged(act: Act) -> Act {
    if act == Act::Fire { Act::FireAndPurge } else { act }
}

#[cfg(test)]
mod tests {
    use Wake::{Clock, EventTime as At};

    use super::{super::tumbling::ms, *};

    const TEN: Window = Window::new(Timestamp(0), Timestamp(10));

    /// A trigger over one window, driven by hand. Each call gives what is done, and what was asked for.
    struct Driven<W: WindowTrigger<()>> {
        trigger: W,
        state: W::State,
        window: Window,
        event_time: Timestamp,
        wall_time: WallTime,
    }

    fn drive<W: WindowTrigger<()>>(trigger: Trigger<W>, window: Window) -> Driven<W> {
        let (event_time, wall_time) = (Timestamp::MIN, WallTime(0));
        Driven { trigger: trigger.into_inner(), state: W::State::default(), window, event_time, wall_time }
    }

    impl<W: WindowTrigger<()>> Driven<W> {
        fn ask(&mut self, call: impl FnOnce(&W, &mut W::State, &mut TriggerContext<'_>) -> Act) -> (Act, Vec<Wake>) {
            let mut wakes = Vec::new();
            let mut cx = TriggerContext::new(self.window, self.event_time, self.wall_time, &mut wakes);
            let act = call(&self.trigger, &mut self.state, &mut cx);
            (act, wakes)
        }

        fn record(&mut self, time: i64) -> (Act, Vec<Wake>) {
            self.ask(|trigger, state, cx| trigger.on_record(&(), Timestamp(time), state, cx))
        }

        fn event_time(&mut self, time: i64) -> Act {
            self.event_time = Timestamp(time);
            self.ask(|trigger, state, cx| trigger.on_event_time(Timestamp(time), state, cx)).0
        }

        fn clock(&mut self, time: u64) -> Act {
            self.wall_time = WallTime(time);
            self.ask(|trigger, state, cx| trigger.on_clock(WallTime(time), state, cx)).0
        }
    }

    #[test]
    fn event_time_fires_at_the_end_and_for_each_record_behind_it() {
        let mut trigger = drive(Trigger::event_time(), TEN);
        assert_eq!(trigger.record(3), (Act::Go, vec![At(Timestamp(9))]));
        assert_eq!(trigger.event_time(8), Act::Go);
        assert_eq!(trigger.event_time(9), Act::Fire);
        assert_eq!(trigger.record(4), (Act::Fire, vec![]));
    }

    #[test]
    fn a_global_window_ends_with_the_input() {
        let mut trigger = drive(Trigger::event_time(), Window::ALL);
        assert_eq!(trigger.record(3), (Act::Go, vec![At(Timestamp(i64::MAX - 1))]));
        assert_eq!(trigger.event_time(i64::MAX), Act::Fire);
    }

    #[test]
    fn count_fires_after_so_many_records_and_not_at_the_end() {
        let mut trigger = drive(Trigger::count(2), TEN);
        let acts: Vec<_> = (0..5).map(|time| trigger.record(time)).collect();
        assert!(acts.iter().all(|(_, wakes)| wakes.is_empty()));
        let acts: Vec<_> = acts.into_iter().map(|(act, _)| act).collect();
        assert_eq!(acts, [Act::Go, Act::Fire, Act::Go, Act::Fire, Act::Go]);
        assert_eq!(trigger.event_time(9), Act::Go);
    }

    #[test]
    fn count_or_at_end_fires_for_what_is_left_and_not_for_nothing() {
        let mut trigger = drive(Trigger::count(2).or_at_end(), TEN);
        assert_eq!(trigger.record(1), (Act::Go, vec![At(Timestamp(9))]));
        assert_eq!(trigger.record(1).0, Act::Fire);
        assert_eq!(trigger.event_time(9), Act::Go);
        let mut trigger = drive(Trigger::count(2).or_at_end(), TEN);
        trigger.record(1);
        assert_eq!(trigger.event_time(9), Act::Fire);
        assert_eq!(trigger.event_time(9), Act::Go);
        assert_eq!(trigger.record(2).0, Act::Fire, "a record behind the end is left at once");
    }

    #[test]
    fn counts_of_sessions_that_become_one_are_added() {
        let trigger = Trigger::count(3).into_inner();
        let mut into = 1;
        WindowTrigger::<()>::on_merge(&trigger, &mut into, 1);
        let mut driven = Driven { state: into, ..drive(Trigger::count(3), TEN) };
        assert_eq!(driven.record(1).0, Act::Fire);
    }

    #[test]
    fn continuous_fires_at_multiples_if_something_came_and_at_the_end() {
        let mut trigger = drive(Trigger::continuous(ms(4)), TEN);
        assert_eq!(trigger.record(5), (Act::Go, vec![At(Timestamp(9)), At(Timestamp(7))]));
        // An earlier record makes the row due earlier.
        assert_eq!(trigger.record(1), (Act::Go, vec![At(Timestamp(9)), At(Timestamp(3))]));
        assert_eq!(trigger.event_time(2), Act::Go);
        assert_eq!(trigger.event_time(3), Act::Fire);
        assert_eq!(trigger.event_time(7), Act::Go, "nothing came");
        // Behind the clock: not at a multiple that has passed.
        assert_eq!(trigger.record(6), (Act::Go, vec![At(Timestamp(9)), At(Timestamp(11))]));
        assert_eq!(trigger.event_time(9), Act::Fire);
        assert_eq!(trigger.event_time(11), Act::Fire, "asked for behind the end, and complete");
        assert_eq!(trigger.record(6), (Act::Fire, vec![]));
    }

    #[test]
    fn continuous_counts_from_below_before_1970_and_stops_at_the_end_of_time() {
        let mut trigger = drive(Trigger::continuous(ms(4)), Window::new(Timestamp(-10), Timestamp(0)));
        assert_eq!(trigger.record(-9).1, [At(Timestamp(-1)), At(Timestamp(-9))]);
        let mut trigger = drive(Trigger::continuous(ms(i64::MAX)), Window::ALL);
        assert_eq!(trigger.record(i64::MAX - 1).1[1], At(Timestamp(i64::MAX - 1)));
        let mut trigger = drive(Trigger::continuous(Duration::ZERO), TEN);
        assert_eq!(trigger.record(1).1[1], At(Timestamp(1)));
    }

    #[test]
    fn by_clock_fires_so_long_after_the_first_record_without_a_row() {
        let mut trigger = drive(Trigger::by_clock(ms(100)), TEN);
        assert_eq!(trigger.record(1).1, [At(Timestamp(9)), Clock(WallTime(100))]);
        assert_eq!(trigger.clock(60), Act::Go);
        assert_eq!(trigger.record(1).1[1], Clock(WallTime(100)), "the second record does not put it off");
        assert_eq!(trigger.clock(100), Act::Fire);
        assert_eq!(trigger.clock(200), Act::Go, "nothing came");
        trigger.record(1);
        assert_eq!(trigger.event_time(9), Act::Fire);
        assert_eq!(trigger.clock(300), Act::Go, "the end had it");
    }

    #[test]
    fn sessions_that_become_one_are_due_when_the_first_of_them_was() {
        let continuous = Trigger::continuous(ms(4)).into_inner();
        let mut into = Some(Timestamp(8));
        WindowTrigger::<()>::on_merge(&continuous, &mut into, Some(Timestamp(4)));
        WindowTrigger::<()>::on_merge(&continuous, &mut into, None);
        assert_eq!(into, Some(Timestamp(4)));
        let by_clock = Trigger::by_clock(ms(4)).into_inner();
        let mut into = None;
        WindowTrigger::<()>::on_merge(&by_clock, &mut into, Some(WallTime(7)));
        assert_eq!(into, Some(WallTime(7)));
    }

    #[test]
    fn purging_takes_out_with_each_row_and_changes_nothing_else() {
        let mut trigger = drive(Trigger::count(2).or_at_end().purging(), TEN);
        assert_eq!(trigger.record(1), (Act::Go, vec![At(Timestamp(9))]));
        assert_eq!(trigger.record(1).0, Act::FireAndPurge);
        trigger.record(1);
        assert_eq!(trigger.event_time(9), Act::FireAndPurge);
        let mut trigger = drive(Trigger::by_clock(ms(5)).purging(), TEN);
        trigger.record(1);
        assert_eq!(trigger.clock(5), Act::FireAndPurge);
    }

    #[test]
    fn triggers_that_make_no_sense_are_faults() {
        fn faults<W: WindowTrigger<()>>(trigger: Trigger<W>) -> usize {
            trigger.into_inner().faults().len()
        }
        assert_eq!(faults(Trigger::count(0).purging()), 1);
        assert_eq!(faults(Trigger::continuous(Duration::ZERO)), 1);
        assert_eq!(faults(Trigger::by_clock(Duration::from_micros(1_500))), 1);
        assert_eq!(faults(Trigger::event_time()) + faults(Trigger::count(1)), 0);
    }
}
