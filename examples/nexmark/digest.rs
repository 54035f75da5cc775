//! Rows in one number, to be compared with those of another engine.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::queries::Updates;

/// How many rows there are, and a sum that does not depend on their order: of the FNV-1a hashes (64 bits) of each row's JSON, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Rows; one that is there twice counts twice.
    pub rows: u64,
    /// Their sum.
    #[serde(with = "hexadecimal")]
    pub sum: u64,
}

impl Digest {
    /// Of JSON lines as a file sink writes them.
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        lines.into_iter().fold(Self::default(), |digest, line| Self {
            rows: digest.rows + 1,
            sum: digest.sum.wrapping_add(fnv_1a(line.as_bytes())),
        })
    }
}

/// Of a query's rows, those that no later one replaces.
///
/// # Errors
/// A line that is not JSON, or lacks a field that `updates` names.
pub fn final_rows<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    updates: Option<&Updates>,
) -> Result<Vec<&'a str>, String> {
    let Some(updates) = updates else { return Ok(lines.into_iter().collect()) };
    let mut newest: HashMap<String, (u64, &str)> = HashMap::new();
    for line in lines {
        let row: Value = serde_json::from_str(line).map_err(|error| format!("'{line}' is not JSON: {error}"))?;
        let field = |name: &str| row.get(name).ok_or_else(|| format!("'{line}' has no field '{name}'"));
        let key: Vec<&Value> = updates.key.iter().map(|name| field(name)).collect::<Result<_, _>>()?;
        let count = field(updates.count)?.as_u64().ok_or_else(|| format!("'{}' is no count: {line}", updates.count))?;
        let newest = newest.entry(format!("{key:?}")).or_insert((count, line));
        if count > newest.0 {
            *newest = (count, line);
        }
    }
    Ok(newest.into_values().map(|(_, line)| line).collect())
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A number of 64 bits as sixteen digits: not all readers of JSON keep so large a number as it is.
mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // From the test vectors of its authors.
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn order_does_not_count_and_number_does() {
        assert_eq!(Digest::of_lines(["a", "b"]), Digest::of_lines(["b", "a"]));
        assert_ne!(Digest::of_lines(["a", "a"]), Digest::of_lines(["a"]));
    }

    #[test]
    fn of_a_key_the_row_with_the_highest_count_is_final() {
        let updates = Updates { key: &["k"], count: "n" };
        let lines = [r#"{"k":1,"n":1}"#, r#"{"k":1,"n":10}"#, r#"{"k":2,"n":1}"#, r#"{"k":1,"n":9}"#];
        let mut rows = final_rows(lines, Some(&updates)).unwrap();
        rows.sort_unstable();
        assert_eq!(rows, [r#"{"k":1,"n":10}"#, r#"{"k":2,"n":1}"#]);
        assert_eq!(final_rows(lines, None).unwrap(), lines);
        assert!(final_rows([r#"{"k":1}"#], Some(&updates)).unwrap_err().contains("no field 'n'"));
    }
}
