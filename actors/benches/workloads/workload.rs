//! What is computed: the records and their answer. All arithmetic wraps.

/// The workloads.
#[derive(Clone, Copy, Debug)]
pub enum Workload {
    /// W1: count per key, a row for every record.
    KeyedCount {
        /// Keys.
        keys: u64,
        /// After each key was seen once, only this many.
        hot: Option<u64>,
    },
    /// W2: a map, a filter, an exchange.
    MapFilter,
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[inline]
pub fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// W1's key of record `i`.
#[inline]
pub fn key(i: u64, keys: u64, hot: Option<u64>) -> u64 {
    match hot {
        None => splitmix64(i) % keys,
        Some(_) if i < keys => i,
        Some(hot) => splitmix64(i) % hot,
    }
}

/// W1's share of a row in the checksum.
#[inline]
pub fn key_checksum(key: u64, count: u64) -> u64 {
    (key + 1).wrapping_mul(count)
}

/// W2's map.
#[inline]
pub fn mapped(v: u64) -> u64 {
    v.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(1)
}

/// W2's filter.
#[inline]
pub fn is_kept(m: u64) -> bool {
    m & 7 != 0
}
