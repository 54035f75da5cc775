//! What a side keeps of its records, and the timer that says when it can go.

use crate::{
    key::Key,
    operator::process_timed::Context,
    record::Record,
    state::{
        MapState,
        descriptor::{Entries, StateDescriptor},
        keyed_states::KeyedStates,
    },
    time::Timestamp,
};

/// Records of one side: by time, and those of one time in the order in which they came.
pub type Waiting<T> = StateDescriptor<Entries<(Timestamp, u32)>, T>;

/// Those of one key.
pub type WaitingOf<'a, K, T> = MapState<'a, K, (Timestamp, u32), T>;

/// Puts a record behind those of its time.
pub(super) fn put<K: Key, T: Record>(waiting: &mut WaitingOf<'_, K, T>, time: Timestamp, record: T) {
    let last = waiting.range((time, 0)..=(time, u32::MAX)).next_back();
    let number = last.map_or(0, |((_, number), _)| number.saturating_add(1));
    waiting.insert((time, number), record);
}

/// The time of the first record.
pub(super) fn first<K: Key, T: Record>(waiting: &WaitingOf<'_, K, T>) -> Option<Timestamp> {
    waiting.first_key().map(|(time, _)| *time)
}

/// Takes the first record out, if it `may_go`.
pub(super) fn take_first<K: Key, T: Record>(
    waiting: &mut WaitingOf<'_, K, T>,
    may_go: impl FnOnce(Timestamp) -> bool,
) -> Option<(Timestamp, T)> {
    let place = waiting.first_key().copied().filter(|(time, _)| may_go(*time))?;
    Some((place.0, waiting.remove(&place)?))
}

/// Whichever is first.
pub(super) fn earliest(moments: [Option<Timestamp>; 2]) -> Option<Timestamp> {
    moments.into_iter().flatten().min()
}

/// Sets the key's timer to `due`, where it was at `was`.
pub(super) fn set_timer<K: Key, D: KeyedStates<K>, O>(
    cx: &mut Context<'_, K, D, (), O>,
    was: Option<Timestamp>,
    due: Option<Timestamp>,
) {
    if was == due {
        return;
    }
    if let Some(was) = was {
        cx.cancel_timer(was);
    }
    if let Some(due) = due {
        cx.set_timer(due);
    }
}
