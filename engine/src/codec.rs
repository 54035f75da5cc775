//! How what users keep is encoded: MessagePack, with the names of fields.
//!
//! The bytes describe themselves: a value can be read as a type with other fields, and shown without its type. See
//! `docs/decisions/0012`. What only the engine reads has encodings of its own.

use rmp_serde::{Deserializer, Serializer};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::BoxError;

/// Appends `value`. Fails only if its `Serialize` does.
#[inline(always)]
pub(crate) fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
    value.serialize(&mut Serializer::new(out).with_struct_map())?;
    Ok(())
}

/// The value's bytes. Fails only if its `Serialize` does.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, BoxError> {
    let mut out = Vec::new();
    append(value, &mut out)?;
    Ok(out)
}

/// The value that `bytes` are, all of them. An error names the field that cannot be read.
#[inline]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    let mut rest = bytes;
    match T::deserialize(&mut Deserializer::new(&mut rest)) {
        Ok(value) if rest.is_empty() => Ok(value),
        Ok(_) => Err(format!("{} bytes are left over behind the value", rest.len()).into()),
        Err(_) => Err(explain::<T>(bytes)),
    }
}

const PAIR: u8 = 0x92;

/// A pair of a value and one that is encoded already.
pub(crate) fn join_pair<T: Serialize>(first: &T, second: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut bytes = vec![PAIR];
    append(first, &mut bytes)?;
    bytes.extend_from_slice(second);
    Ok(bytes)
}

/// Takes the first value of a pair off the front; what is left is the second.
pub(crate) fn split_pair<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), BoxError> {
    let mut rest = bytes.strip_prefix(&[PAIR]).ok_or("a value should be a pair, and is none")?;
    let first = T::deserialize(&mut Deserializer::new(&mut rest))?;
    Ok((first, rest))
}

/// Decodes once more, slowly, to learn where it fails. JSON's errors say better what was found, and are taken where they are of the same place: some types are read from JSON in another form.
#[cold]
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> BoxError {
    let mut rest = bytes;
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut Deserializer::new(&mut rest)) else {
        return "it cannot be read twice in the same way".into();
    };
    let as_json = decode_json(bytes).and_then(|json| serde_path_to_error::deserialize::<_, T>(json).err());
    match as_json.filter(|as_json| as_json.path().to_string() == error.path().to_string()) {
        Some(as_json) => at(as_json.path(), as_json.inner()),
        None => at(error.path(), error.inner()),
    }
}

fn at(path: &serde_path_to_error::Path, cause: &dyn std::error::Error) -> BoxError {
    match path.to_string().as_str() {
        "." => cause.to_string().into(),
        path => format!("field '{path}': {cause}").into(),
    }
}

/// The value as JSON, without its type; `None` if it has none, as for a map whose keys are no strings.
pub fn decode_json(bytes: &[u8]) -> Option<serde_json::Value> {
    let mut rest = bytes;
    let value = serde_json::Value::deserialize(&mut Deserializer::new(&mut rest)).ok();
    value.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Debug, net::IpAddr};

    use super::*;

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        assert_eq!(decode::<T>(&encode(&value).unwrap()).unwrap(), value);
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Point {
        x: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        #[serde(flatten)]
        rest: BTreeMap<String, i64>,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
        Point { x: u8 },
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Shape {
        Nothing,
        Circle(f64),
        Square { side: u32 },
        Pair(u8, i8),
    }

    #[test]
    fn values_come_back_whatever_serde_attributes_their_types_have() {
        comes_back((u64::MAX, i64::MIN, -1i8, 1.5f32, f64::MAX, 'ß', true, ()));
        comes_back((u128::MAX, i128::MIN));
        comes_back(vec![Some("a".to_string()), None]);
        comes_back(BTreeMap::from([((1u8, "x".to_string()), vec![0u8, 255])]));
        comes_back(IpAddr::from([127, 0, 0, 1]));
        comes_back(vec![Shape::Nothing, Shape::Circle(0.5), Shape::Square { side: 3 }, Shape::Pair(1, -1)]);
        comes_back(vec![Either::Number(7), Either::Text("seven".into()), Either::Point { x: 7 }]);
        comes_back(Point { x: 1, label: None, rest: BTreeMap::from([("y".into(), -2)]) });
    }

    #[derive(Serialize, Deserialize)]
    struct Before {
        count: u32,
        name: String,
        gone: Vec<u8>,
    }

    #[test]
    fn fields_may_be_added_removed_renamed_and_widened() {
        #[derive(Deserialize, PartialEq, Debug)]
        struct After {
            count: u64,
            #[serde(alias = "name")]
            title: String,
            #[serde(default)]
            new: i32,
        }
        let before = encode(&Before { count: 7, name: "a".into(), gone: vec![1, 2] }).unwrap();
        assert_eq!(decode::<After>(&before).unwrap(), After { count: 7, title: "a".into(), new: 0 });
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_the_name_of_its_field() {
        #[derive(Deserialize, Debug)]
        struct Other {
            #[expect(dead_code)]
            name: u8,
        }
        #[derive(Deserialize, Debug)]
        struct More {
            #[expect(dead_code)]
            missing: u8,
        }
        #[derive(Deserialize, Debug)]
        struct Narrow {
            #[expect(dead_code)]
            count: u8,
        }
        let before = encode(&Before { count: 700, name: "a".into(), gone: vec![] }).unwrap();
        assert_eq!(
            decode::<Other>(&before).unwrap_err().to_string(),
            "field 'name': invalid type: string \"a\", expected u8"
        );
        assert_eq!(decode::<More>(&before).unwrap_err().to_string(), "missing field `missing`");
        assert_eq!(
            decode::<Narrow>(&before).unwrap_err().to_string(),
            "field 'count': invalid value: integer `700`, expected u8"
        );
    }

    #[test]
    fn the_field_that_is_named_is_the_one_that_cannot_be_read_whatever_the_others_are_in_json() {
        #[derive(Serialize)]
        struct Host {
            address: IpAddr,
            count: u64,
        }
        #[derive(Deserialize, Debug)]
        struct Narrow {
            #[expect(dead_code)]
            address: IpAddr,
            #[expect(dead_code)]
            count: u8,
        }
        let bytes = encode(&Host { address: IpAddr::from([10, 0, 0, 1]), count: 700 }).unwrap();
        let error = decode::<Narrow>(&bytes).unwrap_err().to_string();
        assert!(error.starts_with("field 'count': "), "{error}");
    }

    #[test]
    fn bytes_too_few_or_too_many_are_refused() {
        let bytes = encode(&(1000u32, "abc")).unwrap();
        assert!(decode::<(u32, String)>(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode::<u32>(&encode(&[1u32][..]).unwrap()).is_err());
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode::<(u32, String)>(&longer).unwrap_err().to_string(), "1 bytes are left over behind the value");
    }
}
