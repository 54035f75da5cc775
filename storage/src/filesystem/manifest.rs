//! What a checkpoint consists of, behind the pieces of its data object.
//!
//! ```text
//! root --place and checksum--> manifest --place and checksum--> pieces of a key group, here and in older objects
//! ```
//! Each level vouches for the next, so that a piece that is absent, altered or another is noticed on reading.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    entry::{FORMAT, KNOWN, Kept, WITH_TIMES},
    fault,
    name::DataId,
    piece::Piece,
    place::Place,
    seal,
};
use cofferdam_engine::{
    CheckpointId, KeyGroup,
    checkpoint::{
        snapshot::{CheckpointMetadata, StateAddress},
        store::StoreError,
    },
};

/// The pieces of each key group of a state, the oldest first.
pub(super) type Groups = BTreeMap<KeyGroup, Vec<Piece>>;

/// All keyed state of a checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    /// Lengths of the data objects that it needs.
    pub(super) objects: BTreeMap<DataId, u64>,
    pub(super) states: BTreeMap<StateAddress, Arc<Groups>>,
}

impl Catalog {
    /// How many bytes of each object it needs.
    pub(super) fn live(&self) -> BTreeMap<DataId, u64> {
        let mut live = BTreeMap::new();
        for piece in self.states.values().flat_map(|groups| groups.values().flatten()) {
            *live.entry(piece.object).or_default() += piece.length;
        }
        live
    }
}

/// The bytes to store.
pub(super) fn encode(place: &str, metadata: &CheckpointMetadata, catalog: &Catalog) -> Result<Vec<u8>, StoreError> {
    let states: Vec<_> = catalog.states.iter().map(|(address, groups)| (address, groups.as_ref())).collect();
    postcard::to_extend(&(metadata, &catalog.objects, states, &metadata.times), FORMAT.to_le_bytes().to_vec())
        .map_err(|cause| fault::damaged_by(place, "a manifest cannot be encoded", Some(cause.into())))
}

/// All but the times, which are behind it.
type Decoded = (CheckpointMetadata, BTreeMap<DataId, u64>, Vec<(StateAddress, Groups)>);

/// Reads the manifest of a checkpoint that is kept, or says what is damaged.
pub(super) fn read(place: &Place, kept: &Kept) -> Result<(CheckpointMetadata, Catalog), StoreError> {
    let object = kept.object.to_string();
    let range = kept.offset..kept.offset.saturating_add(kept.length);
    let found = place.get_ranges(vec![(object.clone(), vec![range])])?;
    let bytes = found.first().and_then(|ranges| ranges.first()).map(|bytes| bytes.as_ref()).unwrap_or_default();
    let name = format!("the manifest of checkpoint {} in {object}", kept.checkpoint);
    if bytes.len() as u64 != kept.length || seal::checksum(&object, bytes) != kept.checksum {
        return Err(fault::damaged(&place.name, format!("{name} was altered")));
    }
    decode(place, kept.checkpoint, &name, bytes)
}

fn decode(
    place: &Place,
    checkpoint: CheckpointId,
    name: &str,
    bytes: &[u8],
) -> Result<(CheckpointMetadata, Catalog), StoreError> {
    let short = || fault::damaged(&place.name, format!("{name} is too short"));
    let (format, bytes) = bytes.split_first_chunk().ok_or_else(short)?;
    let format = u16::from_le_bytes(*format);
    fault::check_format(&place.name, name, format.into(), KNOWN)?;
    let (metadata, objects, states) = parts(format, bytes)
        .map_err(|cause| fault::damaged_by(&place.name, format!("{name} is unreadable"), Some(cause.into())))?;
    if metadata.checkpoint != checkpoint {
        return Err(fault::damaged(&place.name, format!("{name} is another checkpoint's")));
    }
    let states = states.into_iter().map(|(address, groups)| (address, Arc::new(groups))).collect();
    Ok((metadata, Catalog { objects, states }))
}

fn parts(format: u16, bytes: &[u8]) -> postcard::Result<Decoded> {
    let ((mut metadata, objects, states), rest): (Decoded, _) = postcard::take_from_bytes(bytes)?;
    if format >= WITH_TIMES {
        metadata.times = postcard::from_bytes(rest)?;
    }
    Ok((metadata, objects, states))
}
