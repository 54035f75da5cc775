//! The checksum that ends every value.
//!
//! ```text
//! | bytes ... | XXH3-64 over database name, key, bytes |
//! ```

use xxhash_rust::xxh3::Xxh3Default;

/// Bytes that a checksum takes.
pub(super) const CHECKSUM: usize = 8;

/// The checksum of the value made of `pieces` at `key` of `database`.
pub(super) fn checksum(database: &str, key: &[u8], pieces: &[&[u8]]) -> u64 {
    let mut hash = Xxh3Default::new();
    // Lengths first: no two places run into the same bytes.
    hash.update(&[database.len() as u8, key.len() as u8]);
    hash.update(database.as_bytes());
    hash.update(key);
    for piece in pieces {
        hash.update(piece);
    }
    hash.digest()
}

/// `bytes` with their checksum behind them, and the checksum.
pub(super) fn seal(database: &str, key: &[u8], mut bytes: Vec<u8>) -> (Vec<u8>, u64) {
    let checksum = checksum(database, key, &[&bytes]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    (bytes, checksum)
}

/// The bytes of a stored value and their checksum; `None` if they do not match.
pub(super) fn unseal<'a>(database: &str, key: &[u8], value: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (bytes, stored) = value.split_last_chunk::<CHECKSUM>()?;
    let stored = u64::from_le_bytes(*stored);
    (checksum(database, key, &[bytes]) == stored).then_some((bytes, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_only_where_it_was_put() {
        let (value, _) = seal("block", b"key", b"bytes".to_vec());
        assert_eq!(unseal("block", b"key", &value).unwrap().0, b"bytes");
        assert!(unseal("block", b"kez", &value).is_none());
        assert!(unseal("job", b"key", &value).is_none());
        assert!(unseal("block", b"key", &value[1..]).is_none());
        assert!(unseal("block", b"key", &[]).is_none());
    }
}
