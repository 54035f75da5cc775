//! Names of objects, below the place's own path.
//!
//! Numbers have twenty digits, so that names in order are numbers in order.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The folder of log entries.
pub(super) const LOG: &str = "log";
/// The folder of data objects.
pub(super) const DATA: &str = "data";

const DIGITS: usize = 20;

/// A data object: the generation of the owner that wrote it, and the checkpoint that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct DataId(pub(super) u64, pub(super) u64);

impl DataId {
    pub(super) fn generation(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DataId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DATA}/{:020}-{:020}", self.0, self.1)
    }
}

/// What an object is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Log(u64),
    Data(DataId),
    /// An entry that was being written, under the name that HDFS has it by until it is whole.
    PartOfLog(u64),
    /// The same of a data object.
    PartOfData(DataId),
}

/// The name of a log entry.
pub(super) fn log(sequence: u64) -> String {
    format!("{LOG}/{sequence:020}")
}

/// `None` if it is no name of ours.
pub(super) fn parse(name: &str) -> Option<Name> {
    let (folder, file) = name.split_once('/')?;
    let part_of = file.strip_prefix('.').and_then(|rest| rest.split_once(".tmp."));
    match (folder, part_of) {
        (LOG, None) => number(file).map(Name::Log),
        (LOG, Some((whole, _))) => number(whole).map(Name::PartOfLog),
        (DATA, None) => data(file).map(Name::Data),
        (DATA, Some((whole, _))) => data(whole).map(Name::PartOfData),
        _ => None,
    }
}

fn data(file: &str) -> Option<DataId> {
    let (generation, checkpoint) = file.split_once('-')?;
    Some(DataId(number(generation)?, number(checkpoint)?))
}

fn number(digits: &str) -> Option<u64> {
    (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        assert_eq!(parse(&log(7)), Some(Name::Log(7)));
        assert_eq!(parse(&log(u64::MAX)), Some(Name::Log(u64::MAX)));
        let data = DataId(3, 41);
        assert_eq!(parse(&data.to_string()), Some(Name::Data(data)));
        let file = data.to_string().replace("data/", "");
        assert_eq!(parse(&format!("data/.{file}.tmp.2")), Some(Name::PartOfData(data)));
        assert_eq!(parse(&format!("log/.{:020}.tmp.1", 7)), Some(Name::PartOfLog(7)));
    }

    #[test]
    fn what_is_not_ours_has_no_name() {
        let long = "9".repeat(20);
        for name in ["LOCK", "log/1", "log/+0000000000000000001", "data/1-2", &format!("log/{long}"), "notes/x"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
