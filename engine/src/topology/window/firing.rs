//! What windows with a trigger do with a record, and with a timer.

use std::{collections::VecDeque, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    id::WallTime,
    key::Key,
    mutation::{self, Mutation},
    operator::process_timed::Context,
    state::{
        self,
        descriptor::{Entries, StateDescriptor},
        keyed_states::KeyedStates,
    },
    time::{InTime, Timestamp},
    topology::{
        process_fn::Fired,
        window::contents::{Contents, Joins, OF_CUT, Place},
    },
    window::{Act, TriggerContext, Wake, Window, WindowTrigger, Windows},
};

/// Which entry is a window's: its start and its end, or for sessions its start twice, as their end changes.
pub type Span = (Timestamp, Timestamp);

/// Of which window a timer is, and whether it only gives the window up: such a timer is the last one of its moment.
pub type Tag = (bool, Timestamp, Timestamp);

/// A window of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry<P, S> {
    pub(super) end: Timestamp,
    /// Nothing came, or all of it was taken out.
    pub(super) is_empty: bool,
    pub(super) part: P,
    pub(super) trigger: S,
}

type EntryOf<K, T, C, G> = Entry<<C as Contents<K, T>>::Part, <G as WindowTrigger<T>>::State>;

/// The windows, and what is kept beside them.
pub type States<K, T, C, G> = (StateDescriptor<Entries<Span>, EntryOf<K, T, C, G>>, <C as Contents<K, T>>::States);

pub type Cx<'a, K, T, C, G, S> = Context<'a, K, States<K, T, C, G>, Tag, <C as Contents<K, T>>::Row, S>;

type Beside<'a, K, T, C> = <<C as Contents<K, T>>::States as KeyedStates<K>>::View<'a>;

/// When windows give rows, and of what.
#[derive(Clone, Debug)]
pub struct Firing<C, G> {
    pub(super) contents: C,
    trigger: G,
    lateness: i64,
    is_session: bool,
    is_final: bool,
    wakes: Vec<Wake>,
}

/// Timers that give windows up, and rows, are set when a record comes: with another lateness they would be at the wrong time.
pub(super) fn of(windows: &impl Windows, lateness: i64, is_final: bool) -> String {
    let what = windows.describe();
    match (lateness, is_final) {
        (0, _) => what,
        (lateness, false) => format!("{what}, allowed lateness {lateness} ms"),
        (lateness, true) => format!("{what}, final after {lateness} ms"),
    }
}

/// Whether what a trigger asks for when it is asked at `time` lies behind that: one that asks again and again for the same moment would be asked for ever.
fn is_later(wake: Wake, time: Timestamp, is_wall: bool) -> bool {
    match wake {
        Wake::EventTime(at) => is_wall || at > time,
        Wake::Clock(at) => !is_wall || Timestamp::from(at) > time,
    }
}

impl<C, G> Firing<C, G> {
    pub(super) fn new(contents: C, trigger: G, (lateness, is_final): (i64, bool), is_session: bool) -> Self {
        Self { contents, trigger, lateness, is_session, is_final, wakes: Vec::new() }
    }

    /// When nothing timely can come to a window any more.
    fn complete_at(&self, window: Window) -> Timestamp {
        // What comes at a session's end is of it.
        if self.is_session { window.end.min(Timestamp::LAST) } else { window.max_timestamp().min(Timestamp::LAST) }
    }

    /// When a window is given up.
    #[inline]
    pub(super) fn expires_at(&self, window: Window) -> Timestamp {
        Timestamp(self.complete_at(window).0.saturating_add(self.lateness)).min(Timestamp::LAST)
    }

    /// By how much a row is older than what makes it due.
    pub(super) fn behind(&self) -> i64 {
        i64::from(self.is_session).saturating_add(if self.is_final { self.lateness } else { 0 })
    }

    /// What a step of these windows is: see [`TimeRule::of`](crate::operator::process_timed::TimeRule).
    pub(super) fn of<T>(&self, windows: &impl Windows) -> String
    where
        G: WindowTrigger<T>,
    {
        let of = of(windows, self.lateness, self.is_final);
        match self.trigger.name() {
            name if name.is_empty() => of,
            name => format!("{of}, trigger {name}"),
        }
    }

    /// Where a record of a window is put.
    fn place(&self, window: Window, time: Timestamp) -> Place {
        // Several windows begin at the start of time if they are cut there, each with an end of its own.
        let is_cut = window.start == Timestamp::MIN && window.end != Timestamp::MAX;
        match (self.is_session, is_cut) {
            (true, _) => (time, 0),
            (false, true) => (window.end, OF_CUT),
            (false, false) => (window.start, 0),
        }
    }

    /// Where the records of a window are.
    fn places(&self, window: Window) -> Range<Place> {
        if self.is_session {
            return (window.start, 0)..(window.end, 0);
        }
        let (moment, first) = self.place(window, window.start);
        (moment, first)..(moment, first | (OF_CUT - 1))
    }

    pub(super) fn states<K: Key, T>(&self) -> States<K, T, C, G>
    where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        (state::map("windows"), self.contents.states())
    }

    /// A window without records.
    pub(super) fn empty<K: Key, T>(&self, window: Window) -> EntryOf<K, T, C, G>
    where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        Entry { end: window.end, is_empty: true, part: self.contents.empty(), trigger: G::State::default() }
    }

    /// Puts a record into a window that has not expired; `missing` makes its entry if there is none.
    pub(super) fn put<K: Key, T, S: InTime>(
        &mut self,
        cx: &mut Cx<'_, K, T, C, G, S>,
        (span, window): (Span, Window),
        missing: impl FnOnce(&Self) -> EntryOf<K, T, C, G>,
        (record, time): (T, Timestamp),
    ) where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        let (key, clock, wall_time) = (cx.key(), cx.clock_before(), cx.wall_time());
        let (complete, expires) = (self.complete_at(window), self.expires_at(window));
        let (mut wakes, mut rows) = (std::mem::take(&mut self.wakes), VecDeque::new());
        let (entries, beside) = cx.states();
        let is_new = !entries.contains(&span);
        if is_new {
            entries.insert(span, missing(self));
        }
        if let Some(entry) = entries.get_mut(&span) {
            let mut context = TriggerContext::new(window, clock, wall_time, &mut wakes).lasting(complete, expires);
            let act = self.trigger.on_record(&record, time, &mut entry.trigger, &mut context);
            self.contents.add(&mut entry.part, record, self.place(window, time), beside);
            entry.is_empty = false;
            self.act::<K, T>(act, (key, window), entry, beside, &mut rows);
        }
        rows.into_iter().for_each(|row| cx.emit_at(row, window.max_timestamp()));
        if is_new && expires < Timestamp::LAST && !wakes.contains(&Wake::EventTime(expires)) {
            cx.due_at(expires, (true, span.0, span.1));
        }
        self.ask(cx, span, wakes);
    }

    /// Does what is due at a timer of a window, if that is still there.
    pub(super) fn fire<K: Key, T, S: InTime>(
        &mut self,
        Fired { time, tag: (only_gives_up, start, second), is_wall }: Fired<Tag>,
        cx: &mut Cx<'_, K, T, C, G, S>,
    ) where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        let (key, wall_time, span) = (cx.key(), cx.wall_time(), (start, second));
        let clock = if is_wall { cx.clock_before() } else { cx.clock_before().max(time) };
        let (entries, beside) = cx.states();
        // A session that has become a part of an earlier one has none.
        let Some(entry) = entries.get_mut(&span) else { return };
        let (mut wakes, mut rows) = (std::mem::take(&mut self.wakes), VecDeque::new());
        let window = Window::new(start, entry.end);
        let (complete, expires) = (self.complete_at(window), self.expires_at(window));
        if !only_gives_up {
            let mut context = TriggerContext::new(window, clock, wall_time, &mut wakes).lasting(complete, expires);
            let act = if is_wall {
                let asked = WallTime(u64::try_from(time.0).unwrap_or(0));
                self.trigger.on_clock(asked, &mut entry.trigger, &mut context)
            } else {
                self.trigger.on_event_time(time, &mut entry.trigger, &mut context)
            };
            self.act::<K, T>(act, (key, window), entry, beside, &mut rows);
            wakes.retain(|wake| is_later(*wake, time, is_wall));
        }
        if !is_wall && expires <= time {
            entries.remove(&span);
            self.contents.forget(self.places(window), beside);
            wakes.clear();
        }
        rows.into_iter().for_each(|row| cx.emit_at(row, window.max_timestamp()));
        self.ask(cx, span, wakes);
    }

    /// Does what the trigger wants done.
    fn act<K: Key, T>(
        &mut self,
        act: Act,
        (key, window): (&K, Window),
        entry: &mut EntryOf<K, T, C, G>,
        beside: &mut Beside<'_, K, T, C>,
        rows: &mut VecDeque<C::Row>,
    ) where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        let places = self.places(window);
        if matches!(act, Act::Fire | Act::FireAndPurge) && !entry.is_empty {
            self.contents.give((key, window), &entry.part, places.clone(), beside, rows);
        }
        if matches!(act, Act::Purge | Act::FireAndPurge) {
            (entry.is_empty, entry.part) = (true, self.contents.empty());
            self.contents.forget(places, beside);
        }
    }

    /// Sets timers for what the trigger asked for.
    fn ask<K: Key, T, S: InTime>(&mut self, cx: &mut Cx<'_, K, T, C, G, S>, span: Span, mut wakes: Vec<Wake>)
    where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        let tag = (false, span.0, span.1);
        for wake in wakes.drain(..) {
            match wake {
                Wake::EventTime(time) if !cx.is_end() => drop(cx.due_at(time, tag)),
                // A trigger that asks again and again would never let the job end.
                Wake::EventTime(_) => {}
                Wake::Clock(time) => cx.due_at_wall_time(time, tag),
            }
        }
        self.wakes = wakes;
    }

    /// Takes a session's entry out, with the timers that are sure to be of it.
    pub(super) fn take_session<K: Key, T, S: InTime>(
        &self,
        cx: &mut Cx<'_, K, T, C, G, S>,
        session: Window,
    ) -> Option<EntryOf<K, T, C, G>>
    where
        C: Contents<K, T>,
        G: WindowTrigger<T>,
    {
        let (start, complete, expires) = (session.start, self.complete_at(session), self.expires_at(session));
        cx.not_due_at(complete, (false, start, start));
        cx.not_due_at(expires, (true, start, start));
        if expires != complete {
            cx.not_due_at(expires, (false, start, start));
        }
        cx.states().0.remove(&(start, start))
    }

    /// Puts a later session into an earlier one.
    pub(super) fn join<K: Key, T>(&self, into: &mut EntryOf<K, T, C, G>, other: EntryOf<K, T, C, G>)
    where
        C: Joins<K, T>,
        G: WindowTrigger<T>,
    {
        self.trigger.on_merge(&mut into.trigger, other.trigger);
        if into.is_empty {
            (into.part, into.is_empty) = (other.part, other.is_empty);
        } else if !other.is_empty && !mutation::is(Mutation::MergedSessionLost) {
            self.contents.join(&mut into.part, other.part);
        }
    }
}
