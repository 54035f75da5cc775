//! Names of jobs, operators and files as parts of a file name.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_128;

/// A longer part is cut: three of them and some numbers must fit into the 255 bytes that file systems allow.
const MAX_LENGTH: usize = 64;

/// `name` as one part of a file name whose parts are joined by single dashes. Two names never give the same part, and the joined
/// name can be taken apart in one way only.
///
/// Letters, digits, dots and underscores stay. A dash inside is doubled, so that a single one only ever joins. Any other byte
/// becomes `~` and two hex digits; so do a dash at either end and a leading dot. What is too long ends in `~~` and a hash of the whole.
///
/// Case is kept: on a file system that ignores it, two names that differ in nothing else do meet.
pub(super) fn part(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    let last = name.len().saturating_sub(1);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => part.push(byte.into()),
            b'.' if at > 0 => part.push('.'),
            b'-' if at > 0 && at < last => part.push_str("--"),
            _ => push_escaped(&mut part, byte),
        }
    }
    if part.is_empty() {
        // Nothing between two dashes would read as one dash inside a name.
        part.push('~');
    }
    if part.len() > MAX_LENGTH {
        part.truncate(MAX_LENGTH - 34);
        part.push_str("~~");
        // Writing to a string cannot fail.
        let _ = write!(part, "{:032x}", xxh3_128(name.as_bytes()));
    }
    part
}

fn push_escaped(part: &mut String, byte: u8) {
    let _ = write!(part, "~{byte:02x}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::part;

    #[test]
    fn ordinary_names_stay_readable() {
        assert_eq!(part("counts"), "counts");
        assert_eq!(part("word-count"), "word--count");
        assert_eq!(part("a/b c"), "a~2fb~20c");
        assert_eq!(part(".."), "~2e.");
    }

    #[test]
    fn neighbours_joined_by_a_dash_do_not_collide() {
        let names =
            ["", "a", "-", "a-", "-a", "a-a", "a--a", "0", "a-0", "a-0-1", "~", "~2d", "ä", "a b", "a/b", "A", "."];
        let mut seen = HashMap::new();
        for first in names {
            for second in names {
                let joined = format!("{}-{}", part(first), part(second));
                if let Some(other) = seen.insert(joined.clone(), (first, second)) {
                    panic!("{joined} is {other:?} and {:?}", (first, second));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_name_becomes_a_short_plain_part(name in ".{0,300}") {
            let part = part(&name);
            prop_assert!(!part.is_empty() && part.len() <= 64);
            prop_assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte)));
        }

        #[test]
        fn two_names_never_share_a_part(one in "[a~.-]{0,40}|.{0,80}", other in "[a~.-]{0,40}|.{0,80}") {
            prop_assume!(one != other);
            prop_assert_ne!(part(&one), part(&other));
        }
    }
}
