//! Entries of the log: who owns the place, and what it holds.
//!
//! JSON, for people with a viewer, and a checksum over name and bytes behind it.

use std::ops::RangeInclusive;

use cofferdam_engine::{Attempt, CheckpointId, JobId, checkpoint::store::StoreError};
use serde::{Deserialize, Serialize};

use super::{
    fault,
    name::{self, DataId},
    seal,
};
use crate::plan::Standing;

/// Format of everything in the place.
pub(super) const FORMAT: u16 = 2;

/// The first that has times in a manifest.
pub(super) const WITH_TIMES: u16 = 2;

/// Formats that are read.
pub(super) const KNOWN: RangeInclusive<u64> = 1..=FORMAT as u64;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    format: u16,
    /// Counts starts: each claims the next.
    pub(super) generation: u64,
    /// Random, and an owner's own.
    pub(super) owner: String,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    Claim(Claim),
    Root(Root),
}

/// A start made the place its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The newest root; `None` in a place never used.
    pub(super) root: Option<Link>,
    /// Entries of the claims before it that are kept.
    pub(super) earlier: Vec<u64>,
}

/// Another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) checksum: u64,
}

/// All that the place holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    /// The entry with its owner's claim.
    pub(super) claim: u64,
    pub(super) attempt: Attempt,
    pub(super) job: Option<Job>,
    /// The highest number ever committed.
    pub(super) highest: Option<CheckpointId>,
    /// The oldest first.
    pub(super) retained: Vec<Kept>,
}

/// Whose the place is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// [`JobId`], in hexadecimal.
    pub(super) id: String,
    pub(super) name: String,
}

/// A checkpoint that is kept, and where its manifest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) checkpoint: CheckpointId,
    pub(super) object: DataId,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) checksum: u64,
    /// Data objects beside its own that it needs.
    pub(super) needs: Vec<DataId>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Entry {
    pub(super) fn new(generation: u64, owner: &str, content: Content) -> Self {
        Self { format: FORMAT, generation, owner: owner.to_owned(), content }
    }

    /// The object to store as entry `sequence`, and its checksum.
    pub(super) fn encode(&self, place: &str, sequence: u64) -> Result<(Vec<u8>, u64), StoreError> {
        let json = serde_json::to_vec(self)
            .map_err(|cause| fault::damaged_by(place, "a log entry cannot be encoded", Some(cause.into())))?;
        Ok(seal::seal(&name::log(sequence), json))
    }

    /// Reads entry `sequence`, and its checksum.
    pub(super) fn decode(place: &str, sequence: u64, stored: &[u8]) -> Result<(Self, u64), StoreError> {
        let name = name::log(sequence);
        let (json, checksum) =
            seal::unseal(&name, stored).ok_or_else(|| fault::ruined(place, format!("{name} was altered"), None))?;
        let unreadable =
            |cause: serde_json::Error| fault::ruined(place, format!("{name} is unreadable"), Some(cause.into()));
        let FormatOnly { format } = serde_json::from_slice(json).map_err(unreadable)?;
        fault::check_format(place, &name, format, KNOWN)?;
        Ok((serde_json::from_slice(json).map_err(unreadable)?, checksum))
    }
}

impl Root {
    /// What it says, for comparing; `None` if the job's id is unreadable.
    pub(super) fn standing(&self) -> Option<Standing> {
        let newest = match (&self.job, self.retained.last()) {
            (Some(job), Some(newest)) => Some((job.id.parse::<JobId>().ok()?, newest.checkpoint)),
            _ => None,
        };
        Some(Standing { attempt: self.attempt, newest, highest: self.highest })
    }

    /// Whether a checkpoint that is kept needs `object`.
    pub(super) fn needs(&self, object: DataId) -> bool {
        self.retained.iter().any(|kept| kept.object == object || kept.needs.contains(&object))
    }

    /// Every data object that a checkpoint kept needs; some may come twice.
    pub(super) fn objects(&self) -> impl Iterator<Item = DataId> + '_ {
        self.retained.iter().flat_map(|kept| kept.needs.iter().copied().chain([kept.object]))
    }
}
