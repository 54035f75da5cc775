//! LMDB with a heap limit, for scenarios whose blocks are any bytes: each block is carried as the only entry of a real one, under its checkpoint's number, and taken out again on reading. Sorting and folding must not
//! show.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock, StateDelta},
        store::{CheckpointStore, CommitStats, RetainedCheckpoint, StateBackend, StateLookup, StateReader, StoreError},
    },
    state::Block,
};
use cofferdam_storage::Lmdb;

pub struct Enveloped {
    lmdb: Lmdb,
    /// Each second time there is no limit.
    alternates: bool,
    opened: AtomicU64,
}

impl Enveloped {
    pub fn new(lmdb: Lmdb, alternates: bool) -> Self {
        Self { lmdb, alternates, opened: AtomicU64::new(0) }
    }
}

impl StateBackend for Enveloped {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        let limited = self.opened.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) || !self.alternates;
        let lmdb = if limited { self.lmdb.clone().heap_limit(1 << 20) } else { self.lmdb.clone() };
        Ok(Box::new(Store(lmdb.open()?)))
    }

    fn place(&self) -> String {
        self.lmdb.place()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

struct Store(Box<dyn CheckpointStore>);

struct Reader(Arc<dyn StateReader>);

fn wrap(checkpoint: CheckpointId, block: &StateBlock) -> StateBlock {
    let mut value = vec![u8::from(block.kind == BlockKind::Full)];
    value.extend(block.entries.to_le_bytes());
    value.extend(&block.bytes);
    let mut bytes = vec![2, 0, 0, 8];
    bytes.extend(checkpoint.0.to_be_bytes());
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(value);
    StateBlock { group: block.group, kind: block.kind, entries: 1, bytes }
}

fn wrap_delta(delta: &Arc<StateDelta>) -> Arc<StateDelta> {
    let blocks = delta.blocks.iter().map(|block| wrap(delta.checkpoint, block)).collect();
    Arc::new(StateDelta { blocks, ..StateDelta::clone(delta) })
}

impl StateReader for Reader {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        self.0.read(state, range, &mut |group, _, _, bytes| {
            for entry in Block::parse(bytes)? {
                let (_, value) = entry?.value.ok_or("a tombstone that nobody has sent")?;
                let (head, bytes) = value.split_first_chunk::<5>().ok_or("cut short")?;
                let kind = if head[0] == 1 { BlockKind::Full } else { BlockKind::Changes };
                visit(group, kind, u32::from_le_bytes([head[1], head[2], head[3], head[4]]), bytes)?;
            }
            Ok(())
        })
    }
}

impl CheckpointStore for Store {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        self.0.newest()
    }

    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError> {
        self.0.begin_attempt_after(taken)
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        self.0.highest()
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        let deltas = commit.deltas.iter().map(wrap_delta).collect();
        self.0.commit(&CheckpointCommit { deltas, ..commit.clone() })
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        Ok(Arc::new(Reader(self.0.reader()?)))
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        Ok(Arc::new(Reader(self.0.pin()?)))
    }

    fn lookup(&mut self) -> Result<Option<Arc<dyn StateLookup>>, StoreError> {
        self.0.lookup()
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        self.0.retained()
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        self.0.go_back(checkpoint)
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        self.0.delete()
    }
}
