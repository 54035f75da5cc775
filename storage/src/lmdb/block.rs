//! A block as values.
//!
//! ```text
//! part 0: | kind | entries | length | bytes ... | checksum |
//! part 1: | bytes ...                           | checksum |
//! ```
//! Cut, so that a part needs few free pages in a row: large values leave holes that only smaller ones fit. With 128 groups of 125 KB, a
//! thousand commits of changes and full blocks grew the file to 1.2 times the live state in parts of 16 KiB, and to 1.3 times
//! uncut; the time was the same, and up to twice as long in parts of one page. A full part fills its pages to the last byte.
//!
//! Blocks that keys are looked up in are cut at one page, between entries ([`Sorted`]).

use std::io::Write as _;

use cofferdam_engine::checkpoint::snapshot::{BlockKind, StateBlock};
use heed::RwTxn;

use super::{
    catalog::Tally,
    layout::{BLOCK, BlockKey, Databases},
    run::Sorted,
    value::{self, CHECKSUM},
};

/// Of a value that LMDB keeps on pages of its own: what is left of four pages of 4 KiB after the page header.
const PART: usize = 4 * 4096 - 16;
/// What part 0 begins with.
pub(super) const HEAD: usize = 1 + 4 + 8;

/// Writes `block` from `key` on and adds its values to `tally`. Returns the bytes written.
pub(super) fn put(
    transaction: &mut RwTxn<'_>,
    databases: &Databases,
    mut key: BlockKey,
    block: &StateBlock,
    tally: &mut Tally,
) -> heed::Result<u64> {
    let head = head(block);
    let (first, rest) = block.bytes.split_at(block.bytes.len().min(PART - CHECKSUM - HEAD));
    let mut written = put_part(transaction, databases, key, [&head, first], tally)?;
    for part in rest.chunks(PART - CHECKSUM) {
        key.part += 1;
        written += put_part(transaction, databases, key, [&[], part], tally)?;
    }
    Ok(written)
}

/// Writes a sorted block, as [`put`] does.
pub(super) fn put_sorted(
    transaction: &mut RwTxn<'_>,
    databases: &Databases,
    mut key: BlockKey,
    sorted: &Sorted,
    tally: &mut Tally,
) -> heed::Result<u64> {
    let head = head(&sorted.block);
    let mut written = 0;
    for (part, bytes) in (0..).zip(sorted.parts()) {
        key.part = part;
        let head = if part == 0 { &head[..] } else { &[] };
        written += put_part(transaction, databases, key, [head, bytes], tally)?;
    }
    Ok(written)
}

fn put_part(
    transaction: &mut RwTxn<'_>,
    databases: &Databases,
    key: BlockKey,
    pieces: [&[u8]; 2],
    tally: &mut Tally,
) -> heed::Result<u64> {
    let key = key.encode();
    let checksum = value::checksum(BLOCK, &key, &pieces);
    let length = pieces[0].len() + pieces[1].len() + CHECKSUM;
    databases.block.put_reserved(transaction, &key, length, |space| {
        space.write_all(pieces[0])?;
        space.write_all(pieces[1])?;
        space.write_all(&checksum.to_le_bytes())
    })?;
    tally.add(checksum);
    Ok(length as u64)
}

fn head(block: &StateBlock) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = match block.kind {
        BlockKind::Full => 0,
        BlockKind::Changes => 1,
    };
    head[1..5].copy_from_slice(&block.entries.to_le_bytes());
    head[5..].copy_from_slice(&(block.bytes.len() as u64).to_le_bytes());
    head
}

/// What a block's first part says of the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: BlockKind,
    pub(super) entries: u32,
    pub(super) length: u64,
}

/// Splits part 0, without its checksum; `None` if it is none.
pub(super) fn split_head(part: &[u8]) -> Option<(Head, &[u8])> {
    let (head, bytes) = part.split_first_chunk::<HEAD>()?;
    let kind = match head[0] {
        0 => BlockKind::Full,
        1 => BlockKind::Changes,
        _ => return None,
    };
    let entries = u32::from_le_bytes(head[1..5].try_into().ok()?);
    let length = u64::from_le_bytes(head[5..].try_into().ok()?);
    Some((Head { kind, entries, length }, bytes))
}
