//! What a record can be keyed by.

use std::hash::Hash;

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

use crate::{key_format::KeyFormat, state::block};

/// A key: it says which records belong together, where their state lives and under which bytes it is stored.
///
/// Implemented for integers, `bool`, `char`, `String`, `Vec<u8>` and tuples of up to four keys. A newtype takes one line:
///
/// ```
/// use serde::{Serialize, Deserialize};
/// #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
/// struct UserId(u64);
/// cofferdam_engine::key_newtype!(UserId(u64));
/// ```
///
/// # Contract
/// | | |
/// |---|---|
/// | order | `a < b` exactly if the encoding of `a` sorts before that of `b` |
/// | self-delimiting | `decode(encode(a) + rest)` gives `a` and leaves `rest` |
/// | hash | depends on the value alone, is equal on every platform and never changes: it decides where stored state is found |
pub trait Key: Clone + Eq + Hash + Send + Serialize + DeserializeOwned + 'static {
    /// 64 well-mixed bits.
    fn hash64(&self) -> u64;
    /// Appends the order-preserving, self-delimiting encoding.
    fn encode(&self, out: &mut Vec<u8>);
    /// Takes one key off the front of `input`; `None` if it does not start with one.
    fn decode(input: &mut &[u8]) -> Option<Self>;
    /// What the encoding is.
    fn format() -> KeyFormat;

    /// What decides the key group, if not all of the key does.
    #[doc(hidden)]
    #[inline]
    fn group_hash(&self) -> u64 {
        self.hash64()
    }

    /// The encoding behind its length, as entries of a block begin. Where the length is known beforehand both are written in one piece.
    #[doc(hidden)]
    #[inline(always)]
    fn encode_with_length(&self, out: &mut Vec<u8>) {
        block::push_with_length(out, |out| self.encode(out));
    }
}

/// The finaliser of MurmurHash3 (`fmix64`): a bijection in which every input bit reaches every output bit.
#[inline]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// The hash of several keys from that of those before and that of the next.
#[inline]
pub(crate) fn combine(hash: u64, next: u64) -> u64 {
    mix(hash.rotate_left(29) ^ next)
}

/// Takes `n` bytes off the front.
fn take<'a>(input: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(n)?;
    *input = rest;
    Some(head)
}

macro_rules! unsigned {
    ($($t:ty),*) => {$(
        impl Key for $t {
            #[inline]
            fn hash64(&self) -> u64 {
                mix(*self as u64)
            }
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Option<Self> {
                take(input, size_of::<$t>())?.try_into().ok().map(<$t>::from_be_bytes)
            }
            fn format() -> KeyFormat {
                KeyFormat::Unsigned(size_of::<$t>() as u8)
            }
            #[inline(always)]
            fn encode_with_length(&self, out: &mut Vec<u8>) {
                let mut bytes = [size_of::<$t>() as u8; 1 + size_of::<$t>()];
                bytes[1..].copy_from_slice(&self.to_be_bytes());
                out.extend_from_slice(&bytes);
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64);

macro_rules! signed {
    ($($t:ty as $u:ty),*) => {$(
        impl Key for $t {
            #[inline]
            fn hash64(&self) -> u64 {
                mix(*self as u64)
            }
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                ((*self as $u) ^ (1 << (<$u>::BITS - 1))).encode(out);
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Option<Self> {
                <$u>::decode(input).map(|x| (x ^ (1 << (<$u>::BITS - 1))) as $t)
            }
            fn format() -> KeyFormat {
                KeyFormat::Signed(size_of::<$t>() as u8)
            }
            #[inline(always)]
            fn encode_with_length(&self, out: &mut Vec<u8>) {
                ((*self as $u) ^ (1 << (<$u>::BITS - 1))).encode_with_length(out);
            }
        }
    )*};
}
signed!(i8 as u8, i16 as u16, i32 as u32, i64 as u64);

impl Key for u128 {
    fn hash64(&self) -> u64 {
        mix(mix(*self as u64).rotate_left(29) ^ ((*self >> 64) as u64))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input, 16)?.try_into().ok().map(u128::from_be_bytes)
    }
    fn format() -> KeyFormat {
        KeyFormat::Unsigned(16)
    }
}

impl Key for bool {
    fn hash64(&self) -> u64 {
        mix(u64::from(*self))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut &[u8]) -> Option<Self> {
        match u8::decode(input)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    fn format() -> KeyFormat {
        KeyFormat::Bool
    }
}

impl Key for char {
    fn hash64(&self) -> u64 {
        mix(u64::from(u32::from(*self)))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Option<Self> {
        u32::decode(input).and_then(char::from_u32)
    }
    fn format() -> KeyFormat {
        KeyFormat::Char
    }
}

/// Bytes in order, self-delimiting: 0 becomes `00 ff`, and `00 00` ends the key.
fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for part in bytes.split_inclusive(|b| *b == 0) {
        out.extend_from_slice(part);
        if part.ends_with(&[0]) {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn decode_bytes(input: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let zero = input.iter().position(|b| *b == 0)?;
        bytes.extend_from_slice(take(input, zero)?);
        match take(input, 2)? {
            [0, 0] => return Some(bytes),
            [0, 0xff] => bytes.push(0),
            _ => return None,
        }
    }
}

impl Key for String {
    #[inline]
    fn hash64(&self) -> u64 {
        xxh3_64(self.as_bytes())
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
    fn decode(input: &mut &[u8]) -> Option<Self> {
        String::from_utf8(decode_bytes(input)?).ok()
    }
    fn format() -> KeyFormat {
        KeyFormat::String
    }
}

impl Key for Vec<u8> {
    #[inline]
    fn hash64(&self) -> u64 {
        xxh3_64(self)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }
    fn decode(input: &mut &[u8]) -> Option<Self> {
        decode_bytes(input)
    }
    fn format() -> KeyFormat {
        KeyFormat::Bytes
    }
}

impl Key for () {
    fn hash64(&self) -> u64 {
        mix(1)
    }
    fn encode(&self, _out: &mut Vec<u8>) {}
    fn decode(_input: &mut &[u8]) -> Option<Self> {
        Some(())
    }
    fn format() -> KeyFormat {
        KeyFormat::Tuple(Vec::new())
    }
}

macro_rules! tuple {
    ($($t:ident $i:tt),*) => {
        impl<$($t: Key),*> Key for ($($t,)*) {
            #[inline]
            fn hash64(&self) -> u64 {
                let mut hash = 0u64;
                $(hash = combine(hash, self.$i.hash64());)*
                hash
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$i.encode(out);)*
            }
            fn decode(input: &mut &[u8]) -> Option<Self> {
                Some(($($t::decode(input)?,)*))
            }
            fn format() -> KeyFormat {
                KeyFormat::Tuple(vec![$($t::format()),*])
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// Implements [`Key`] for a newtype by way of the key inside: `key_newtype!(UserId(u64));`.
#[macro_export]
macro_rules! key_newtype {
    ($name:ident($inner:ty)) => {
        impl $crate::Key for $name {
            #[inline]
            fn hash64(&self) -> u64 {
                $crate::Key::hash64(&self.0)
            }
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::Key::encode(&self.0, out);
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Option<Self> {
                <$inner as $crate::Key>::decode(input).map(Self)
            }
            fn format() -> $crate::KeyFormat {
                <$inner as $crate::Key>::format()
            }
            #[inline]
            fn encode_with_length(&self, out: &mut Vec<u8>) {
                $crate::Key::encode_with_length(&self.0, out);
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: &impl Key) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn keeps_contract<K: Key + Ord + std::fmt::Debug>(a: K, b: K, rest: &[u8]) {
        assert_eq!(a.cmp(&b), encoded(&a).cmp(&encoded(&b)), "{a:?} {b:?}");
        let mut bytes = encoded(&a);
        bytes.extend_from_slice(rest);
        let mut input = bytes.as_slice();
        assert_eq!(K::decode(&mut input).as_ref(), Some(&a));
        assert_eq!(input, rest);
        let mut with_length = Vec::new();
        a.encode_with_length(&mut with_length);
        let encoded = encoded(&a);
        assert!(with_length.ends_with(&encoded), "{with_length:?}");
        if encoded.len() < 0x80 {
            assert_eq!(with_length[..with_length.len() - encoded.len()], [encoded.len() as u8]);
        }
    }

    proptest! {
        #[test]
        fn encodings_keep_order_and_end_themselves(
            a in any::<(i64, Vec<u8>, u8, String)>(),
            b in any::<(i64, Vec<u8>, u8, String)>(),
            rest in any::<Vec<u8>>(),
        ) {
            keeps_contract(a.0, b.0, &rest);
            keeps_contract(a.2, b.2, &rest);
            keeps_contract(a.1.clone(), b.1.clone(), &rest);
            keeps_contract((a.1.clone(), a.2), (b.1.clone(), b.2), &rest);
            keeps_contract(a.3.clone(), b.3.clone(), &rest);
            keeps_contract(a, b, &rest);
        }

        #[test]
        fn truncated_keys_are_refused(a in any::<(u32, String)>(), cut in 1usize..4) {
            let bytes = encoded(&a);
            let mut input = &bytes[..bytes.len() - cut];
            prop_assert!(<(u32, String)>::decode(&mut input).is_none());
        }
    }

    /// These values are on users' disks. A change here is a change of format.
    #[test]
    fn hashes_never_change() {
        assert_eq!(1u64.hash64(), 0xb456_bcfc_34c2_cb2c);
        assert_eq!((-1i32).hash64(), 0x64b5_720b_4b82_5f21);
        assert_eq!("cofferdam".to_string().hash64(), xxh3_64(b"cofferdam"));
        assert_eq!((1u64, 2u64).hash64(), (1u64, 2u64).hash64());
        assert_ne!((1u64, 2u64).hash64(), (2u64, 1u64).hash64());
    }
}
