//! Reads one checkpoint's keyed state.
//!
//! A group is visited only after all of its values have been found whole and complete, so that no visitor sees half of one.

use std::{borrow::Cow, iter::Peekable, ops::Bound, path::Path, sync::Arc};

use cofferdam_engine::{
    BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, StateAddress},
        store::{StateReader, StoreError, StoreErrorKind},
    },
};
use heed::{RoTxn, WithoutTls};

use super::{
    block::{self, Head},
    catalog::{Catalog, Index, Tally},
    environment::Environment,
    fault,
    layout::{BLOCK, BlockKey, Databases, JOB_KEY},
    pins::Pin,
    record::Job,
    value,
};

/// Called with each block.
type Visit<'a> = dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError> + 'a;

/// See the module.
pub(super) struct Reader {
    pub(super) environment: Arc<Environment>,
    /// The checkpoint and what it must have; `None` if there is none.
    pub(super) newest: Option<(CheckpointId, Arc<Catalog>)>,
    /// Keeps the checkpoint from going when newer ones come.
    pub(super) pin: Option<Pin>,
}

impl StateReader for Reader {
    fn read(&self, state: &StateAddress, range: KeyGroupRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let Some((checkpoint, catalog)) = self.newest.as_ref().filter(|_| range.start < range.end) else {
            return Ok(());
        };
        let Some(index) = catalog.states.get(state) else { return Ok(()) };
        let directory = &self.environment.directory;
        self.environment.read(|transaction, databases| {
            self.check_checkpoint(*checkpoint, transaction, databases)?;
            Scan { directory, state, index, checkpoint: *checkpoint }.run(transaction, databases, range, visit)
        })
    }
}

impl Reader {
    fn check_checkpoint(
        &self,
        checkpoint: CheckpointId,
        transaction: &RoTxn<'_, WithoutTls>,
        databases: &Databases,
    ) -> Result<(), StoreError> {
        let directory = &self.environment.directory;
        let stored = databases.job.get(transaction, JOB_KEY);
        let stored = stored.map_err(|cause| fault::lmdb(directory, "read the job's entry", cause))?;
        let job = Job::decode(directory, stored)?;
        let (is_there, what) = match self.pin {
            Some(_) => (job.retained().any(|kept| kept == checkpoint), "kept"),
            None => (job.retained().last() == Some(checkpoint), "the newest"),
        };
        if is_there {
            return Ok(());
        }
        let place = directory.display();
        let message =
            format!("this reader's checkpoint is not {what} in {place} any more; ask the store for a new reader");
        Err(StoreError::new(StoreErrorKind::Fenced, message, None))
    }
}

/// Reads one state of one checkpoint.
pub(super) struct Scan<'a> {
    pub(super) directory: &'a Path,
    pub(super) state: &'a StateAddress,
    pub(super) index: &'a Index,
    pub(super) checkpoint: CheckpointId,
}

/// A value without its checksum.
#[derive(Clone, Copy)]
pub(super) struct Part<'t> {
    pub(super) key: BlockKey,
    pub(super) bytes: &'t [u8],
}

type Entry<'t> = heed::Result<(&'t [u8], &'t [u8])>;

impl Scan<'_> {
    /// Calls `visit` with each block, or says what is damaged.
    pub(super) fn run(
        &self,
        transaction: &RoTxn<'_, WithoutTls>,
        databases: &Databases,
        range: KeyGroupRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.each_group(transaction, databases, range, &mut |group, parts| self.visit_group(group, parts, visit))
    }

    /// Calls `visit` with the parts of each group's blocks, in order, or says what is damaged.
    pub(super) fn each_group<'t>(
        &self,
        transaction: &'t RoTxn<'_, WithoutTls>,
        databases: &Databases,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, &[Part<'t>]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let first = BlockKey::first(self.index.number, KeyGroup(range.start)).encode();
        let last = BlockKey::last(self.index.number, KeyGroup(range.end - 1)).encode();
        let bounds = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let entries = databases.block.range(transaction, &bounds);
        let mut entries = entries.map_err(|cause| self.lmdb(cause))?.peekable();
        let mut parts = Vec::new();
        for group in range.iter() {
            self.take_group(&mut entries, group, &mut parts)?;
            visit(group, &parts)?;
            parts.clear();
        }
        match entries.next() {
            None => Ok(()),
            Some(_) => Err(self.damaged("its blocks are out of order")),
        }
    }

    /// Takes the checkpoint's values of `group`, and checks that they are all there and no others. What lies before them and behind them is
    /// other checkpoints'.
    fn take_group<'t>(
        &self,
        entries: &mut Peekable<impl Iterator<Item = Entry<'t>>>,
        group: KeyGroup,
        parts: &mut Vec<Part<'t>>,
    ) -> Result<(), StoreError> {
        let expected = self.index.groups.get(&group).copied().unwrap_or_default();
        let mut found = Tally::default();
        while let Some(entry) = entries.next_if(|entry| is_of(entry, group)) {
            let (key, value) = entry.map_err(|cause| self.lmdb(cause))?;
            let decoded = BlockKey::decode(key).ok_or_else(|| self.damaged("a block's key is unreadable"))?;
            if decoded.checkpoint < expected.since || decoded.checkpoint > self.checkpoint {
                continue;
            }
            let (bytes, checksum) = value::unseal(BLOCK, key, value)
                .ok_or_else(|| self.damaged_group(group, "a block has a broken checksum"))?;
            found.add(checksum);
            parts.push(Part { key: decoded, bytes });
        }
        if found != expected.tally {
            return Err(self.damaged_group(group, "blocks are missing, or there are others"));
        }
        Ok(())
    }

    fn visit_group(&self, group: KeyGroup, parts: &[Part<'_>], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for block in blocks(parts) {
            let (head, bytes) = join(block).ok_or_else(|| self.cut_short(group))?;
            visit(group, head.kind, head.entries, &bytes).map_err(|cause| self.unreadable(group, cause))?;
        }
        Ok(())
    }

    fn lmdb(&self, cause: heed::Error) -> StoreError {
        fault::lmdb(self.directory, format!("read state {}", self.state), cause)
    }

    /// A block does not end where it should.
    pub(super) fn cut_short(&self, group: KeyGroup) -> StoreError {
        self.damaged_group(group, "a block is not whole")
    }

    /// What a block says cannot be, as `cause` shows.
    pub(super) fn unreadable(&self, group: KeyGroup, cause: BoxError) -> StoreError {
        let what = format!("state {}, key group {group}: a block cannot be restored", self.state);
        fault::damaged_by(self.directory, what, Some(cause))
    }

    fn damaged(&self, what: &str) -> StoreError {
        fault::damaged(self.directory, format!("state {}: {what}", self.state))
    }

    fn damaged_group(&self, group: KeyGroup, what: &str) -> StoreError {
        fault::damaged(self.directory, format!("state {}, key group {group}: {what}", self.state))
    }
}

/// Errors and unreadable keys belong to whoever meets them.
fn is_of(entry: &Entry<'_>, group: KeyGroup) -> bool {
    match entry {
        Ok((key, _)) => BlockKey::decode(key).is_none_or(|key| key.group == group),
        Err(_) => true,
    }
}

/// The parts of each block.
pub(super) fn blocks<'p, 't>(parts: &'p [Part<'t>]) -> impl Iterator<Item = &'p [Part<'t>]> {
    parts.chunk_by(|left, right| left.key.checkpoint == right.key.checkpoint)
}

/// The block that `parts` make; without a copy if it is one. `None` if they make none.
pub(super) fn join<'t>(parts: &[Part<'t>]) -> Option<(Head, Cow<'t, [u8]>)> {
    let (first, rest) = parts.split_first()?;
    let (head, start) = block::split_head(first.bytes)?;
    let mut bytes = Cow::Borrowed(start);
    for (part, number) in rest.iter().zip(1..) {
        if part.key.part != number {
            return None;
        }
        bytes.to_mut().extend_from_slice(part.bytes);
    }
    (first.key.part == 0 && bytes.len() as u64 == head.length).then_some((head, bytes))
}
