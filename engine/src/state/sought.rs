//! What an entry is looked for by.

use crate::key::Key;

/// A key, or something that stands for one without owning its parts.
pub trait Sought<K> {
    /// The key's hash.
    fn full_hash(&self) -> u64;
    /// What decides the key's group.
    fn hash_of_group(&self) -> u64;
    /// Whether `key` is the one.
    fn is(&self, key: &K) -> bool;
}

impl<K: Key> Sought<K> for K {
    #[inline]
    fn full_hash(&self) -> u64 {
        Key::hash64(self)
    }

    #[inline]
    fn hash_of_group(&self) -> u64 {
        Key::group_hash(self)
    }

    #[inline]
    fn is(&self, key: &K) -> bool {
        self == key
    }
}
