//! The data object of one checkpoint: pieces, then the manifest.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cofferdam_engine::checkpoint::{
    snapshot::{CheckpointMetadata, StateAddress},
    store::StoreError,
};

use super::{
    compact::{self, Change, Changes},
    entry::Kept,
    manifest::{self, Catalog},
    name::DataId,
    piece::{self, Piece},
    place::Place,
    reader, seal,
};
use crate::plan::Plan;

/// An object that is written, and that no root names yet.
pub(super) struct Written {
    pub(super) kept: Kept,
    pub(super) catalog: Catalog,
    pub(super) bytes: u64,
}

/// Writes the data object of a checkpoint that follows `newest` as `plan` says.
pub(super) fn write(
    place: &Place,
    object: DataId,
    newest: &Catalog,
    metadata: &CheckpointMetadata,
    plan: &Plan<'_>,
) -> Result<Written, StoreError> {
    let mut catalog = newest.clone();
    let mut changes = apply(plan, &mut catalog);
    compact::choose(&catalog, &mut changes);
    let copied = copy(place, &catalog, &changes).unwrap_or_else(|cause| {
        // It is no less readable than before, and whoever must read it is told.
        log::warn!("{}: nothing is merged in checkpoint {}: {cause}", place.name, metadata.checkpoint);
        changes.values_mut().flat_map(BTreeMap::values_mut).for_each(|change| change.moves.clear());
        Vec::new()
    });
    let mut data = DataObject { id: object, pieces: Vec::new(), length: 0 };
    data.put_changes(&mut catalog, changes, copied);
    data.finish(place, metadata, catalog)
}

/// The plan's blocks as pieces to come; takes what they supersede out of `catalog`.
fn apply(plan: &Plan<'_>, catalog: &mut Catalog) -> Changes {
    let mut changes = Changes::new();
    for (address, groups) in plan {
        let stored = Arc::make_mut(catalog.states.entry(StateAddress::clone(address)).or_default());
        let of_state = changes.entry(StateAddress::clone(address)).or_default();
        for (group, change) in groups {
            if change.replaces {
                stored.remove(group);
            }
            let new = Some(piece::encode(change.blocks.iter().map(|(_, block)| *block)));
            of_state.insert(*group, Change { new, moves: Vec::new() });
        }
    }
    changes
}

/// Reads the stored pieces that are to be moved, in the order of `changes`.
fn copy(place: &Place, catalog: &Catalog, changes: &Changes) -> Result<Vec<Bytes>, StoreError> {
    let mut wanted = Vec::new();
    for (address, groups) in changes {
        let stored = catalog.states.get(address);
        for (group, change) in groups {
            let pieces = stored.and_then(|stored| stored.get(group)).map(Vec::as_slice).unwrap_or_default();
            let moved = change.moves.iter().cloned().flatten();
            wanted.extend(moved.filter_map(|at| pieces.get(at)).copied());
        }
    }
    reader::fetch(place, wanted)
}

/// An object in the making.
struct DataObject {
    id: DataId,
    pieces: Vec<Bytes>,
    length: u64,
}

impl DataObject {
    fn put(&mut self, bytes: Bytes) -> Piece {
        let piece = Piece::of(self.id, self.length, &bytes);
        self.length += piece.length;
        self.pieces.push(bytes);
        piece
    }

    fn put_changes(&mut self, catalog: &mut Catalog, changes: Changes, copied: Vec<Bytes>) {
        let mut copied = copied.into_iter();
        for (address, groups) in changes {
            let stored = Arc::make_mut(catalog.states.entry(address).or_default());
            for (group, change) in groups {
                self.put_change(stored.entry(group).or_default(), change, &mut copied);
            }
        }
    }

    fn put_change(&mut self, pieces: &mut Vec<Piece>, change: Change, copied: &mut impl Iterator<Item = Bytes>) {
        let before = std::mem::take(pieces);
        let mut next = 0;
        let mut new = change.new;
        for moved in change.moves {
            pieces.extend_from_slice(&before[next..moved.start]);
            let end = moved.end.min(before.len());
            let mut parts: Vec<Bytes> = copied.by_ref().take(end - moved.start).collect();
            if moved.end > before.len() {
                parts.extend(new.take());
            }
            pieces.push(self.put(parts.concat().into()));
            next = end;
        }
        pieces.extend_from_slice(&before[next..]);
        pieces.extend(new.map(|new| self.put(new)));
    }

    /// Puts the manifest behind the pieces, and all of it into the place.
    fn finish(
        mut self,
        place: &Place,
        metadata: &CheckpointMetadata,
        mut catalog: Catalog,
    ) -> Result<Written, StoreError> {
        let live = catalog.live();
        catalog.objects.retain(|object, _| live.contains_key(object));
        catalog.objects.insert(self.id, self.length);
        let manifest: Bytes = manifest::encode(&place.name, metadata, &catalog)?.into();
        let name = self.id.to_string();
        let kept = Kept {
            checkpoint: metadata.checkpoint,
            object: self.id,
            offset: self.length,
            length: manifest.len() as u64,
            checksum: seal::checksum(&name, &manifest),
            needs: catalog.objects.keys().copied().filter(|object| *object != self.id).collect(),
        };
        let bytes = self.length + kept.length;
        // The manifest itself does not say how long it is. Whoever reads it knows.
        catalog.objects.insert(self.id, bytes);
        self.pieces.push(manifest);
        place.put(&name, self.pieces)?;
        Ok(Written { kept, catalog, bytes })
    }
}
