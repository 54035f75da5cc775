//! Tumbling windows, a row for each key when they end: all of a window's keys in one pane. See `docs/decisions/0019`.

use crate::{
    error::{BoxError, Error},
    id::{CheckpointId, WallTime},
    key::Key,
    key_group::KeyGroup,
    mutation::{self, Mutation},
    operator::{
        OpenContext, SnapshotBuilder,
        timed::{AHEAD, Done, Moment, Out, TimedLogic},
    },
    output::sides::SideTag,
    record::Record,
    state::{
        self, Aggregate, DeclaredState,
        keyed_states::{KeyedStates, TablePlace, not_restored},
        pane_table::{PaneSlot, PaneTable},
        value_format::ValueFormat,
    },
    time::{Stamped, Timestamp},
    window::{Tumbling, Windowed, Windows},
};

/// The name of the state that the windows are kept in.
const WINDOWS: &str = "windows";

/// What tumbling windows do in time.
pub struct PaneWindow<K, T, A: Aggregate> {
    windows: Tumbling,
    aggregate: A,
    table: PaneTable<K, A::Accumulator>,
    late_to: Option<SideTag<T>>,
    /// Records dropped as late since somebody asked.
    late: u64,
}

impl<K: Key, T: Record, A: Aggregate<In = T>> PaneWindow<K, T, A> {
    /// No window at all yet. Late records are dropped if there is no side output for them.
    pub(crate) fn new(windows: Tumbling, aggregate: A, late_to: Option<SideTag<T>>, place: &TablePlace<'_>) -> Self {
        let (address, pane_of) = (place.address(WINDOWS), windows.clone());
        let pane_of = Box::new(move |time| pane_of.window(time));
        let table = PaneTable::new(address, ValueFormat::default(), place.range, place.max_parallelism, pane_of);
        Self { windows, aggregate, table, late_to, late: 0 }
    }

    /// What checkpoints say of its state: it is a map from a window's start to what is kept of its records.
    pub(crate) fn declared() -> Vec<DeclaredState> {
        KeyedStates::<K>::declared(&state::map::<Timestamp, A::Accumulator>(WINDOWS))
    }

    /// Whether the window of a record that is behind the clock is complete.
    #[cold]
    fn is_late(&self, time: Timestamp, clock: Timestamp) -> bool {
        self.table.window(time).max_timestamp() <= clock
    }
}

impl<K, T, A> TimedLogic<K> for PaneWindow<K, T, A>
where
    K: Key,
    T: Record,
    A: Aggregate<In = T, Out: Send + 'static>,
{
    type Record = T;
    type Time = Timestamp;
    type Out = Windowed<K, A::Out>;
    type OutTime = Timestamp;
    type Slot = PaneSlot;

    fn of(&self) -> String {
        self.windows.describe()
    }

    #[inline]
    fn hint(&self, key: &K, time: Timestamp) -> PaneSlot {
        self.table.hint(key, time)
    }

    #[inline]
    fn record(
        &mut self,
        at: &Moment<'_>,
        hint: PaneSlot,
        key: K,
        Stamped { record, time }: Stamped<T, Timestamp>,
        _: &mut Out<Self::Out, Timestamp>,
    ) -> Result<(), BoxError> {
        let clock = at.clock(&key);
        if time <= clock && self.is_late(time, clock) {
            match &self.late_to {
                _ if mutation::is(Mutation::LateForgotten) => {}
                Some(side) => at.emit_to(side, record, time),
                None => self.late += 1,
            }
            return Ok(());
        }
        let Self { aggregate, table, .. } = self;
        aggregate.add(table.get_mut_or_insert_with(hint, key, time, || aggregate.create()), record);
        Ok(())
    }

    #[inline]
    fn next_due(&mut self) -> Option<Timestamp> {
        self.table.next_due()
    }

    /// One pane after the other: rows leave in the order of their windows, with watermarks between.
    fn stride(&self, to: Timestamp) -> Timestamp {
        self.table.next_due().map_or(to, |due| due.min(to))
    }

    fn fire(
        &mut self,
        group: KeyGroup,
        to: Timestamp,
        _: &Moment<'_>,
        out: &mut Out<Self::Out, Timestamp>,
    ) -> Result<Done, BoxError> {
        let Self { aggregate, table, .. } = self;
        let mut left = AHEAD;
        let is_through = table.fire(group, to, |window, key, accumulator| {
            let record = Windowed { key, window, value: aggregate.get(&accumulator) };
            out.push_back(Stamped { record, time: window.max_timestamp() });
            left -= 1;
            left > 0
        });
        Ok(if is_through { Done::All } else { Done::Some })
    }

    fn next_wake(&mut self) -> Option<WallTime> {
        None
    }

    fn wake(&mut self, _: WallTime, _: &Moment<'_>, _: &mut Out<Self::Out, Timestamp>) -> Result<(), BoxError> {
        Ok(())
    }

    fn batch_came(&mut self) {}

    fn is_loaded(&self) -> bool {
        true
    }

    fn load(&mut self, _: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
        Ok(())
    }

    fn heap_is_spent(&self) -> bool {
        false
    }

    fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        if mutation::is(Mutation::PanesNotRestored) {
            return Ok(());
        }
        let restored = self.table.restore(context.reader.as_ref());
        restored.map_err(|error| not_restored(self.table.address(), context, error))
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let deltas = self.table.freeze(snapshot.checkpoint);
        let deltas = deltas
            .map_err(|cause| format!("a value of state '{}' cannot be encoded: {cause}", self.table.address()))?;
        snapshot.deltas.extend(deltas);
        snapshot.bytes_full += self.table.stored_bytes();
        Ok(())
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

#[cfg(test)]
mod tests;
