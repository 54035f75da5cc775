//! Several blocks of a group made into one: of a key that stands in more than one, the newest entry counts.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use cofferdam_engine::{
    BoxError, KeyGroup,
    checkpoint::snapshot::{BlockKind, StateBlock},
    state::{Block, BlockEntry},
};

use super::run::{Builder, Sorted};

/// Makes one sorted block of `blocks`, the oldest first. In a block as it was frozen the entries come after the keys that went, and so count more.
pub(super) fn sort<'a>(
    group: KeyGroup,
    kind: BlockKind,
    part: usize,
    blocks: impl IntoIterator<Item = &'a StateBlock>,
) -> Result<Sorted, BoxError> {
    let mut entries = Vec::new();
    for block in blocks {
        for entry in Block::parse(&block.bytes)? {
            entries.push(entry?);
        }
    }
    entries.sort_by(|left, right| left.key.cmp(right.key));
    let mut builder = Builder::new(group, kind, part);
    let of_a_key = entries.chunk_by(|left, right| left.key == right.key);
    of_a_key.filter_map(|entries| entries.last()).for_each(|entry| builder.push(*entry));
    Ok(builder.finish())
}

/// A sorted block in pieces, each some entries.
pub(super) type Pieces<'a> = Vec<&'a [u8]>;

/// Merges sorted blocks, the oldest first, into a full one.
pub(super) fn merge<'a>(group: KeyGroup, part: usize, blocks: Vec<Pieces<'a>>) -> Result<Sorted, BoxError> {
    let mut sources: Vec<_> =
        blocks.into_iter().map(|pieces| pieces.into_iter().flat_map(Block::sorted_entries)).collect();
    let mut heads = BinaryHeap::new();
    for (age, source) in sources.iter_mut().enumerate() {
        heads.extend(head(age, source)?.map(Reverse));
    }
    let mut builder = Builder::new(group, BlockKind::Full, part);
    let mut last: Option<&[u8]> = None;
    while let Some(Reverse(Head { entry, age })) = heads.pop() {
        if last != Some(entry.key) {
            builder.push(entry);
            last = Some(entry.key);
        }
        heads.extend(head(age, &mut sources[age])?.map(Reverse));
    }
    Ok(builder.finish())
}

fn head<'a>(
    age: usize,
    source: &mut impl Iterator<Item = Result<BlockEntry<'a>, BoxError>>,
) -> Result<Option<Head<'a>>, BoxError> {
    Ok(source.next().transpose()?.map(|entry| Head { entry, age }))
}

/// The next entry of a block; higher `age`s are newer.
#[derive(PartialEq, Eq)]
struct Head<'a> {
    entry: BlockEntry<'a>,
    age: usize,
}

/// By key, and of one key the newest first.
impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.entry.key.cmp(other.entry.key).then(other.age.cmp(&self.age))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    type Changes = Vec<(u8, Option<Vec<u8>>)>;

    fn frozen(version: u8, changes: &Changes) -> StateBlock {
        let gone: Vec<u8> = changes.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
        let mut bytes = vec![2, version, gone.len() as u8];
        gone.iter().for_each(|key| bytes.extend([1, *key]));
        for (key, value) in changes {
            let Some(value) = value else { continue };
            bytes.extend([1, *key, value.len() as u8]);
            bytes.extend(value);
        }
        StateBlock { group: KeyGroup(0), kind: BlockKind::Changes, entries: changes.len() as u32, bytes }
    }

    /// Each key at most once among what went, and at most once among the entries.
    fn changes() -> impl Strategy<Value = Changes> {
        vec((0u8..30, prop::option::of(vec(any::<u8>(), 0..40))), 0..40).prop_map(|mut changes| {
            changes.sort_by_key(|(key, value)| (*key, value.is_none()));
            changes.dedup_by_key(|(key, value)| (*key, value.is_none()));
            changes
        })
    }

    type Entries = BTreeMap<u8, Option<(u32, Vec<u8>)>>;

    fn entries(sorted: &Sorted) -> Entries {
        let pieces: Vec<_> = sorted.parts().collect();
        assert_eq!(pieces.concat(), sorted.block.bytes);
        let entries: Vec<_> = Block::parse(&sorted.block.bytes).unwrap().map(Result::unwrap).collect();
        assert!(entries.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(entries.len(), sorted.block.entries as usize);
        entries
            .iter()
            .map(|entry| (entry.key[0], entry.value.map(|(form, value)| (form.version, value.to_vec()))))
            .collect()
    }

    fn apply(map: &mut Entries, version: u8, changes: &Changes) {
        changes.iter().filter(|(_, value)| value.is_none()).for_each(|(key, _)| drop(map.insert(*key, None)));
        for (key, value) in changes {
            if let Some(value) = value {
                map.insert(*key, Some((version.into(), value.clone())));
            }
        }
    }

    proptest! {
        #[test]
        fn the_newest_entry_of_each_key_is_left(blocks in vec(changes(), 1..6), part in 22usize..120) {
            let frozen: Vec<_> = (0..).zip(&blocks).map(|(version, changes)| frozen(version, changes)).collect();
            let mut map = Entries::new();
            (0..).zip(&blocks).for_each(|(version, changes)| apply(&mut map, version, changes));
            let sorted = sort(KeyGroup(0), BlockKind::Changes, part, &frozen).unwrap();
            prop_assert_eq!(&entries(&sorted), &map);

            map.retain(|_, value| value.is_some());
            let full = sort(KeyGroup(0), BlockKind::Full, part, &frozen).unwrap();
            prop_assert_eq!(&entries(&full), &map);

            let each: Vec<_> = frozen.iter().map(|block| sort(KeyGroup(0), BlockKind::Changes, part, [block]).unwrap()).collect();
            let pieces = each.iter().map(|sorted| sorted.pieces().collect()).collect();
            let merged = merge(KeyGroup(0), part, pieces).unwrap();
            prop_assert_eq!(&entries(&merged), &map);
            prop_assert_eq!(merged.ends, full.ends);
        }
    }
}
