//! The parts of the file that are not blocks.

use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    checkpoint::snapshot::{BlockKind, CheckpointMetadata, EdgeTime, OperatorSnapshot, StateAddress},
    id::{CheckpointId, SavepointId},
    key_group::KeyGroup,
};

const MAGIC: [u8; 8] = *b"cofsave\n";

/// Of the file's format. Version 1 has no times.
pub(super) const VERSION: u32 = 2;

pub(super) const PREAMBLE: usize = 40;
pub(super) const FOOTER: usize = 48;

/// The file's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) version: u32,
    pub(super) header_length: u64,
    pub(super) header_checksum: u64,
}

/// Why the first bytes are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPreamble {
    /// They begin otherwise.
    Foreign,
    /// Their checksum is broken.
    Damaged,
}

impl Preamble {
    pub(super) fn of(header: &[u8]) -> Self {
        Self { version: VERSION, header_length: header.len() as u64, header_checksum: xxh3_64(header) }
    }

    /// The bytes, and their checksum.
    pub(super) fn encode(self) -> ([u8; PREAMBLE], u64) {
        let mut bytes = [0; PREAMBLE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.header_length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.header_checksum.to_le_bytes());
        let checksum = xxh3_64(&bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    pub(super) fn decode(bytes: &[u8; PREAMBLE]) -> Result<(Self, u64), NoPreamble> {
        if bytes[..8] != MAGIC {
            return Err(NoPreamble::Foreign);
        }
        let checksum = number(bytes, 32);
        if checksum != xxh3_64(&bytes[..32]) {
            return Err(NoPreamble::Damaged);
        }
        let (header_length, header_checksum) = (number(bytes, 16), number(bytes, 24));
        Ok((Self { version: number(bytes, 8) as u32, header_length, header_checksum }, checksum))
    }
}

/// What the savepoint is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// In hexadecimal.
    savepoint: String,
    /// Milliseconds since 1970.
    written: u64,
    /// The version that wrote it.
    engine: String,
    /// The checkpoint's record.
    pub(super) metadata: CheckpointMetadata,
    /// Its times, which are not in its own form.
    #[serde(default)]
    times: Vec<EdgeTime>,
}

impl Header {
    pub(super) fn new(id: SavepointId, written: SystemTime, metadata: CheckpointMetadata) -> Self {
        let written = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let (engine, times) = (env!("CARGO_PKG_VERSION").to_string(), metadata.times.clone());
        Self { savepoint: id.to_string(), written, engine, metadata, times }
    }

    pub(super) fn decode(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut header: Self = serde_json::from_slice(bytes)?;
        header.metadata.times = mem::take(&mut header.times);
        Ok(header)
    }

    pub(super) fn id(&self) -> Option<SavepointId> {
        self.savepoint.parse().ok()
    }

    pub(super) fn written(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.written)
    }

    pub(super) fn engine(&self) -> &str {
        &self.engine
    }
}

/// One keyed state's blocks: by growing group, in each group the oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateEntry {
    pub(super) address: StateAddress,
    pub(super) blocks: Vec<BlockEntry>,
}

/// Where a block is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct BlockEntry {
    pub(super) group: KeyGroup,
    pub(super) kind: BlockKind,
    /// What it holds, tombstones included.
    pub(super) entries: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) checksum: u64,
}

/// The file's last bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) directory_offset: u64,
    pub(super) directory_length: u64,
    pub(super) directory_checksum: u64,
    /// Of the whole file.
    pub(super) length: u64,
    /// Of the preamble: the two ends are of one file.
    pub(super) preamble_checksum: u64,
}

impl Footer {
    pub(super) fn encode(self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        let numbers = [
            self.directory_offset,
            self.directory_length,
            self.directory_checksum,
            self.length,
            self.preamble_checksum,
        ];
        for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..FOOTER - 8]);
        bytes[FOOTER - 8..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if the checksum is broken.
    pub(super) fn decode(bytes: &[u8; FOOTER]) -> Option<Self> {
        (number(bytes, FOOTER - 8) == xxh3_64(&bytes[..FOOTER - 8])).then(|| Self {
            directory_offset: number(bytes, 0),
            directory_length: number(bytes, 8),
            directory_checksum: number(bytes, 16),
            length: number(bytes, 24),
            preamble_checksum: number(bytes, 32),
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Transactions that a sink had prepared and not yet published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldTransactions {
    /// The sink's `uid`.
    pub sink: String,
    /// The checkpoint that they are to be published with.
    pub checkpoint: CheckpointId,
    /// How many.
    pub transactions: usize,
}

impl HeldTransactions {
    /// What a sink's snapshots hold, by growing checkpoint.
    pub(crate) fn by(sink: &str, snapshots: &[OperatorSnapshot]) -> Vec<Self> {
        let mut numbers: Vec<_> =
            snapshots.iter().flat_map(|one| &one.transactions).map(|transaction| transaction.checkpoint).collect();
        numbers.sort_unstable();
        let of_checkpoint = numbers.chunk_by(|left, right| left == right);
        of_checkpoint
            .map(|same| Self { sink: sink.to_string(), checkpoint: same[0], transactions: same.len() })
            .collect()
    }

    /// What all operators of a checkpoint hold.
    pub(super) fn in_all(metadata: &CheckpointMetadata) -> Vec<Self> {
        metadata.operators.iter().flat_map(|operator| Self::by(&operator.uid, &operator.subtasks)).collect()
    }
}

impl std::fmt::Display for HeldTransactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.transactions == 1 { "" } else { "s" };
        write!(f, "sink '{}': {} transaction{plural} of checkpoint {}", self.sink, self.transactions, self.checkpoint)
    }
}
