//! Names and keys within the environment.
//!
//! ```text
//! job         "job"                -> Job, as JSON
//! checkpoint  "record" | checkpoint                 -> Record, one for each checkpoint that is kept
//!             "state" | state number | checkpoint   -> Index of that state's blocks, as of the last checkpoint that changed them
//! block       state number | key group | checkpoint | part      all big-endian, so that a scan is in order
//! ```

use cofferdam_engine::{CheckpointId, KeyGroup};
use heed::{CommitOrAbort, Database, RwTxn, types::Bytes};

use super::env::Env;

/// How many databases there are.
pub(super) const DATABASES: u32 = 3;
pub(super) const JOB: &str = "job";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const BLOCK: &str = "block";

/// The only key of database `job`.
pub(super) const JOB_KEY: &[u8] = b"job";
type Bytewise = Database<'static, Bytes, Bytes>;

/// The open databases of one environment.
#[derive(Clone, Copy)]
pub(super) struct Databases {
    pub(super) job: Bytewise,
    pub(super) checkpoint: Bytewise,
    pub(super) block: Bytewise,
}

impl Databases {
    /// Opens them; `None` if one is missing.
    pub(super) fn open(env: &Env) -> heed::Result<Option<Self>> {
        let transaction = env.read_txn()?;
        let opened = env.open_databases_and_commit(transaction, |opener, transaction| {
            let open = |name| opener.open_database::<Bytes, Bytes>(transaction, Some(name));
            Ok::<_, heed::Error>(match (open(JOB)?, open(CHECKPOINT)?, open(BLOCK)?) {
                (Some(job), Some(checkpoint), Some(block)) => CommitOrAbort::Commit((job, checkpoint, block)),
                _ => CommitOrAbort::Abort(()),
            })
        })?;
        Ok(opened.commit().map(|(job, checkpoint, block)| Self { job, checkpoint, block }))
    }

    /// Creates them, with `first` as the job's entry, in one transaction.
    pub(super) fn create(env: &Env, first: impl FnOnce(&RwTxn<'_>) -> heed::Result<Vec<u8>>) -> heed::Result<()> {
        let transaction = env.write_txn()?;
        env.create_databases_and_commit(transaction, |opener, transaction| {
            let job = opener.create_database::<Bytes, Bytes>(transaction, Some(JOB))?;
            opener.create_database::<Bytes, Bytes>(transaction, Some(CHECKPOINT))?;
            opener.create_database::<Bytes, Bytes>(transaction, Some(BLOCK))?;
            let first = first(transaction)?;
            job.put(transaction, JOB_KEY, &first)?;
            Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
        })?;
        Ok(())
    }
}

/// The key of a checkpoint's record in database `checkpoint`.
pub(super) fn record_key(checkpoint: CheckpointId) -> [u8; 14] {
    let mut key = [0; 14];
    key[..6].copy_from_slice(b"record");
    key[6..].copy_from_slice(&checkpoint.0.to_be_bytes());
    key
}

/// The key of a state's index in database `checkpoint`. `written` is the checkpoint that it came with.
pub(super) fn index_key(state: u32, written: CheckpointId) -> [u8; 17] {
    let mut key = [0; 17];
    key[..5].copy_from_slice(b"state");
    key[5..9].copy_from_slice(&state.to_be_bytes());
    key[9..].copy_from_slice(&written.0.to_be_bytes());
    key
}

/// The checkpoint that a record or an index in database `checkpoint` came with; both end in it. `None` if it is no such key.
pub(super) fn written_with(key: &[u8]) -> Option<CheckpointId> {
    let (_, number) = key.split_last_chunk()?;
    Some(CheckpointId(u64::from_be_bytes(*number)))
}

/// Where one part of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockKey {
    pub(super) state: u32,
    pub(super) group: KeyGroup,
    pub(super) checkpoint: CheckpointId,
    pub(super) part: u32,
}

impl BlockKey {
    /// The least key that a group of a state can have.
    pub(super) fn first(state: u32, group: KeyGroup) -> Self {
        Self::first_of(state, group, CheckpointId(0))
    }

    /// The least key that a group of a state can have in blocks of `checkpoint`.
    pub(super) fn first_of(state: u32, group: KeyGroup, checkpoint: CheckpointId) -> Self {
        Self { state, group, checkpoint, part: 0 }
    }

    /// The greatest.
    pub(super) fn last(state: u32, group: KeyGroup) -> Self {
        Self { state, group, checkpoint: CheckpointId(u64::MAX), part: u32::MAX }
    }

    pub(super) fn encode(self) -> [u8; 18] {
        let mut key = [0; 18];
        key[..4].copy_from_slice(&self.state.to_be_bytes());
        key[4..6].copy_from_slice(&self.group.0.to_be_bytes());
        key[6..14].copy_from_slice(&self.checkpoint.0.to_be_bytes());
        key[14..].copy_from_slice(&self.part.to_be_bytes());
        key
    }

    /// `None` if it is no such key.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let (state, rest) = key.split_first_chunk()?;
        let (group, rest) = rest.split_first_chunk()?;
        let (checkpoint, rest) = rest.split_first_chunk()?;
        Some(Self {
            state: u32::from_be_bytes(*state),
            group: KeyGroup(u16::from_be_bytes(*group)),
            checkpoint: CheckpointId(u64::from_be_bytes(*checkpoint)),
            part: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}
