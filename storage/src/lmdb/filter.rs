//! Says of most keys that are not in a run that they are not.
//!
//! A blocked Bloom filter: all bits of a key are in one cache line, so that asking costs one miss (Putze, Sanders, Singler: *Cache-, hash-
//! and space-efficient Bloom filters*, 2007). With 8 bits a key and 5 of them set, 3 of 100 absent keys pass.

use xxhash_rust::xxh3::xxh3_64;

const KEYS_PER_LINE: u32 = 64;
const BITS_PER_KEY: usize = 5;

/// A cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([u64; 8]);

/// See the module.
#[derive(Debug)]
pub(super) struct Filter {
    lines: Box<[Line]>,
}

/// A key's hash, the same for all filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash(u64);

impl Hash {
    /// Of a key's encoding.
    pub(super) fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }
}

impl Filter {
    /// An empty one with room for `keys`.
    pub(super) fn with_capacity(keys: u32) -> Self {
        Self { lines: vec![Line::default(); keys.div_ceil(KEYS_PER_LINE).max(1) as usize].into() }
    }

    pub(super) fn add(&mut self, hash: Hash) {
        let line = &mut self.lines[line(hash, self.lines.len())];
        bits(hash).for_each(|(word, bit)| line.0[word] |= bit);
    }

    /// Never denies a key that was added.
    #[inline]
    pub(super) fn admits(&self, hash: Hash) -> bool {
        let line = &self.lines[line(hash, self.lines.len())];
        bits(hash).all(|(word, bit)| line.0[word] & bit != 0)
    }
}

/// From the upper half: the lower one has decided the key group already, where keys are bytes.
#[inline]
fn line(hash: Hash, lines: usize) -> usize {
    (((hash.0 >> 32) * lines as u64) >> 32) as usize
}

/// Word and bit, from the upper end of another hash.
#[inline]
fn bits(hash: Hash) -> impl Iterator<Item = (usize, u64)> {
    let mut mixed = (hash.0 ^ (hash.0 >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..BITS_PER_KEY).map(move |_| {
        let place = mixed >> 55;
        mixed <<= 9;
        ((place >> 6) as usize, 1 << (place & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn false_positives(groups: u64) -> f64 {
        let in_group = |key: &u64| ((xxh3_64(&key.to_be_bytes()) & 0xffff_ffff) * groups) >> 32 == 0;
        let keys: Vec<u64> = (0..u64::MAX).filter(in_group).take(40_000).collect();
        let (added, absent) = keys.split_at(20_000);
        let mut filter = Filter::with_capacity(20_000);
        added.iter().for_each(|key| filter.add(Hash::of(&key.to_be_bytes())));
        assert!(added.iter().all(|key| filter.admits(Hash::of(&key.to_be_bytes()))));
        let passed = absent.iter().filter(|key| filter.admits(Hash::of(&key.to_be_bytes())));
        passed.count() as f64 / absent.len() as f64
    }

    #[test]
    fn most_absent_keys_are_denied_also_within_one_group() {
        for groups in [1, 128] {
            let passed = false_positives(groups);
            assert!(passed < 0.04, "{passed} of absent keys pass, of {groups} groups");
        }
    }

    #[test]
    fn an_empty_filter_denies() {
        assert!(!Filter::with_capacity(0).admits(Hash::of(b"key")));
    }
}
