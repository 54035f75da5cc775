//! The bytes of a block of keyed state.
//!
//! ```text
//! version u8 = 1 | number of tombstones varint | tombstones: key* | entries: (key value)*
//! ```
//! Keys in their own self-delimiting encoding, values by postcard. A key may stand among the tombstones and again among the entries: it
//! went and came back. The checksum is the store's.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use crate::{error::BoxError, key::Key};

const VERSION: u8 = 1;

/// Bytes that are copied one by one.
const SHORT: usize = 10;

/// Lets postcard append to a vector that is in use.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Most values are a few bytes: a call of memcpy would cost more than copying them.
        if bytes.len() <= SHORT {
            bytes.iter().for_each(|byte| self.0.push(*byte));
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Starts a block with the keys that went.
pub(crate) fn begin<K: Key>(out: &mut Vec<u8>, tombstones: &[K]) -> Result<(), BoxError> {
    out.push(VERSION);
    append(&(tombstones.len() as u64), out)?;
    tombstones.iter().for_each(|key| key.encode(out));
    Ok(())
}

/// Adds an entry.
#[inline]
pub(crate) fn push<K: Key, S: Serialize>(out: &mut Vec<u8>, key: &K, value: &S) -> Result<(), BoxError> {
    out.reserve(4 * SHORT);
    key.encode(out);
    append(value, out)
}

#[inline]
fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
    value.serialize(&mut postcard::Serializer { output: Append(out) })?;
    Ok(())
}

/// Reads a block: `visit` gets each tombstone with `None`, then each entry.
pub(crate) fn read<K: Key, S: DeserializeOwned>(
    bytes: &[u8],
    mut visit: impl FnMut(K, Option<S>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let Some((version, rest)) = bytes.split_first() else { return Ok(()) };
    if *version != VERSION {
        return Err(format!("the block has format version {version}, and this build reads version {VERSION}").into());
    }
    let (tombstones, mut rest): (u64, &[u8]) = postcard::take_from_bytes(rest)?;
    for _ in 0..tombstones {
        visit(K::decode(&mut rest).ok_or("a removed key cannot be read as the key's type")?, None)?;
    }
    while !rest.is_empty() {
        let key = K::decode(&mut rest).ok_or("a key cannot be read as the key's type")?;
        let (value, after) = postcard::take_from_bytes(rest)
            .map_err(|error| format!("a value cannot be read as the state's type: {error}"))?;
        rest = after;
        visit(key, Some(value))?;
    }
    Ok(())
}
