//! The checksum of stored bytes, over their place and themselves, so that bytes at another place are damage too.

use xxhash_rust::xxh3::Xxh3Default;

/// Bytes that a checksum takes.
const CHECKSUM: usize = 8;

/// The checksum of `bytes` in object `name`.
pub(super) fn checksum(name: &str, bytes: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    // The length first: no two places run into the same bytes.
    hash.update(&[name.len() as u8]);
    hash.update(name.as_bytes());
    hash.update(bytes);
    hash.digest()
}

/// `bytes` with their checksum behind them, and the checksum.
pub(super) fn seal(name: &str, mut bytes: Vec<u8>) -> (Vec<u8>, u64) {
    let checksum = checksum(name, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    (bytes, checksum)
}

/// The bytes of a sealed object and their checksum; `None` if they do not match.
pub(super) fn unseal<'a>(name: &str, sealed: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (bytes, stored) = sealed.split_last_chunk::<CHECKSUM>()?;
    let stored = u64::from_le_bytes(*stored);
    (checksum(name, bytes) == stored).then_some((bytes, stored))
}
