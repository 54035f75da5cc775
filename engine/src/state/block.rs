//! The bytes of a block of keyed state.
//!
//! ```text
//! as frozen   2 | version of the state | number of tombstones | tombstones: (length key)* | entries: (length key length value)*
//! the same    4   where each value has its time: then it is a pair of milliseconds since the Unix epoch and the value itself (see [`Ttl`](super::Ttl))
//! sorted      3 | entries by growing key: (length key 0 | length key 1+tag length value)*
//! tag         2 * version of the state, and 1 more if the value has its time
//! ```
//! The first is a byte, all other numbers are varints (LEB128). Keys in their own order-preserving encoding, values as the [`codec`](crate::codec) has them: a block can be taken apart without
//! the types. In a frozen block a key may stand among the tombstones and again among the entries: it went and came back. In a sorted one each key stands once, and 0 says that it went. The
//! checksum is the store's. An empty block has no entries.

use serde::Serialize;

use crate::{codec, error::BoxError, key::Key};

const FROZEN: u8 = 2;
const SORTED: u8 = 3;
/// Each value has its time.
const TIMED: u8 = 4;

/// What values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Values {
    /// Their version, as the state's user counts.
    pub version: u32,
    /// Each is a pair of its time, in milliseconds since the Unix epoch, and the value itself.
    pub are_timed: bool,
}

impl Values {
    fn tag(self) -> u64 {
        2 * u64::from(self.version) + u64::from(self.are_timed)
    }

    fn of_tag(tag: u64) -> Option<Self> {
        Some(Self { version: u32::try_from(tag / 2).ok()?, are_timed: tag % 2 == 1 })
    }
}

/// Starts a block with the keys that went.
pub(crate) fn begin<K: Key>(out: &mut Vec<u8>, values: Values, tombstones: &[K]) {
    begin_head(out, values, tombstones.len());
    tombstones.iter().for_each(|key| key.encode_with_length(out));
}

/// Starts a block with as many tombstones as follow, each a key behind its length.
pub(crate) fn begin_head(out: &mut Vec<u8>, values: Values, tombstones: usize) {
    out.push(if values.are_timed { TIMED } else { FROZEN });
    push_varint(u64::from(values.version), out);
    push_varint(tombstones as u64, out);
}

/// Adds an entry.
#[inline(always)]
pub(crate) fn push<K: Key, S: Serialize>(out: &mut Vec<u8>, key: &K, value: &S) -> Result<(), BoxError> {
    out.reserve(64);
    key.encode_with_length(out);
    push_with_length(out, |out| codec::append(value, out))
}

/// Adds what `append` does, behind its length.
#[inline(always)]
pub(crate) fn push_with_length<T>(out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    out.push(0);
    let appended = append(out);
    let length = out.len() - start - 1;
    match length {
        0..0x80 => out[start] = length as u8,
        _ => set_long_length(out, start, length),
    }
    appended
}

/// Makes room for a length of more than one byte.
#[cold]
fn set_long_length(out: &mut Vec<u8>, start: usize, length: usize) {
    let mut bytes = Vec::new();
    push_varint(length as u64, &mut bytes);
    out.splice(start..=start, bytes);
}

/// Starts a sorted block.
pub fn begin_sorted(out: &mut Vec<u8>) {
    out.push(SORTED);
}

/// Adds an entry to a sorted block; its key is above all others there.
pub fn push_sorted(out: &mut Vec<u8>, entry: BlockEntry<'_>) {
    push_varint(entry.key.len() as u64, out);
    out.extend_from_slice(entry.key);
    let Some((values, value)) = entry.value else { return out.push(0) };
    push_varint(values.tag() + 1, out);
    push_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// What [`push_sorted`] adds, in bytes.
pub fn sorted_length(entry: BlockEntry<'_>) -> usize {
    let varint = |number: u64| (64 - (number | 1).leading_zeros() as usize).div_ceil(7);
    let key = varint(entry.key.len() as u64) + entry.key.len();
    key + match entry.value {
        Some((values, value)) => varint(values.tag() + 1) + varint(value.len() as u64) + value.len(),
        None => 1,
    }
}

fn push_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a varint off the front.
#[inline]
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes a length, and as many bytes, off the front.
#[inline]
fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(bytes)?;
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// A key, and its value with what that is; `None` if it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry<'a> {
    /// The key's encoding.
    pub key: &'a [u8],
    /// The value's bytes.
    pub value: Option<(Values, &'a [u8])>,
}

/// A block, taken apart without its types. What comes after an error is not read.
///
/// ```
/// # use cofferdam_engine::state::{Block, BlockEntry, Values};
/// let bytes = [2, 0, 1, 1, b'a', 1, b'b', 1, 7]; // 'a' went; 'b' is 7
/// let entries: Result<Vec<_>, _> = Block::parse(&bytes)?.collect();
/// assert_eq!(entries?, [BlockEntry { key: b"a", value: None }, BlockEntry { key: b"b", value: Some((Values::default(), &[7])) }]);
/// # Ok::<(), cofferdam_engine::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Block<'a> {
    form: Form,
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Frozen { values: Values, tombstones: u64 },
    Sorted,
}

impl<'a> Block<'a> {
    /// An error if the block is of another format, or its head is cut short.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BoxError> {
        let Some((format, mut rest)) = bytes.split_first() else { return Ok(Self::sorted_entries(&[])) };
        match *format {
            FROZEN | TIMED => {
                let head = (varint(&mut rest), varint(&mut rest));
                let (Some(version), Some(tombstones)) = head else {
                    return Err("the block's head is cut short".into());
                };
                let version = u32::try_from(version).map_err(|_| "the block's state version has more than 32 bits")?;
                let values = Values { version, are_timed: *format == TIMED };
                Ok(Self { form: Form::Frozen { values, tombstones }, rest })
            }
            SORTED => Ok(Self::sorted_entries(rest)),
            _ => Err(format!("the block has format {format}, and this build reads formats {FROZEN} to {TIMED}").into()),
        }
    }

    /// Some entries of a sorted block, without its head.
    pub fn sorted_entries(bytes: &'a [u8]) -> Self {
        Self { form: Form::Sorted, rest: bytes }
    }

    #[inline]
    fn take(&mut self) -> Option<BlockEntry<'a>> {
        let key = delimited(&mut self.rest)?;
        let values = match &mut self.form {
            Form::Frozen { tombstones: 0, values } => Some(*values),
            Form::Frozen { tombstones, .. } => {
                *tombstones -= 1;
                None
            }
            Form::Sorted => match varint(&mut self.rest)? {
                0 => None,
                tag => Some(Values::of_tag(tag - 1)?),
            },
        };
        let value = match values {
            Some(values) => Some((values, delimited(&mut self.rest)?)),
            None => None,
        };
        Some(BlockEntry { key, value })
    }
}

impl<'a> Iterator for Block<'a> {
    type Item = Result<BlockEntry<'a>, BoxError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && !matches!(self.form, Form::Frozen { tombstones: 1.., .. }) {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            *self = Self::sorted_entries(&[]);
        }
        Some(taken.ok_or_else(|| "the block is cut short".into()))
    }
}

/// Reads a key, whole.
#[inline]
pub(crate) fn key<K: Key>(mut bytes: &[u8]) -> Result<K, BoxError> {
    let key = K::decode(&mut bytes).filter(|_| bytes.is_empty());
    key.ok_or_else(|| format!("a key cannot be read as {}", K::format()).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Entries = Vec<(String, Option<Vec<u8>>)>;

    fn read(bytes: &[u8]) -> Result<Entries, BoxError> {
        Block::parse(bytes)?
            .map(|entry| {
                let entry = entry?;
                Ok((key(entry.key)?, entry.value.map(|(_, value)| codec::decode(value)).transpose()?))
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_block_comes_apart_as_it_was_put_together(
            version in any::<u32>(),
            are_timed in any::<bool>(),
            gone in prop::collection::vec(".{0,5}", 0..4),
            entries in prop::collection::vec((".{0,90}", prop::collection::vec(any::<u8>(), 0..300)), 0..8),
        ) {
            let mut bytes = Vec::new();
            let values = Values { version, are_timed };
            begin(&mut bytes, values, &gone);
            for (key, value) in &entries {
                push(&mut bytes, key, value).unwrap();
            }
            let found = Block::parse(&bytes).unwrap().filter_map(|entry| entry.unwrap().value);
            prop_assert!(found.into_iter().all(|(found, _)| found == values));
            let expected = gone.iter().map(|key| (key.clone(), None));
            let expected: Entries = expected.chain(entries.into_iter().map(|(key, value)| (key, Some(value)))).collect();
            prop_assert_eq!(read(&bytes).unwrap(), expected);
        }

        #[test]
        fn a_sorted_block_comes_apart_as_it_was_put_together(
            entries in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..200), prop::option::of(((any::<u32>(), any::<bool>()), prop::collection::vec(any::<u8>(), 0..200))), 0..8),
        ) {
            let mut bytes = Vec::new();
            begin_sorted(&mut bytes);
            let entries = entries.iter().map(|(key, value)| BlockEntry { key, value: value.as_ref().map(|((version, are_timed), value)| (Values { version: *version, are_timed: *are_timed }, &value[..])) });
            let entries: Vec<_> = entries.collect();
            entries.iter().for_each(|entry| push_sorted(&mut bytes, *entry));
            prop_assert_eq!(bytes.len(), 1 + entries.iter().map(|entry| sorted_length(*entry)).sum::<usize>());
            prop_assert_eq!(Block::parse(&bytes).unwrap().collect::<Result<Vec<_>, _>>().unwrap(), entries);
        }

        #[test]
        fn a_block_cut_short_is_an_error_or_has_fewer_entries(cut in 1usize..200) {
            let mut bytes = Vec::new();
            begin(&mut bytes, Values { version: 300, are_timed: false }, &["gone".to_string()]);
            for i in 0..10u8 {
                push(&mut bytes, &format!("key {i}"), &[i; 20]).unwrap();
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let entries = read(&bytes);
            prop_assert!(entries.is_err() || entries.unwrap().len() < 11);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes);
            let _ = read(&[&[FROZEN], &bytes[..]].concat());
        }
    }

    #[test]
    fn an_older_block_is_refused() {
        assert_eq!(
            Block::parse(&[1, 0]).unwrap_err().to_string(),
            "the block has format 1, and this build reads formats 2 to 4"
        );
    }
}
