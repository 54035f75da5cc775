//! How long a value lives.
//!
//! | | kept as | is seen | leaves |
//! |---|---|---|---|
//! | [`Forever`] | itself | always | when it is removed |
//! | [`Ttl`] | itself and a time | until that time plus the duration | at the next [`Sweep`] over its key group |

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    codec,
    error::BoxError,
    id::{CheckpointId, WallTime},
    key::Key,
    mutation::{self, Mutation},
    record::Record,
    slice::Slice,
    state::{keyed_table::KeyedTable, value_format::ValueFormat},
};

/// Snapshots within which each key group is swept once.
const SNAPSHOTS: u64 = 64;

/// A time to live: a value is no longer there when so much time has passed since it was last written.
///
/// Time is that of the wall clock, to the millisecond, and outlives a restart. A value that has expired is not seen from that moment on. It leaves memory and
/// checkpoints, block by block, at most 64 snapshots of its subtask later: with each snapshot one 64th of the key groups is looked through.
///
/// Each entry of a map and each element of a list has a time of its own. The duration may differ from one start of the job to the next, and holds for what is
/// there already; a state may also get a time to live, or lose it: what was written without one counts as written when it is first looked through.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::state::{self, Ttl};
///
/// let hour = Ttl::after(Duration::from_secs(3600));
/// let seen = state::value::<u64>("seen").ttl(hour);
/// let sessions = state::map::<String, u64>("sessions").ttl(hour.refreshed_on_read());
/// # let _ = (seen, sessions);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    milliseconds: u64,
    is_refreshed_on_read: bool,
}

impl Ttl {
    /// Refreshed by writing. Part of a millisecond counts as a whole one.
    pub fn after(duration: Duration) -> Self {
        let milliseconds = duration.as_nanos().div_ceil(1_000_000).max(1);
        Self { milliseconds: u64::try_from(milliseconds).unwrap_or(u64::MAX), is_refreshed_on_read: false }
    }

    /// Refreshed by reading, too. Then a value that is only read is in the next checkpoint's changes as one that is written.
    #[must_use]
    pub fn refreshed_on_read(mut self) -> Self {
        self.is_refreshed_on_read = true;
        self
    }
}

/// No end of its own: a state for which nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forever;

/// A value, and when it was last used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timed<V>(WallTime, V);

/// Of a value that was written when its state had no time to live: it is dated by the next sweep.
const UNDATED: WallTime = WallTime(u64::MAX);

impl<V> Timed<V> {
    pub(crate) fn new(used: WallTime, value: V) -> Self {
        Self(used, value)
    }

    pub(crate) fn undated(value: V) -> Self {
        Self(UNDATED, value)
    }

    /// Takes the bytes of one apart: its time, and the bytes of the value.
    pub(crate) fn split(bytes: &[u8]) -> Result<(WallTime, &[u8]), BoxError> {
        codec::split_pair(bytes)
    }
}

/// What a sweep made of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// It is as it was.
    Kept,
    /// It has another time.
    Dated,
    /// It has expired.
    Gone,
}

/// [`Forever`] or [`Ttl`]: how a state's values are kept, and until when they are seen. Nobody else implements it.
pub trait Lifetime: Clone + Send + 'static {
    /// A value as it is kept.
    #[doc(hidden)]
    type Stored<V: Record>: Record;
    /// The time of a record, as far as it matters.
    #[doc(hidden)]
    type Now: Copy + Send;
    /// Whether it ever ends.
    #[doc(hidden)]
    const ENDS: bool;

    #[doc(hidden)]
    fn now(slice: &Slice<'_>) -> Self::Now;
    #[doc(hidden)]
    fn format<V: DeserializeOwned + Record>(format: ValueFormat<V>) -> ValueFormat<Self::Stored<V>>;
    #[doc(hidden)]
    fn store<V: Record>(value: V, now: Self::Now) -> Self::Stored<V>;
    #[doc(hidden)]
    fn take<V: Record>(stored: Self::Stored<V>) -> V;
    #[doc(hidden)]
    fn get<V: Record>(stored: &Self::Stored<V>) -> &V;
    #[doc(hidden)]
    fn get_mut<V: Record>(stored: &mut Self::Stored<V>) -> &mut V;
    #[doc(hidden)]
    fn is_seen<V: Record>(&self, stored: &Self::Stored<V>, now: Self::Now) -> bool;
    /// Notes that it is written.
    #[doc(hidden)]
    fn written<V: Record>(stored: &mut Self::Stored<V>, now: Self::Now);
    /// Whether reading changes what is kept.
    #[doc(hidden)]
    fn is_refreshed_on_read(&self) -> bool;
    /// Notes that it is read; whether that changes what is kept.
    #[doc(hidden)]
    fn read<V: Record>(&self, stored: &mut Self::Stored<V>, now: Self::Now) -> bool;
    #[doc(hidden)]
    fn judge<V: Record>(&self, stored: &mut Self::Stored<V>, time: WallTime) -> Swept;
}

impl Lifetime for Forever {
    type Stored<V: Record> = V;
    type Now = ();
    const ENDS: bool = false;

    #[inline]
    fn now(_: &Slice<'_>) {}

    fn format<V: DeserializeOwned + Record>(format: ValueFormat<V>) -> ValueFormat<V> {
        format.untimed()
    }

    #[inline]
    fn store<V: Record>(value: V, (): ()) -> V {
        value
    }

    #[inline]
    fn take<V: Record>(stored: V) -> V {
        stored
    }

    #[inline]
    fn get<V: Record>(stored: &V) -> &V {
        stored
    }

    #[inline]
    fn get_mut<V: Record>(stored: &mut V) -> &mut V {
        stored
    }

    #[inline]
    fn is_seen<V: Record>(&self, _: &V, (): ()) -> bool {
        true
    }

    #[inline]
    fn written<V: Record>(_: &mut V, (): ()) {}

    #[inline]
    fn is_refreshed_on_read(&self) -> bool {
        false
    }

    #[inline]
    fn read<V: Record>(&self, _: &mut V, (): ()) -> bool {
        false
    }

    fn judge<V: Record>(&self, _: &mut V, _: WallTime) -> Swept {
        Swept::Kept
    }
}

impl Lifetime for Ttl {
    type Stored<V: Record> = Timed<V>;
    type Now = WallTime;
    const ENDS: bool = true;

    #[inline]
    fn now(slice: &Slice<'_>) -> WallTime {
        slice.wall_time()
    }

    fn format<V: DeserializeOwned + Record>(format: ValueFormat<V>) -> ValueFormat<Timed<V>> {
        format.timed()
    }

    #[inline]
    fn store<V: Record>(value: V, now: WallTime) -> Timed<V> {
        Timed(now, value)
    }

    #[inline]
    fn take<V: Record>(stored: Timed<V>) -> V {
        stored.1
    }

    #[inline]
    fn get<V: Record>(stored: &Timed<V>) -> &V {
        &stored.1
    }

    #[inline]
    fn get_mut<V: Record>(stored: &mut Timed<V>) -> &mut V {
        &mut stored.1
    }

    #[inline]
    fn is_seen<V: Record>(&self, stored: &Timed<V>, now: WallTime) -> bool {
        now.0 < stored.0.0.saturating_add(self.milliseconds)
    }

    #[inline]
    fn written<V: Record>(stored: &mut Timed<V>, now: WallTime) {
        stored.0 = now;
    }

    #[inline]
    fn is_refreshed_on_read(&self) -> bool {
        self.is_refreshed_on_read
    }

    #[inline]
    fn read<V: Record>(&self, stored: &mut Timed<V>, now: WallTime) -> bool {
        let is_refreshed = self.is_refreshed_on_read && stored.0 != now;
        if is_refreshed {
            stored.0 = now;
        }
        is_refreshed
    }

    fn judge<V: Record>(&self, stored: &mut Timed<V>, time: WallTime) -> Swept {
        if stored.0 == UNDATED {
            stored.0 = time;
            return Swept::Dated;
        }
        if self.is_seen(stored, time) && !mutation::is(Mutation::SweptAlive) { Swept::Kept } else { Swept::Gone }
    }
}

/// Which key groups are looked through for what has expired.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    turn: Option<u64>,
}

impl Sweep {
    /// Looks through the groups whose turn it is at the snapshot of `checkpoint`, and tells of each key that goes. Begins, in each attempt, about where the one
    /// before has stopped.
    pub(crate) fn over<K: Key, V: Record, L: Lifetime>(
        &mut self,
        table: &mut KeyedTable<K, L::Stored<V>>,
        lifetime: &L,
        (checkpoint, time): (CheckpointId, WallTime),
        mut gone: impl FnMut(&K),
    ) {
        if !L::ENDS {
            return;
        }
        let groups = self.next(checkpoint, table.groups());
        table.sweep(groups, |key, stored| {
            let swept = lifetime.judge::<V>(stored, time);
            if swept == Swept::Gone {
                gone(key);
            }
            swept
        });
    }

    fn next(&mut self, checkpoint: CheckpointId, groups: usize) -> Range<usize> {
        let turn = self.turn.map_or(checkpoint.0, |turn| turn + 1);
        self.turn = Some(turn);
        let bound = |turn: u64| (turn * groups as u64 / SNAPSHOTS) as usize;
        bound(turn % SNAPSHOTS)..bound(turn % SNAPSHOTS + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_snapshots_look_through_every_group_once_whatever_their_numbers() {
        for groups in [1, 3, 63, 64, 65, 128, 1000] {
            let mut sweep = Sweep::default();
            let mut seen: Vec<_> = (0..SNAPSHOTS).flat_map(|i| sweep.next(CheckpointId(17 + 5 * i), groups)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..groups).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_value_is_seen_for_its_time_and_not_at_the_very_moment() {
        let ttl = Ttl::after(Duration::from_millis(10));
        let stored = Ttl::store(7u32, WallTime(100));
        assert!(ttl.is_seen(&stored, WallTime(109)));
        assert!(!ttl.is_seen(&stored, WallTime(110)));
        assert!(ttl.is_seen(&Timed::undated(7u32), WallTime(110)));
        assert!(ttl.is_seen(&stored, WallTime(0)), "the clock was set back");
        assert_eq!(Ttl::after(Duration::ZERO), Ttl::after(Duration::from_micros(1000)));
    }

    #[test]
    fn reading_refreshes_only_if_it_is_to() {
        let ttl = Ttl::after(Duration::from_millis(10));
        let mut stored = Ttl::store(7u32, WallTime(100));
        assert!(!ttl.read(&mut stored, WallTime(105)));
        assert!(!ttl.is_seen(&stored, WallTime(110)));
        assert!(ttl.refreshed_on_read().read(&mut stored, WallTime(105)));
        assert!(!ttl.refreshed_on_read().read(&mut stored, WallTime(105)), "it is so already");
        assert!(ttl.is_seen(&stored, WallTime(114)));
    }
}
