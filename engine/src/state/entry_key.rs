//! The key of an entry that belongs, with others, to one key: of a map or a list.

use serde::{Deserialize, Serialize};

use crate::{
    key::{Key, combine},
    key_format::KeyFormat,
    state::sought::Sought,
};

/// What an entry of a [map](crate::state::map) or a [list](crate::state::list) is stored under: for [`StoredCheckpoint`](crate::state::StoredCheckpoint) and
/// [`SavepointWriter`](crate::savepoint::SavepointWriter). The key alone decides the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryKey<K, U> {
    /// The stream's key.
    pub key: K,
    /// The map's key, or the element's position: positions grow, and do not always begin with 0 or follow each other.
    pub user: U,
}

#[inline]
fn hash<K: Key, U: Key>(key: &K, user: &U) -> u64 {
    combine(combine(0, key.hash64()), user.hash64())
}

impl<K: Key, U: Key> Key for EntryKey<K, U> {
    #[inline]
    fn hash64(&self) -> u64 {
        hash(&self.key, &self.user)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        self.user.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(Self { key: K::decode(input)?, user: U::decode(input)? })
    }

    fn format() -> KeyFormat {
        KeyFormat::Tuple(vec![K::format(), U::format()])
    }

    const IS_ENTRY: bool = true;

    #[inline]
    fn group_hash(&self) -> u64 {
        self.key.group_hash()
    }
}

/// An [`EntryKey`] whose parts are elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct EntryRef<'a, K, U> {
    pub(crate) key: &'a K,
    pub(crate) user: &'a U,
}

impl<K: Key, U: Key> Sought<EntryKey<K, U>> for EntryRef<'_, K, U> {
    #[inline]
    fn full_hash(&self) -> u64 {
        hash(self.key, self.user)
    }

    #[inline]
    fn hash_of_group(&self) -> u64 {
        self.key.group_hash()
    }

    #[inline]
    fn is(&self, key: &EntryKey<K, U>) -> bool {
        *self.user == key.user && *self.key == key.key
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_reference_finds_the_key_and_the_bytes_are_those_of_a_pair(key: String, user: (i64, Vec<u8>), other: (i64, Vec<u8>)) {
            let owned = EntryKey { key: key.clone(), user: user.clone() };
            let sought = EntryRef { key: &key, user: &user };
            prop_assert!(sought.is(&owned));
            prop_assert_eq!(sought.is(&EntryKey { key: key.clone(), user: other.clone() }), user == other);
            prop_assert_eq!((sought.full_hash(), sought.hash_of_group()), (owned.hash64(), key.hash64()));
            let pair = (key, user);
            prop_assert_eq!(owned.hash64(), pair.hash64());
            let (mut bytes, mut of_pair) = (Vec::new(), Vec::new());
            owned.encode(&mut bytes);
            pair.encode(&mut of_pair);
            prop_assert_eq!(&bytes, &of_pair);
            prop_assert_eq!(EntryKey::decode(&mut &bytes[..]), Some(owned));
        }
    }
}
