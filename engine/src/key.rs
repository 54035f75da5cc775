//! What a record can be keyed by.

use std::hash::Hash;

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

use crate::{key_format::KeyFormat, state::block};

/// A key: it says which records belong together, where their state lives and under which bytes it is stored.
///
/// Implemented for the integers from `u8` to `u128` and from `i8` to `i128`, `bool`, `char`, `String`, `Vec<u8>`, `()` and tuples of up to four keys. Not for `usize` and `isize`, of which
/// the encoding would depend on the platform: take `u64` and `i64`. A newtype takes one line:
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

    /// Whether it is that of an entry, of which only a part decides the group: an [`EntryKey`](crate::state::EntryKey).
    #[doc(hidden)]
    const IS_ENTRY: bool = false;

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

impl Key for i128 {
    fn hash64(&self) -> u64 {
        (*self as u128).hash64()
    }
    fn encode(&self, out: &mut Vec<u8>) {
        (*self as u128 ^ (1 << 127)).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Option<Self> {
        u128::decode(input).map(|x| (x ^ (1 << 127)) as i128)
    }
    fn format() -> KeyFormat {
        KeyFormat::Signed(16)
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
        fn so_do_those_of_every_other_type(
            a in any::<((u16, u32, u64, u128), (i8, i16, i32, i128), bool, char)>(),
            b in any::<((u16, u32, u64, u128), (i8, i16, i32, i128), bool, char)>(),
            rest in any::<Vec<u8>>(),
        ) {
            keeps_contract(a.0, b.0, &rest);
            keeps_contract(a.1, b.1, &rest);
            keeps_contract(a.1.3, b.1.3, &rest);
            keeps_contract(a, b, &rest);
        }

        #[test]
        fn truncated_keys_are_refused(a in any::<(u32, String)>(), cut in 1usize..4) {
            let bytes = encoded(&a);
            let mut input = &bytes[..bytes.len() - cut];
            prop_assert!(<(u32, String)>::decode(&mut input).is_none());
        }
    }

    /// These values are on users' disks, and were computed by another program. A change here is a change of format.
    #[test]
    fn hashes_never_change() {
        let one = 0xb456_bcfc_34c2_cb2c;
        assert_eq!([1u8.hash64(), 1u16.hash64(), 1u32.hash64(), 1u64.hash64(), 1i8.hash64(), 1i64.hash64()], [one; 6]);
        assert_eq!(500u16.hash64(), 0xfbba_341e_3f64_75f4);
        let minus_one = 0x64b5_720b_4b82_5f21;
        assert_eq!(
            [(-1i8).hash64(), (-1i16).hash64(), (-1i32).hash64(), (-1i64).hash64(), u64::MAX.hash64()],
            [minus_one; 5]
        );
        assert_eq!((-2i16).hash64(), 0x3a85_9388_6c55_a02b);
        assert_eq!(i8::MIN.hash64(), 0xc1fa_0593_1b21_9234);
        assert_eq!((1u128 << 100 | 7).hash64(), 0x4498_c173_e856_6d1b);
        assert_eq!((-5i128).hash64(), 0xf5fb_cce8_2e2b_561e);
        assert_eq!((false.hash64(), true.hash64()), (0, one));
        assert_eq!('ß'.hash64(), 0x79e9_a5d6_e9fe_e523);
        assert_eq!("cofferdam".to_string().hash64(), 0xdf5c_9e2d_8aaf_cd36);
        assert_eq!(vec![0u8, 255, 1].hash64(), 0xcb45_9460_08c7_4ed8);
        assert_eq!(().hash64(), one);
        assert_eq!((7u32,).hash64(), 0x5226_c301_7721_6e75);
        assert_eq!((1u64, 2u64).hash64(), 0x460f_d6f0_0813_465c);
        assert_eq!((2u64, 1u64).hash64(), 0x9e4b_66eb_35fc_4b8f);
        assert_eq!((true, 500u16, -2i16).hash64(), 0x0393_5a12_c11b_874f);
        assert_eq!((String::new(), 1u8, 2i32, 3u64).hash64(), 0x4e89_9305_8166_f490);
    }

    /// As these are.
    #[test]
    fn encodings_never_change() {
        assert_eq!(encoded(&(7u8, 500u16, 0x0102_0304u32, 1u64)), [7, 1, 244, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(encoded(&(-1i8, -1i16, 0i32, i64::MIN)), [127, 127, 255, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded(&5u128), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(encoded(&-1i128), [127, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(encoded(&(false, true, 'ß')), [0, 1, 0, 0, 0, 0xdf]);
        assert_eq!(encoded(&("a\0b".to_string(), vec![0u8, 255])), [97, 0, 255, 98, 0, 0, 0, 255, 255, 0, 0]);
        assert!(encoded(&()).is_empty());
    }
}
