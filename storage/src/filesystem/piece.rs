//! Blocks of one key group, one behind the other.
//!
//! ```text
//! | kind | entries | length | bytes ... | kind | entries | length | bytes ... |
//!   u8     u32       u64                     little-endian
//! ```
//! Pieces that follow each other are merged by putting their bytes behind each other.

use bytes::Bytes;
use cofferdam_engine::{
    BoxError,
    checkpoint::snapshot::{BlockKind, StateBlock},
};
use serde::{Deserialize, Serialize};

use super::{name::DataId, seal};

const HEAD: usize = 1 + 4 + 8;

/// Where a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) object: DataId,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Over the object's name and the bytes.
    pub(super) checksum: u64,
}

impl Piece {
    /// What `bytes` are at `offset` of `object`.
    pub(super) fn of(object: DataId, offset: u64, bytes: &[u8]) -> Self {
        Self { object, offset, length: bytes.len() as u64, checksum: seal::checksum(&object.to_string(), bytes) }
    }

    /// Whether `bytes` are the ones.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        *self == Self::of(self.object, self.offset, bytes)
    }
}

/// A piece of `blocks`, the oldest first.
pub(super) fn encode<'a>(blocks: impl Iterator<Item = &'a StateBlock>) -> Bytes {
    let mut bytes = Vec::new();
    for block in blocks {
        bytes.reserve(HEAD + block.bytes.len());
        bytes.push(match block.kind {
            BlockKind::Full => 0,
            BlockKind::Changes => 1,
        });
        bytes.extend_from_slice(&block.entries.to_le_bytes());
        bytes.extend_from_slice(&(block.bytes.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&block.bytes);
    }
    bytes.into()
}

/// Calls `visit` with each block; an error if it fails, or `piece` is none.
pub(super) fn decode(
    mut piece: &[u8],
    mut visit: impl FnMut(BlockKind, u32, &[u8]) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    while !piece.is_empty() {
        let (kind, entries, bytes, rest) = split(piece).ok_or("no block begins there")?;
        visit(kind, entries, bytes)?;
        piece = rest;
    }
    Ok(())
}

fn split(piece: &[u8]) -> Option<(BlockKind, u32, &[u8], &[u8])> {
    let (head, rest) = piece.split_first_chunk::<HEAD>()?;
    let kind = match head[0] {
        0 => BlockKind::Full,
        1 => BlockKind::Changes,
        _ => return None,
    };
    let entries = u32::from_le_bytes(head[1..5].try_into().ok()?);
    let length = u64::from_le_bytes(head[5..].try_into().ok()?);
    let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((kind, entries, bytes, rest))
}
