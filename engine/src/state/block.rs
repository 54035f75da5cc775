//! The bytes of a block of keyed state.
//!
//! ```text
//! format u8 | version of the state varint | number of tombstones varint | tombstones: (length key)* | entries: (length key length value)*
//! ```
//! Format 2, or 3 where each value has its time: then it is a pair of milliseconds since the Unix epoch and the value itself (see [`Ttl`](super::Ttl)).
//! Keys in their own order-preserving encoding, values as the [`codec`](crate::codec) has them, lengths as varints (LEB128): a block can be taken apart without
//! the types. A key may stand among the tombstones and again among the entries: it went and came back. The checksum is the store's. An empty block has no entries.

use serde::Serialize;

use crate::{codec, error::BoxError, key::Key};

const FORMAT: u8 = 2;

/// Each value has its time.
const FORMAT_TIMED: u8 = 3;

/// What the values of a block are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    /// Their version, as the state's user counts.
    pub(crate) version: u32,
    /// Each has its time.
    pub(crate) are_timed: bool,
}

/// Starts a block with the keys that went.
pub(crate) fn begin<K: Key>(out: &mut Vec<u8>, values: Values, tombstones: &[K]) {
    out.push(if values.are_timed { FORMAT_TIMED } else { FORMAT });
    push_varint(u64::from(values.version), out);
    push_varint(tombstones.len() as u64, out);
    tombstones.iter().for_each(|key| push_key(out, key));
}

/// Adds an entry.
#[inline]
pub(crate) fn push<K: Key, S: Serialize>(out: &mut Vec<u8>, key: &K, value: &S) -> Result<(), BoxError> {
    push_key(out, key);
    let start = out.len();
    out.push(0);
    codec::append(value, out)?;
    set_length(out, start);
    Ok(())
}

#[inline]
fn push_key<K: Key>(out: &mut Vec<u8>, key: &K) {
    let start = out.len();
    out.push(0);
    key.encode(out);
    set_length(out, start);
}

/// Writes the length of what follows the byte at `start` into that byte.
#[inline]
fn set_length(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start - 1;
    match length {
        0..0x80 => out[start] = length as u8,
        _ => set_long_length(out, start, length),
    }
}

/// Makes room for a length of more than one byte.
#[cold]
fn set_long_length(out: &mut Vec<u8>, start: usize, length: usize) {
    let mut bytes = Vec::new();
    push_varint(length as u64, &mut bytes);
    out.splice(start..=start, bytes);
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

/// A block, taken apart without its types: first the keys that went, each with `None`, then the entries. What comes after an error is not read.
///
/// ```
/// # use cofferdam_engine::state::Block;
/// let bytes = [2, 0, 1, 1, b'a', 1, b'b', 1, 7]; // 'a' went; 'b' is 7
/// let entries: Result<Vec<_>, _> = Block::parse(&bytes)?.collect();
/// assert_eq!(entries?, [(&b"a"[..], None), (&b"b"[..], Some(&[7][..]))]);
/// # Ok::<(), cofferdam_engine::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Block<'a> {
    values: Values,
    tombstones: u64,
    rest: &'a [u8],
}

impl<'a> Block<'a> {
    /// An error if the block is of another format, or its head is cut short.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BoxError> {
        let Some((format, mut rest)) = bytes.split_first() else {
            return Ok(Self { values: Values::default(), tombstones: 0, rest: &[] });
        };
        if ![FORMAT, FORMAT_TIMED].contains(format) {
            let reads = format!("this build reads formats {FORMAT} and {FORMAT_TIMED}");
            return Err(format!("the block has format {format}, and {reads}").into());
        }
        let are_timed = *format == FORMAT_TIMED;
        let head = (varint(&mut rest), varint(&mut rest));
        let (Some(version), Some(tombstones)) = head else { return Err("the block's head is cut short".into()) };
        let version = u32::try_from(version).map_err(|_| "the block's state version is no number of 32 bits")?;
        Ok(Self { values: Values { version, are_timed }, tombstones, rest })
    }

    /// The version that the state had when the block was written, as its user counts.
    pub fn version(&self) -> u32 {
        self.values.version
    }

    /// Whether each value is a pair of its time, in milliseconds since the Unix epoch, and the value itself.
    pub fn is_timed(&self) -> bool {
        self.values.are_timed
    }

    pub(crate) fn values(&self) -> Values {
        self.values
    }

    #[inline]
    fn take(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let key = delimited(&mut self.rest)?;
        if self.tombstones > 0 {
            self.tombstones -= 1;
            return Some((key, None));
        }
        Some((key, Some(delimited(&mut self.rest)?)))
    }
}

impl<'a> Iterator for Block<'a> {
    type Item = Result<(&'a [u8], Option<&'a [u8]>), BoxError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.tombstones == 0 {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            (self.rest, self.tombstones) = (&[], 0);
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
                let (bytes, value) = entry?;
                Ok((key(bytes)?, value.map(codec::decode).transpose()?))
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
            begin(&mut bytes, Values { version, are_timed }, &gone);
            for (key, value) in &entries {
                push(&mut bytes, key, value).unwrap();
            }
            prop_assert_eq!(Block::parse(&bytes).unwrap().values(), Values { version, are_timed });
            let expected = gone.iter().map(|key| (key.clone(), None));
            let expected: Entries = expected.chain(entries.into_iter().map(|(key, value)| (key, Some(value)))).collect();
            prop_assert_eq!(read(&bytes).unwrap(), expected);
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
            let _ = read(&[&[FORMAT], &bytes[..]].concat());
        }
    }

    #[test]
    fn an_older_block_is_refused() {
        assert_eq!(
            Block::parse(&[1, 0]).unwrap_err().to_string(),
            "the block has format 1, and this build reads formats 2 and 3"
        );
    }
}
