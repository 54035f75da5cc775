//! What the bytes of a key are: it is stored with the state, so that keys of another type are noticed, and keys can be shown without their type.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::Key;

/// How a [`Key`] is encoded.
///
/// ```
/// use cofferdam_engine::{Key, KeyFormat};
///
/// let format = <(String, u32)>::format();
/// assert_eq!(format.to_string(), "(string, u32)");
/// let mut bytes = Vec::new();
/// ("a".to_string(), 7u32).encode(&mut bytes);
/// assert_eq!(format.to_json(&mut &bytes[..]), Some(serde_json::json!(["a", 7])));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyFormat {
    /// An integer without a sign, of so many bytes.
    Unsigned(u8),
    /// An integer with a sign, of so many bytes.
    Signed(u8),
    /// `bool`.
    Bool,
    /// `char`.
    Char,
    /// `String`.
    String,
    /// `Vec<u8>`.
    Bytes,
    /// One key behind the other; `()` is none.
    Tuple(Vec<KeyFormat>),
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(bytes) => write!(f, "u{}", 8 * u32::from(*bytes)),
            Self::Signed(bytes) => write!(f, "i{}", 8 * u32::from(*bytes)),
            Self::Bool => f.write_str("bool"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Tuple(parts) => {
                let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                write!(f, "({})", parts.join(", "))
            }
        }
    }
}

impl KeyFormat {
    /// Takes one key off the front of `input`, as JSON: numbers of more than 64 bits as strings, bytes as an array of numbers. `None` if it does not start
    /// with one.
    pub fn to_json(&self, input: &mut &[u8]) -> Option<Value> {
        Some(match self {
            Self::Unsigned(1) => u8::decode(input)?.into(),
            Self::Unsigned(2) => u16::decode(input)?.into(),
            Self::Unsigned(4) => u32::decode(input)?.into(),
            Self::Unsigned(8) => u64::decode(input)?.into(),
            Self::Unsigned(16) => u128::decode(input)?.to_string().into(),
            Self::Signed(1) => i8::decode(input)?.into(),
            Self::Signed(2) => i16::decode(input)?.into(),
            Self::Signed(4) => i32::decode(input)?.into(),
            Self::Signed(8) => i64::decode(input)?.into(),
            Self::Signed(16) => i128::decode(input)?.to_string().into(),
            Self::Unsigned(_) | Self::Signed(_) => return None,
            Self::Bool => bool::decode(input)?.into(),
            Self::Char => char::decode(input)?.to_string().into(),
            Self::String => String::decode(input)?.into(),
            Self::Bytes => Vec::<u8>::decode(input)?.into(),
            Self::Tuple(parts) => parts.iter().map(|part| part.to_json(input)).collect::<Option<Vec<_>>>()?.into(),
        })
    }

    /// The bytes of the key that `json` says, as [`to_json`](Self::to_json) does. `None` if it is none of this format.
    pub fn from_json(&self, json: &Value) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.append_json(json, &mut out)?;
        Some(out)
    }

    fn append_json(&self, json: &Value, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Unsigned(1) => u8::try_from(json.as_u64()?).ok()?.encode(out),
            Self::Unsigned(2) => u16::try_from(json.as_u64()?).ok()?.encode(out),
            Self::Unsigned(4) => u32::try_from(json.as_u64()?).ok()?.encode(out),
            Self::Unsigned(8) => json.as_u64()?.encode(out),
            Self::Unsigned(16) => json.as_str()?.parse::<u128>().ok()?.encode(out),
            Self::Signed(1) => i8::try_from(json.as_i64()?).ok()?.encode(out),
            Self::Signed(2) => i16::try_from(json.as_i64()?).ok()?.encode(out),
            Self::Signed(4) => i32::try_from(json.as_i64()?).ok()?.encode(out),
            Self::Signed(8) => json.as_i64()?.encode(out),
            Self::Signed(16) => json.as_str()?.parse::<i128>().ok()?.encode(out),
            Self::Unsigned(_) | Self::Signed(_) => return None,
            Self::Bool => json.as_bool()?.encode(out),
            Self::Char => json.as_str()?.parse::<char>().ok()?.encode(out),
            Self::String => json.as_str()?.to_string().encode(out),
            Self::Bytes => {
                let bytes = json.as_array()?.iter().map(|byte| u8::try_from(byte.as_u64()?).ok());
                bytes.collect::<Option<Vec<u8>>>()?.encode(out);
            }
            Self::Tuple(parts) => {
                let values = json.as_array().filter(|values| values.len() == parts.len())?;
                parts.iter().zip(values).try_for_each(|(part, value)| part.append_json(value, out))?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_shown_as_json_are_the_same_keys(key in any::<((u8, u16, u32, u64), (i8, i16, i32, i64), (bool, char, String, Vec<u8>), (u128, i128, ()))>()) {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            let format = KeyFormat::Tuple(vec![
                <(u8, u16, u32, u64)>::format(),
                <(i8, i16, i32, i64)>::format(),
                <(bool, char, String, Vec<u8>)>::format(),
                <(u128, i128, ())>::format(),
            ]);
            let json = format.to_json(&mut &bytes[..]).unwrap();
            prop_assert_eq!(format.from_json(&json), Some(bytes));
        }
    }
}
