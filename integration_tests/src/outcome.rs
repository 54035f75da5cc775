//! What a run came to, and in what it differs from a run without faults.

use std::{collections::BTreeMap, fmt};

use crate::io::Row;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of each output, in the order in which they were asked for: everything published, in order.
    pub outputs: Vec<Vec<Row>>,
    /// The keyed states asked for, entry by entry, encoded.
    pub(crate) states: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The error that the job ended with.
    pub error: Option<String>,
}

/// A promise that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Rows that a run without faults publishes are missing.
    Lost {
        /// Which output.
        output: usize,
        /// The rows.
        rows: Vec<String>,
    },
    /// Rows were published that a run without faults does not publish, or not that often.
    Extra {
        /// Which output.
        output: usize,
        /// The rows.
        rows: Vec<String>,
    },
    /// Rows of one key came in another order.
    Reordered {
        /// Which output.
        output: usize,
        /// The first row that is not in its place.
        row: String,
    },
    /// A keyed state is another in the end.
    State {
        /// Its step.
        step: String,
        /// How many entries differ.
        entries: usize,
    },
    /// The job ended with an error.
    Ended(String),
    /// The engine broke a promise of its own: a checkpoint announced before it is durable, no progress, and the like.
    Mechanism(String),
    /// A fault of a schedule that was asked for never struck: the run proves nothing.
    NeverStruck(String),
    /// A check of the user's.
    Check {
        /// Its name.
        name: String,
        /// What it said.
        message: String,
    },
}

impl Broken {
    /// Whether the promise is one that "at least once" makes too.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Extra { .. } | Self::Reordered { .. } | Self::State { .. })
    }

    /// Whether it is a difference to a run without faults.
    pub(crate) fn is_difference(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Extra { .. } | Self::Reordered { .. } | Self::State { .. })
    }

    /// Whether two runs broke the same promise.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Says some of the rows, and how many there are.
fn some(rows: &[String]) -> String {
    let first: Vec<_> = rows.iter().take(3).map(String::as_str).collect();
    let more = if rows.len() > first.len() { ", ..." } else { "" };
    format!("{} ({}{more})", rows.len(), first.join(", "))
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { output, rows } => write!(f, "output {output} lacks rows: {}", some(rows)),
            Self::Extra { output, rows } => {
                write!(f, "output {output} has rows too many, or that no run without faults publishes: {}", some(rows))
            }
            Self::Reordered { output, row } => write!(f, "output {output} has row {row} out of the order of its key"),
            Self::State { step, entries } => write!(f, "the state of '{step}' differs in {entries} entries"),
            Self::Ended(error) => write!(f, "the job ended: {error}"),
            Self::Mechanism(message) => {
                write!(f, "the job did not go on, or the engine broke a promise of its own: {message}")
            }
            Self::NeverStruck(fault) => {
                write!(f, "{fault} never struck: the point is not reached that often, and the run proves nothing")
            }
            Self::Check { name, message } => write!(f, "{name}: {message}"),
        }
    }
}

/// The rows of `left` that `right` has not, each as often as it is missing. Without regard to order.
fn missing(left: &[Row], right: &[Row]) -> Vec<String> {
    let mut counts: BTreeMap<&[u8], i64> = BTreeMap::new();
    right.iter().for_each(|row| *counts.entry(&row.bytes).or_default() += 1);
    let mut missing = Vec::new();
    for row in left {
        let count = counts.entry(&row.bytes).or_default();
        *count -= 1;
        if *count < 0 {
            missing.push(row.text.clone());
        }
    }
    missing
}

/// Of each key the rows in their order.
fn by_key(rows: &[Row]) -> BTreeMap<&[u8], Vec<&Row>> {
    let mut by_key: BTreeMap<&[u8], Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(key) = &row.key {
            by_key.entry(key).or_default().push(row);
        }
    }
    by_key
}

/// How an output differs from what is expected of it.
pub(crate) fn compare_output(output: usize, expected: &[Row], seen: &[Row]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let (lost, extra) = (missing(expected, seen), missing(seen, expected));
    if !lost.is_empty() {
        broken.push(Broken::Lost { output, rows: lost });
    }
    if !extra.is_empty() {
        broken.push(Broken::Extra { output, rows: extra });
    }
    if broken.is_empty() {
        let (expected, seen) = (by_key(expected), by_key(seen));
        let first = expected.iter().find_map(|(key, rows)| {
            let other = seen.get(key)?;
            rows.iter().zip(other).find(|(a, b)| a.bytes != b.bytes).map(|(_, row)| row.text.clone())
        });
        broken.extend(first.map(|row| Broken::Reordered { output, row }));
    }
    broken
}

/// How many entries differ.
pub(crate) fn differing(expected: &BTreeMap<Vec<u8>, Vec<u8>>, seen: &BTreeMap<Vec<u8>, Vec<u8>>) -> usize {
    let changed = expected.iter().filter(|(key, value)| seen.get(*key) != Some(value)).count();
    changed + seen.keys().filter(|key| !expected.contains_key(*key)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: u8, value: u8) -> Row {
        Row { key: Some(vec![key]), bytes: vec![key, value], text: format!("{key}:{value}") }
    }

    #[test]
    fn what_is_missing_what_is_too_many_and_what_is_out_of_order_is_told_apart() {
        let expected = [row(1, 1), row(1, 2), row(2, 1)];
        let compare = |seen: &[Row]| compare_output(0, &expected, seen);
        assert_eq!(compare(&[row(2, 1), row(1, 1), row(1, 2)]), [], "keys have no order among each other");
        assert_eq!(compare(&[row(1, 1), row(2, 1)]), [Broken::Lost { output: 0, rows: vec!["1:2".into()] }]);
        let twice = [row(1, 1), row(1, 2), row(1, 2), row(2, 1)];
        assert_eq!(compare(&twice), [Broken::Extra { output: 0, rows: vec!["1:2".into()] }]);
        let swapped = [row(1, 2), row(1, 1), row(2, 1)];
        assert_eq!(compare(&swapped), [Broken::Reordered { output: 0, row: "1:2".into() }]);
    }
}
