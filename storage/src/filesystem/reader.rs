//! Reads one checkpoint's keyed state.
//!
//! Pieces of several groups are fetched at once, and found whole before any of them is visited.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use cofferdam_engine::{
    BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, StateAddress},
        store::{StateReader, StoreError, StoreErrorKind},
    },
};
use parking_lot::Mutex;

use super::{
    fault,
    manifest::{Catalog, Groups},
    name::DataId,
    piece::{self, Piece},
    pins::Pin,
    place::Place,
};

/// Bytes that are fetched at once, if no single group has more.
const BATCH: u64 = 16 << 20;

/// Called with each block.
type Visit<'a> = dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError> + 'a;

/// What an open store shows, for its readers: `None` once it is closed.
pub(super) type Shown = Arc<Mutex<Option<Showing>>>;

/// The newest checkpoint, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Showing(pub(super) Option<CheckpointId>);

/// See the module.
pub(super) struct Reader {
    pub(super) place: Arc<Place>,
    pub(super) shown: Shown,
    /// The checkpoint and its state; `None` if there is none.
    pub(super) newest: Option<(CheckpointId, Arc<Catalog>)>,
}

impl StateReader for Reader {
    fn read(&self, state: &StateAddress, range: KeyGroupRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.check_newest()?;
        let Some((_, catalog)) = &self.newest else { return Ok(()) };
        let Some(groups) = catalog.states.get(state) else { return Ok(()) };
        // What a later commit deleted is not damage.
        scan(&*self.place, state, groups, range, visit).map_err(|error| self.check_newest().err().unwrap_or(error))
    }
}

impl Reader {
    fn check_newest(&self) -> Result<(), StoreError> {
        let checkpoint = self.newest.as_ref().map(|(checkpoint, _)| *checkpoint);
        if *self.shown.lock() == Some(Showing(checkpoint)) {
            return Ok(());
        }
        let message = format!(
            "this reader's checkpoint is not the newest in {} any more, or its store was closed; ask the store for a new reader",
            self.place.name
        );
        Err(StoreError::new(StoreErrorKind::Fenced, message, None))
    }
}

/// Reads a checkpoint whose objects stay until it is dropped.
pub(super) struct PinnedReader {
    pub(super) place: Arc<Place>,
    pub(super) catalog: Arc<Catalog>,
    #[expect(dead_code, reason = "it is held, not read")]
    pub(super) pin: Pin,
}

impl StateReader for PinnedReader {
    fn read(&self, state: &StateAddress, range: KeyGroupRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let Some(groups) = self.catalog.states.get(state) else { return Ok(()) };
        scan(&*self.place, state, groups, range, visit)
    }
}

/// What has the bytes of data objects.
pub(super) trait Objects {
    /// For messages.
    fn place(&self) -> &str;
    /// Ranges of objects that must be there, in the order given.
    fn get_ranges(&self, wanted: Vec<(String, Vec<Range<u64>>)>) -> Result<Vec<Vec<Bytes>>, StoreError>;
}

impl Objects for Place {
    fn place(&self) -> &str {
        &self.name
    }

    fn get_ranges(&self, wanted: Vec<(String, Vec<Range<u64>>)>) -> Result<Vec<Vec<Bytes>>, StoreError> {
        self.get_ranges(wanted)
    }
}

/// Calls `visit` with each block of `range`, or says what is damaged.
pub(super) fn scan(
    objects: &impl Objects,
    state: &StateAddress,
    groups: &Groups,
    range: KeyGroupRange,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    if range.start >= range.end {
        return Ok(());
    }
    let mut batch: Vec<(KeyGroup, &Piece)> = Vec::new();
    let mut bytes = 0;
    for (group, pieces) in groups.range(KeyGroup(range.start)..KeyGroup(range.end)) {
        let more: u64 = pieces.iter().map(|piece| piece.length).sum();
        if bytes + more > BATCH {
            visit_batch(objects, state, &std::mem::take(&mut batch), visit)?;
            bytes = 0;
        }
        bytes += more;
        batch.extend(pieces.iter().map(|piece| (*group, piece)));
    }
    visit_batch(objects, state, &batch, visit)
}

fn visit_batch(
    objects: &impl Objects,
    state: &StateAddress,
    batch: &[(KeyGroup, &Piece)],
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let pieces = fetch(objects, batch.iter().map(|(_, piece)| **piece).collect())?;
    for ((group, _), bytes) in batch.iter().zip(pieces) {
        piece::decode(&bytes, |kind, entries, bytes| visit(*group, kind, entries, bytes)).map_err(|cause| {
            let what = format!("state {state}, key group {group}: a block cannot be restored");
            fault::damaged_by(objects.place(), what, Some(cause))
        })?;
    }
    Ok(())
}

/// The bytes of `pieces`, in their order, each found whole.
pub(super) fn fetch(objects: &impl Objects, pieces: Vec<Piece>) -> Result<Vec<Bytes>, StoreError> {
    let mut wanted: BTreeMap<DataId, Vec<usize>> = BTreeMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        wanted.entry(piece.object).or_default().push(at);
    }
    let range = |at: &usize| pieces[*at].offset..pieces[*at].offset.saturating_add(pieces[*at].length);
    let ranges = wanted.iter().map(|(object, places)| (object.to_string(), places.iter().map(range).collect()));
    let found = objects.get_ranges(ranges.collect())?;
    let mut fetched = vec![Bytes::new(); pieces.len()];
    for (at, bytes) in wanted.values().flatten().zip(found.into_iter().flatten()) {
        if !pieces[*at].is(&bytes) {
            let (object, offset) = (pieces[*at].object, pieces[*at].offset);
            return Err(fault::damaged(objects.place(), format!("{object} was altered, at byte {offset}")));
        }
        fetched[*at] = bytes;
    }
    Ok(fetched)
}
