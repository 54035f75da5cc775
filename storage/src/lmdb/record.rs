//! The entries that say what is stored: the job, and each of its checkpoints.

use std::{ops::RangeInclusive, path::Path};

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
    layout::{CHECKPOINT, JOB, JOB_KEY, record_key},
    value,
};
use crate::plan::Standing;

/// Format of everything in the environment. 1 kept a single checkpoint.
const FORMAT: u16 = 4;

/// The first that has times in a checkpoint's record.
const WITH_TIMES: u16 = 4;

/// Formats that are read.
const KNOWN: RangeInclusive<u64> = 3..=FORMAT as u64;

/// Who the directory belongs to and how far it has come. Written by every transaction; JSON, for people with a hex viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    format: u16,
    pub(super) attempt: Attempt,
    /// The transaction that wrote it: an older meta page cannot pass for a newer one.
    pub(super) transaction: u64,
    pub(super) checkpoint: Option<JobCheckpoint>,
}

/// A job's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobCheckpoint {
    /// [`JobId`](cofferdam_engine::JobId), in hexadecimal.
    job: String,
    job_name: String,
    /// The newest.
    number: CheckpointId,
    /// Those kept beside it, the oldest first.
    pub(super) older: Vec<CheckpointId>,
    /// The highest number that there ever was.
    highest: CheckpointId,
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
        let highest = self.checkpoint.as_ref().map(|checkpoint| checkpoint.highest);
        Some(Standing { attempt: self.attempt, newest, highest })
    }

    /// The checkpoints kept, the oldest first.
    pub(super) fn retained(&self) -> impl Iterator<Item = CheckpointId> + '_ {
        self.checkpoint.iter().flat_map(|kept| kept.older.iter().copied().chain([kept.number]))
    }

    /// The value to store.
    pub(super) fn encode(&self) -> heed::Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|cause| heed::Error::Encoding(cause.into()))?;
        Ok(value::seal(JOB, JOB_KEY, json).0)
    }

    pub(super) fn decode(directory: &Path, stored: Option<&[u8]>) -> Result<Self, StoreError> {
        let damaged = |what: &str| fault::ruined(directory, format!("the job's entry {what}"));
        let stored = stored.ok_or_else(|| damaged("is missing"))?;
        let (json, _) = value::unseal(JOB, JOB_KEY, stored).ok_or_else(|| damaged("has a broken checksum"))?;
        let unreadable =
            |cause: serde_json::Error| fault::ruined_by(directory, "the job's entry is unreadable", Some(cause.into()));
        let FormatOnly { format } = serde_json::from_slice(json).map_err(unreadable)?;
        fault::check_format(directory, "the job's entry", format, KNOWN)?;
        serde_json::from_slice(json).map_err(unreadable)
    }
}

impl JobCheckpoint {
    /// `metadata` as the newest, and `older` beside it.
    pub(super) fn of(metadata: &CheckpointMetadata, older: Vec<CheckpointId>) -> Self {
        let (job, job_name, number) = (metadata.job.to_string(), metadata.job_name.clone(), metadata.checkpoint);
        Self { job, job_name, number, older, highest: number }
    }

    /// The same without `number`, which is one of `older`.
    pub(super) fn without(&self, number: CheckpointId) -> Self {
        Self { older: self.older.iter().copied().filter(|older| *older != number).collect(), ..self.clone() }
    }

    /// The same without what is newer than `number`, which is one of `older`.
    pub(super) fn back_to(&self, number: CheckpointId) -> Self {
        let older = self.older.iter().copied().filter(|older| *older < number).collect();
        Self { number, older, ..self.clone() }
    }
}

/// A checkpoint.
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
    /// The checkpoint that its index came with: this one, or the last one before it that changed the state.
    pub(super) written: CheckpointId,
    /// Of its index, so that no other index passes for it.
    pub(super) checksum: u64,
}

impl Record {
    /// Format, metadata, states, times; sealed.
    pub(super) fn encode(metadata: &CheckpointMetadata, states: &[StateRecord]) -> heed::Result<Vec<u8>> {
        let bytes = postcard::to_extend(&(metadata, states, &metadata.times), FORMAT.to_le_bytes().to_vec())
            .map_err(|cause| heed::Error::Encoding(cause.into()))?;
        Ok(value::seal(CHECKPOINT, &record_key(metadata.checkpoint), bytes).0)
    }

    /// Reads the record of checkpoint `number`.
    pub(super) fn decode(directory: &Path, number: CheckpointId, stored: Option<&[u8]>) -> Result<Self, StoreError> {
        let name = format!("the record of checkpoint {number}");
        let damaged = |what: &str| fault::damaged(directory, format!("{name} {what}"));
        let stored = stored.ok_or_else(|| damaged("is missing"))?;
        let (bytes, _) =
            value::unseal(CHECKPOINT, &record_key(number), stored).ok_or_else(|| damaged("has a broken checksum"))?;
        let (format, bytes) = bytes.split_first_chunk().ok_or_else(|| damaged("is too short"))?;
        let format = u16::from_le_bytes(*format);
        fault::check_format(directory, &name, format.into(), KNOWN)?;
        Self::of_bytes(format, bytes)
            .map_err(|cause| fault::damaged_by(directory, format!("{name} is unreadable"), Some(cause.into())))
    }

    fn of_bytes(format: u16, bytes: &[u8]) -> postcard::Result<Self> {
        let (mut record, rest): (Self, _) = postcard::take_from_bytes(bytes)?;
        if format >= WITH_TIMES {
            record.metadata.times = postcard::from_bytes(rest)?;
        }
        Ok(record)
    }
}
