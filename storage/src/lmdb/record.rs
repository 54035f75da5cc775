//! The two entries that say what is stored: the job, and its newest checkpoint.

use std::path::Path;

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::{
        snapshot::{CheckpointMetadata, StateAddress},
        store::StoreError,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    fault,
    layout::{CHECKPOINT, JOB, JOB_KEY, NEWEST_KEY},
    value,
};
use crate::plan::Standing;

/// Format of everything in the environment.
const FORMAT: u16 = 1;

/// Who the directory belongs to and how far it has come. Written by every transaction; JSON, for people with a hex viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    format: u16,
    pub(super) attempt: Attempt,
    /// The transaction that wrote it: an older meta page cannot pass for a newer one.
    pub(super) transaction: u64,
    pub(super) checkpoint: Option<JobCheckpoint>,
}

/// A job's newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobCheckpoint {
    /// [`JobId`](cofferdam_engine::JobId), in hexadecimal.
    job: String,
    job_name: String,
    number: CheckpointId,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Job {
    pub(super) fn new(attempt: Attempt, transaction: u64, checkpoint: Option<JobCheckpoint>) -> Self {
        Self { format: FORMAT, attempt, transaction, checkpoint }
    }

    /// What it says, for comparing; `None` if the job id is unreadable.
    pub(super) fn standing(&self) -> Option<Standing> {
        let newest = match &self.checkpoint {
            Some(checkpoint) => Some((checkpoint.job.parse().ok()?, checkpoint.number)),
            None => None,
        };
        Some(Standing { attempt: self.attempt, newest })
    }

    /// The value to store.
    pub(super) fn encode(&self) -> heed::Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|cause| heed::Error::Encoding(cause.into()))?;
        Ok(value::seal(JOB, JOB_KEY, json).0)
    }

    pub(super) fn decode(directory: &Path, stored: Option<&[u8]>) -> Result<Self, StoreError> {
        let damaged = |what: &str| fault::damaged(directory, format!("the job's entry {what}"));
        let stored = stored.ok_or_else(|| damaged("is missing"))?;
        let (json, _) = value::unseal(JOB, JOB_KEY, stored).ok_or_else(|| damaged("has a broken checksum"))?;
        let unreadable = |cause: serde_json::Error| {
            fault::damaged_by(directory, "the job's entry is unreadable", Some(cause.into()))
        };
        let FormatOnly { format } = serde_json::from_slice(json).map_err(unreadable)?;
        if format > u64::from(FORMAT) {
            return Err(fault::newer(directory, "the job's entry", format, FORMAT.into()));
        }
        serde_json::from_slice(json).map_err(unreadable)
    }
}

impl JobCheckpoint {
    pub(super) fn of(metadata: &CheckpointMetadata) -> Self {
        Self { job: metadata.job.to_string(), job_name: metadata.job_name.clone(), number: metadata.checkpoint }
    }
}

/// The newest checkpoint.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) metadata: CheckpointMetadata,
    pub(super) states: Vec<StateRecord>,
}

/// A keyed state in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateRecord {
    pub(super) address: StateAddress,
    /// Its number in keys.
    pub(super) number: u32,
    /// Of its index, so that no other index passes for it.
    pub(super) checksum: u64,
}

impl Record {
    /// Format, metadata, states; sealed.
    pub(super) fn encode(metadata: &CheckpointMetadata, states: &[StateRecord]) -> heed::Result<Vec<u8>> {
        let bytes = postcard::to_extend(&(metadata, states), FORMAT.to_le_bytes().to_vec())
            .map_err(|cause| heed::Error::Encoding(cause.into()))?;
        Ok(value::seal(CHECKPOINT, NEWEST_KEY, bytes).0)
    }

    pub(super) fn decode(directory: &Path, stored: Option<&[u8]>) -> Result<Self, StoreError> {
        let damaged = |what: &str| fault::damaged(directory, format!("the checkpoint's record {what}"));
        let stored = stored.ok_or_else(|| damaged("is missing"))?;
        let (bytes, _) =
            value::unseal(CHECKPOINT, NEWEST_KEY, stored).ok_or_else(|| damaged("has a broken checksum"))?;
        let (format, bytes) = bytes.split_first_chunk().ok_or_else(|| damaged("is too short"))?;
        match u16::from_le_bytes(*format) {
            FORMAT => {}
            format if format > FORMAT => {
                return Err(fault::newer(directory, "the checkpoint's record", format.into(), FORMAT.into()));
            }
            _ => return Err(damaged("has no format")),
        }
        postcard::from_bytes(bytes)
            .map_err(|cause| fault::damaged_by(directory, "the checkpoint's record is unreadable", Some(cause.into())))
    }
}
