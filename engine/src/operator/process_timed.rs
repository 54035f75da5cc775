//! Any function of a record, its key's states, and timers.

use std::time::Duration;

use crate::{
    error::{BoxError, Error},
    id::{CheckpointId, WallTime},
    key::Key,
    key_group::KeyGroup,
    operator::{
        OpenContext, SnapshotBuilder,
        aside::Aside,
        timed::{AHEAD, Done, Moment, Out, TimedLogic},
    },
    output::sides::SideTag,
    record::Record,
    state::{
        keyed_states::{KeyedStates, KeyedTables, TablePlace},
        timers::{Heaps, Timer, TimerTable},
    },
    time::{InTime, Stamp, Stamped, Timestamp},
    topology::process_fn::{Fired, KeyedProcess},
};

/// The names of the states that timers are kept in.
pub(crate) const TIMERS: &str = "timers";
pub(crate) const WALL_TIMERS: &str = "wall timers";

/// The timers of a step.
struct Timers<K, N> {
    event: TimerTable<K, N>,
    wall: TimerTable<K, N>,
}

/// A stamp by which event time is known: [`Timestamp`].
#[diagnostic::on_unimplemented(
    message = "the records of this stream have no event time, and so it cannot have timers by it",
    label = "needs a stream with `event_time` or `ingestion_time`; timers by the wall clock, `set_wall_timer`, can be set on any stream"
)]
pub trait HasEventTime: InTime {}

impl HasEventTime for Timestamp {}

/// What a process function is called with, beside the record or the timer: the key, its states and timers, and the time.
///
/// `K` is the key, `D` the descriptors of its states, `N` the tag of a timer, `O` what is given to the next step, `S` what the stream's records carry of time.
pub struct Context<'a, K: Key, D: KeyedStates<K>, N, O, S = Timestamp> {
    key: &'a K,
    states: D::View<'a>,
    at: &'a Moment<'a>,
    time: S,
    timers: &'a mut Timers<K, N>,
    out: &'a mut Out<O, S>,
}

impl<'a, K: Key, D: KeyedStates<K>, N: Key + Ord, O, S: Stamp> Context<'a, K, D, N, O, S> {
    /// The key of the record or the timer.
    pub fn key(&self) -> &'a K {
        self.key
    }

    /// Its states: what [`process_with`](crate::topology::KeyedStream::process_with) gives its function.
    pub fn states(&mut self) -> &mut D::View<'a> {
        &mut self.states
    }

    /// When the record happened, or for when the timer was set.
    pub fn timestamp(&self) -> Timestamp
    where
        S: HasEventTime,
    {
        self.time.time(self.at.slice)
    }

    /// How far event time has come here: a record that is not later is late. `MIN`: nothing is known; `MAX`: the input has ended. Only ever grows for a key.
    pub fn event_time(&self) -> Timestamp
    where
        S: HasEventTime,
    {
        self.at.clock(self.key)
    }

    /// The wall clock.
    pub fn wall_time(&self) -> WallTime {
        self.at.slice.wall_time()
    }

    /// Whether the input has ended, and the last timers fire. Timers that are set now are dropped.
    pub fn is_end(&self) -> bool {
        self.at.is_end
    }

    /// Gives a record to the next step, behind those given before. It bears the time of the record or the timer at hand; of a timer by the wall clock, the wall time for which that was set.
    pub fn emit(&mut self, record: O) {
        self.out.push_back(Stamped { record, time: self.time });
    }

    /// Gives a record to a side output, with the time that [`emit`](Self::emit) gives. The side output must be one of this step: bound to it by
    /// [`with_side`](crate::topology::Stream::with_side), where there is an example; else the attempt fails.
    pub fn emit_to<X: Record>(&mut self, side: &SideTag<X, S>, record: X) {
        self.at.emit_to(side, record, self.time);
    }

    /// Sets a timer of this key: once event time has reached `time`, it fires. If it is past already, at once, behind this record. A timer that always sets
    /// itself for a time already past keeps what comes behind it waiting for ever. The same as [`set_timer_tagged`](Self::set_timer_tagged) with the tag that is the default.
    pub fn set_timer(&mut self, time: Timestamp) -> bool
    where
        S: HasEventTime,
        N: Default,
    {
        self.set_timer_tagged(time, N::default())
    }

    /// Sets a timer with a tag. Timers of one key and one time with different tags are different ones; one that is set already is not set again. Whether it was not, and the input has not
    /// ended.
    pub fn set_timer_tagged(&mut self, time: Timestamp, tag: N) -> bool
    where
        S: HasEventTime,
    {
        !self.at.is_end && self.due_at(time, tag)
    }

    /// Takes a timer of this key back: whether it was set, and had not fired.
    pub fn cancel_timer(&mut self, time: Timestamp) -> bool
    where
        S: HasEventTime,
        N: Default,
    {
        self.cancel_timer_tagged(time, N::default())
    }

    /// Takes a timer with a tag back: whether it was set, and had not fired.
    pub fn cancel_timer_tagged(&mut self, time: Timestamp, tag: N) -> bool
    where
        S: HasEventTime,
    {
        self.not_due_at(time, tag)
    }

    /// Sets a timer of this key by the wall clock, so long after [`wall_time`](Self::wall_time); part of a millisecond counts as a whole one. Gives the wall time at which it fires, for
    /// [`cancel_wall_timer`](Self::cancel_wall_timer). If the job does not run then, it fires when the job runs again.
    pub fn set_wall_timer(&mut self, after: Duration) -> WallTime
    where
        N: Default,
    {
        self.set_wall_timer_tagged(after, N::default())
    }

    /// The same with a tag.
    pub fn set_wall_timer_tagged(&mut self, after: Duration, tag: N) -> WallTime {
        let after = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let time = WallTime(self.wall_time().0.saturating_add(after));
        self.due_at_wall_time(time, tag);
        time
    }

    /// The same for a moment of the wall clock.
    pub(crate) fn due_at_wall_time(&mut self, time: WallTime, tag: N) {
        if !self.at.is_end {
            self.timers.wall.set(self.key, a_moment(time.into()), tag);
        }
    }

    /// [`set_timer_tagged`](Self::set_timer_tagged) for streams that go by the clock, too, and at the end of input: whoever calls it then has to come to an end.
    pub(crate) fn due_at(&mut self, time: Timestamp, tag: N) -> bool {
        self.timers.event.set(self.key, a_moment(time), tag)
    }

    /// [`cancel_timer_tagged`](Self::cancel_timer_tagged), likewise.
    pub(crate) fn not_due_at(&mut self, time: Timestamp, tag: N) -> bool {
        self.timers.event.cancel(self.key, a_moment(time), tag)
    }

    /// How far time has come: in a round, no further than it had come before.
    pub(crate) fn clock_before(&self) -> Timestamp {
        self.at.clock_before(self.key)
    }

    /// When the record happened. By the clock that is now, and behind everything that has been done for a moment that has come.
    pub(crate) fn moment(&self) -> Timestamp
    where
        S: InTime,
    {
        let time = self.time.time(self.at.slice);
        if S::BY_CLOCK { time.max(Timestamp(self.clock_before().0.saturating_add(1))) } else { time }
    }

    /// [`emit`](Self::emit) with another time.
    pub(crate) fn emit_at(&mut self, record: O, time: Timestamp) {
        self.out.push_back(Stamped { record, time: S::at(time) });
    }

    /// The states, and what takes what is given, each by itself.
    pub(crate) fn states_and_out(&mut self) -> (&mut D::View<'a>, &mut Out<O, S>) {
        (&mut self.states, self.out)
    }

    /// Takes a timer by the wall clock back: whether it was set, and had not fired.
    pub fn cancel_wall_timer(&mut self, time: WallTime) -> bool
    where
        N: Default,
    {
        self.cancel_wall_timer_tagged(time, N::default())
    }

    /// The same with a tag.
    pub fn cancel_wall_timer_tagged(&mut self, time: WallTime, tag: N) -> bool {
        self.timers.wall.cancel(self.key, a_moment(time.into()), tag)
    }
}

/// A time that a record may have.
fn a_moment(time: Timestamp) -> Timestamp {
    time.clamp(Timestamp(i64::MIN + 1), Timestamp(i64::MAX - 1))
}

/// How a process function goes by time.
#[derive(Clone, Debug)]
pub struct TimeRule {
    /// What it does by it: checkpoints of another one cannot be continued from.
    pub(crate) of: String,
    /// Its timers by event time go by the clock.
    pub(crate) is_by_clock: bool,
    /// See [`TimedLogic::behind`].
    pub(crate) behind: i64,
    /// Timers of all keys fire in order of time.
    pub(crate) is_in_order: bool,
}

impl Default for TimeRule {
    fn default() -> Self {
        Self { of: "timers".to_string(), is_by_clock: false, behind: 0, is_in_order: false }
    }
}

/// Process functions with timers, as what a step does in time.
pub struct ProcessTimed<K: Key, T, S: Stamp, F: KeyedProcess<K, T, S>> {
    function: F,
    rule: TimeRule,
    tables: <F::States as KeyedStates<K>>::Tables,
    timers: Timers<K, F::Timer>,
    due: Vec<Timer<K, F::Timer>>,
    _of: std::marker::PhantomData<fn(T, S)>,
}

impl<K: Key, T, S: Stamp, F: KeyedProcess<K, T, S>> ProcessTimed<K, T, S, F> {
    pub(crate) fn new(function: F, place: &TablePlace<'_>) -> Self {
        let timers = Timers {
            event: TimerTable::new(TIMERS, place, Heaps::PerGroup),
            wall: TimerTable::new(WALL_TIMERS, place, Heaps::One),
        };
        let (tables, rule) = (function.states().tables(place), function.rule());
        Self { function, rule, tables, timers, due: Vec::new(), _of: std::marker::PhantomData }
    }

    /// Calls the function for `key`.
    #[inline]
    fn with_key<R>(
        &mut self,
        key: &K,
        hint: <<F::States as KeyedStates<K>>::Tables as KeyedTables<K>>::Slot,
        time: S,
        at: &Moment<'_>,
        out: &mut Out<F::Out, S>,
        code: impl FnOnce(&mut F, &mut Context<'_, K, F::States, F::Timer, F::Out, S>) -> R,
    ) -> R {
        let Self { function, tables, timers, .. } = self;
        let slot = tables.find(hint, key);
        let states = F::States::view(tables, slot, key, at.slice);
        let (result, used) = {
            let mut context = Context { key, states, at, time, timers, out };
            let result = code(function, &mut context);
            let Context { states, .. } = context;
            (result, F::States::into_use(states))
        };
        F::States::settle(used, tables, slot, key, at.slice);
        result
    }

    fn of_kind(timers: &mut Timers<K, F::Timer>, is_wall: bool) -> &mut TimerTable<K, F::Timer> {
        if is_wall { &mut timers.wall } else { &mut timers.event }
    }

    /// Fires some timers that are due, one by one: what one of them sets or cancels counts for the next.
    fn fire_some(
        &mut self,
        is_wall: bool,
        (group, to): (KeyGroup, Timestamp),
        at: &Moment<'_>,
        out: &mut Out<F::Out, S>,
    ) -> Result<Done, BoxError> {
        if !Self::of_kind(&mut self.timers, is_wall).is_due(group, to) {
            return Ok(Done::All);
        }
        let mut due = std::mem::take(&mut self.due);
        Self::of_kind(&mut self.timers, is_wall).due(group, to, AHEAD, &mut due);
        // What is loaded for the batch at hand makes room, and is loaded again.
        self.tables.batch_came();
        if !self.tables.is_loaded() {
            self.tables.load(&mut due.iter().map(|timer| &timer.key))?;
        }
        let mut due_now = due.drain(..).peekable();
        while let Some(timer) = due_now.next() {
            if Self::of_kind(&mut self.timers, is_wall).fire(&timer) {
                let hint = self.tables.hint(&timer.key);
                let (time, tag) = timer.at;
                let fired = Fired { time, tag, is_wall };
                self.with_key(&timer.key, hint, S::at(time), at, out, |function, context| {
                    function.on_timer(fired, context)
                })?;
            }
            let timers = Self::of_kind(&mut self.timers, is_wall);
            if due_now.peek().is_some_and(|next| timers.comes_first(next)) {
                break;
            }
        }
        let timers = Self::of_kind(&mut self.timers, is_wall);
        timers.put_back(due_now);
        let done = if timers.is_due(group, to) { Done::Some } else { Done::All };
        self.due = due;
        self.tables.batch_came();
        Ok(done)
    }
}

impl<K: Key, T: Record, S: Stamp, F: KeyedProcess<K, T, S>> TimedLogic<K> for ProcessTimed<K, T, S, F> {
    type Record = T;
    type Time = S;
    type Out = F::Out;
    type OutTime = S;
    type Slot = <<F::States as KeyedStates<K>>::Tables as KeyedTables<K>>::Slot;

    fn of(&self) -> String {
        self.rule.of.clone()
    }

    #[inline]
    fn goes_by_clock(&self) -> bool {
        self.rule.is_by_clock
    }

    fn behind(&self) -> i64 {
        self.rule.behind
    }

    fn stride(&self, to: Timestamp) -> Timestamp {
        let next = self.rule.is_in_order.then(|| self.timers.event.earliest()).flatten();
        next.map_or(to, |next| next.min(to))
    }

    fn take_late(&mut self) -> u64 {
        self.function.take_late()
    }

    #[inline]
    fn hint(&self, key: &K, _: S) -> Self::Slot {
        self.tables.hint(key)
    }

    #[inline]
    fn record(
        &mut self,
        at: &Moment<'_>,
        hint: Self::Slot,
        key: K,
        Stamped { record, time }: Stamped<T, S>,
        out: &mut Out<F::Out, S>,
    ) -> Result<(), BoxError> {
        self.with_key(&key, hint, time, at, out, |function, context| function.on_record(record, context))
    }

    #[inline]
    fn next_due(&mut self) -> Option<Timestamp> {
        self.timers.event.next()
    }

    fn fire(
        &mut self,
        group: KeyGroup,
        to: Timestamp,
        at: &Moment<'_>,
        out: &mut Out<F::Out, S>,
    ) -> Result<Done, BoxError> {
        self.fire_some(false, (group, to), at, out)
    }

    fn next_wake(&mut self) -> Option<WallTime> {
        self.timers.wall.next().map(|next| WallTime(next.0.try_into().unwrap_or(0)))
    }

    fn wake(&mut self, to: WallTime, at: &Moment<'_>, out: &mut Out<F::Out, S>) -> Result<(), BoxError> {
        self.fire_some(true, (KeyGroup(0), to.into()), at, out).map(drop)
    }

    fn aside(&mut self) -> Option<&mut dyn Aside> {
        self.function.aside()
    }

    fn batch_came(&mut self) {
        self.tables.batch_came();
    }

    fn is_loaded(&self) -> bool {
        self.tables.is_loaded()
    }

    fn load(&mut self, keys: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
        self.tables.load(keys)
    }

    fn heap_is_spent(&self) -> bool {
        self.tables.heap_is_spent()
    }

    fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.tables.restore(context)?;
        self.timers.event.restore(context)?;
        self.timers.wall.restore(context)
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        self.tables.snapshot(snapshot)?;
        self.timers.event.snapshot(snapshot)?;
        self.timers.wall.snapshot(snapshot)
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.tables.completed(checkpoint);
        self.timers.event.completed(checkpoint);
        self.timers.wall.completed(checkpoint);
    }
}
