//! Sliding windows of aggregates that can be merged: a record is added to one pane, and windows are merged of panes.

use std::collections::HashMap;

use crate::{
    error::BoxError,
    key::Key,
    operator::process_timed::{Context, TimeRule},
    record::Record,
    state::{
        self, MapState, Merge,
        descriptor::{Entries, StateDescriptor},
    },
    time::{InTime, Timestamp},
    topology::{
        process_fn::{Fired, KeyedProcess},
        window::{
            firing::{Tag, of},
            late::Late,
        },
    },
    window::{Sliding, Stacks, Window, Windowed},
};

/// The step of such windows.
///
/// # Invariants
/// - The first window of each pane that has not had its row has a timer.
/// - A pane is kept as long as one of its windows can still have a row.
pub struct Panes<K, S, A: Merge> {
    windows: Sliding,
    aggregate: A,
    lateness: i64,
    /// The one row of a window comes when nothing late counts any more.
    is_final: bool,
    /// What the last window of a key came to, from which the next one is made. Of those that are not here it is made of the panes.
    stacks: HashMap<K, Stacks<A::Accumulator>>,
    late: Late<A::In, S>,
}

impl<K, S, A: Merge> Clone for Panes<K, S, A> {
    fn clone(&self) -> Self {
        Self::new(self.windows.clone(), self.aggregate.clone(), (self.lateness, self.is_final), self.late.clone())
    }
}

impl<K, S, A: Merge> Panes<K, S, A> {
    pub(super) fn new(windows: Sliding, aggregate: A, (lateness, is_final): (i64, bool), late: Late<A::In, S>) -> Self {
        Self { windows, aggregate, lateness, is_final, stacks: HashMap::new(), late }
    }

    /// When a window has its row.
    fn due_at(&self, window: Window) -> Timestamp {
        if self.is_final { self.expires_at(window) } else { window.max_timestamp() }
    }

    fn expires_at(&self, window: Window) -> Timestamp {
        Timestamp(window.max_timestamp().0.saturating_add(self.lateness)).min(Timestamp::LAST)
    }

    /// Panes are kept beyond the rows of their windows.
    fn has_updates(&self) -> bool {
        self.lateness > 0 && !self.is_final
    }
}

type PaneStates<A> = StateDescriptor<Entries<Timestamp>, A>;
type Cx<'a, K, A, S> =
    Context<'a, K, PaneStates<<A as state::Aggregate>::Accumulator>, Tag, Windowed<K, <A as state::Aggregate>::Out>, S>;

impl<K, S, A> Panes<K, S, A>
where
    K: Key,
    S: InTime,
    A: Merge<Accumulator: Clone>,
{
    /// What the panes of a window come to.
    fn row(
        aggregate: &A,
        stacks: &mut Stacks<A::Accumulator>,
        (key, window): (&K, Window),
        panes: &MapState<'_, K, Timestamp, A::Accumulator>,
    ) -> Option<Windowed<K, A::Out>> {
        let all = stacks.slide(aggregate, window, |starts| panes.range(starts).map(|(start, pane)| (*start, pane)))?;
        Some(Windowed { key: key.clone(), window, value: aggregate.get(&all) })
    }

    /// Gives the rows anew of the windows that a late record changed.
    fn update(&self, pane: Window, cx: &mut Cx<'_, K, A, S>)
    where
        A::Out: Send + 'static,
    {
        let (key, clock, mut stacks) = (cx.key(), cx.clock_before(), Stacks::default());
        for window in self.windows.windows_of_pane(pane).take_while(|window| self.due_at(*window) <= clock) {
            if clock < self.expires_at(window) {
                let row = Self::row(&self.aggregate, &mut stacks, (key, window), cx.states());
                row.into_iter().for_each(|row| cx.emit_at(row, window.max_timestamp()));
            }
        }
    }

    /// A pane that is new has the row of its first window to come, and is given up some time.
    fn begin(&self, pane: Window, last: Window, cx: &mut Cx<'_, K, A, S>)
    where
        A::Out: Send + 'static,
    {
        let clock = cx.clock_before();
        if let Some(first) = self.windows.windows_of_pane(pane).find(|window| self.due_at(*window) > clock) {
            cx.due_at(self.due_at(first), (false, first.start, first.end));
        }
        if self.has_updates() {
            cx.due_at(self.expires_at(last), (true, pane.start, pane.end));
        }
    }
}

impl<K, S, A> KeyedProcess<K, A::In, S> for Panes<K, S, A>
where
    K: Key,
    S: InTime,
    A: Merge<In: Record, Accumulator: Clone, Out: Send + 'static>,
{
    type States = PaneStates<A::Accumulator>;
    type Timer = Tag;
    type Out = Windowed<K, A::Out>;

    fn states(&self) -> Self::States {
        state::map("panes")
    }

    fn on_record(&mut self, record: A::In, cx: &mut Cx<'_, K, A, S>) -> Result<(), BoxError> {
        let (time, clock) = (cx.moment(), cx.clock_before());
        // Between two windows nothing is late.
        let Some(last) = self.windows.windows(time).next_back() else { return Ok(()) };
        if self.expires_at(last) <= clock {
            self.late.add(record, cx);
            return Ok(());
        }
        let pane = self.windows.pane(time);
        let mut is_new = false;
        let aggregate = &self.aggregate;
        let create = || {
            is_new = true;
            aggregate.create()
        };
        cx.states().update(pane.start, create, |accumulator| aggregate.add(accumulator, record));
        // What is behind the clock may be in a pane of which a row has been given.
        if time <= clock {
            if let Some(stacks) = self.stacks.get_mut(cx.key()).filter(|stacks| stacks.holds(pane.start)) {
                stacks.reset();
            }
            self.update(pane, cx);
        }
        if is_new {
            self.begin(pane, last, cx);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        Fired { tag: (only_gives_up, start, end), .. }: Fired<Tag>,
        cx: &mut Cx<'_, K, A, S>,
    ) -> Result<(), BoxError> {
        let (key, window) = (cx.key(), Window::new(start, end));
        if only_gives_up {
            cx.states().remove(&start);
        } else {
            let stacks = self.stacks.entry(key.clone()).or_default();
            let row = Self::row(&self.aggregate, stacks, (key, window), cx.states());
            row.into_iter().for_each(|row| cx.emit_at(row, window.max_timestamp()));
            let next = self.windows.after(window);
            let is_filled = |next: &Window| cx.states().range(next.start..next.end).next().is_some();
            if let Some(next) = next.filter(is_filled) {
                cx.due_at(self.due_at(next), (false, next.start, next.end));
            }
            if !self.has_updates() {
                let gone = ..next.map_or(end, |next| next.start);
                let gone: Vec<_> = cx.states().range(gone).map(|(start, _)| *start).collect();
                gone.iter().for_each(|start| drop(cx.states().remove(start)));
            }
        }
        if cx.states().is_empty() {
            self.stacks.remove(key);
        }
        Ok(())
    }

    fn rule(&self) -> TimeRule {
        let behind = if self.is_final { self.lateness } else { 0 };
        let of = of(&self.windows, self.lateness, self.is_final);
        TimeRule { of, is_by_clock: S::BY_CLOCK, behind, is_in_order: true }
    }

    fn take_late(&mut self) -> u64 {
        self.late.take()
    }
}
