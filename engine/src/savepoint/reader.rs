//! Reads a savepoint: what it is at once, and its blocks as they are asked for.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use xxhash_rust::xxh3::xxh3_64;

use super::format::{FOOTER, Footer, Header, HeldTransactions, NoPreamble, PREAMBLE, Preamble, StateEntry, VERSION};
use crate::{
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, StateAddress},
        store::{StateReader, StoreError, StoreErrorKind},
    },
    error::BoxError,
    id::SavepointId,
    key_group::{KeyGroup, KeyGroupRange},
    state::StoredCheckpoint,
};

/// A savepoint's file, open. Reading one needs no job and no backend.
///
/// ```no_run
/// # use cofferdam_engine::savepoint::Savepoint;
/// let mut savepoint = Savepoint::open("nightly.savepoint")?;
/// println!("{} of job '{}'", savepoint.metadata().checkpoint, savepoint.metadata().job_name);
/// savepoint.verify()?;
/// # Ok::<(), cofferdam_engine::checkpoint::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Savepoint<R = File> {
    source: Source<R>,
    id: SavepointId,
    header: Header,
    states: Vec<StateEntry>,
    length: u64,
}

impl Savepoint<File> {
    /// Opens a file, and checks all of it but the blocks. Refused if it is no savepoint, a newer version's, cut off or damaged. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::of(open(path.as_ref())?, name(path.as_ref()))
    }

    /// Which savepoint a file is, by its beginning alone.
    pub(super) fn identify(path: &Path) -> Result<SavepointId, StoreError> {
        let mut source = Source { inner: open(path)?, name: name(path) };
        source.start().map(|start| start.id)
    }
}

fn name(path: &Path) -> String {
    format!("savepoint '{}'", path.display())
}

fn open(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(|cause| {
        StoreError::new(StoreErrorKind::Io, format!("{} cannot be opened", name(path)), Some(Box::new(cause)))
    })
}

impl<R: Read + Seek> Savepoint<R> {
    /// [`open`](Savepoint::open) for anything that has the bytes; `name` is for messages.
    pub fn of(inner: R, name: String) -> Result<Self, StoreError> {
        let mut source = Source { inner, name };
        let Start { preamble_checksum, id, header, end } = source.start()?;
        let footer = source.footer(preamble_checksum, end)?;
        let states = source.directory(&footer)?;
        if let Some(damage) = misplaced(&states, end, footer.directory_offset) {
            return Err(source.damaged(damage));
        }
        Ok(Self { source, id, header, states, length: footer.length })
    }

    /// Names it, whatever the file is called.
    pub fn id(&self) -> SavepointId {
        self.id
    }

    /// When it was written.
    pub fn written(&self) -> SystemTime {
        self.header.written()
    }

    /// The version of the engine that wrote it.
    pub fn engine(&self) -> &str {
        self.header.engine()
    }

    /// The file's length, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The record of the checkpoint that it was written from.
    pub fn metadata(&self) -> &CheckpointMetadata {
        &self.header.metadata
    }

    /// The transactions that sinks had prepared and not yet published.
    pub fn prepared(&self) -> Vec<HeldTransactions> {
        HeldTransactions::in_all(&self.header.metadata)
    }

    /// The keyed states, and how many bytes each has.
    pub fn states(&self) -> impl Iterator<Item = (&StateAddress, u64)> {
        self.states.iter().map(|state| (&state.address, state.blocks.iter().map(|block| block.length).sum()))
    }

    /// Calls `visit` with every block of `state` in `range`, as [`StateReader::read`](crate::checkpoint::store::StateReader::read) does: group by group, in each group the
    /// oldest first. Fails if a block is damaged, or `visit` fails.
    pub fn read(
        &mut self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        let Self { source, states, .. } = self;
        let Some(found) = states.iter().find(|one| one.address == *state) else { return Ok(()) };
        for block in found.blocks.iter().filter(|block| (range.start..range.end).contains(&block.group.0)) {
            let what = || format!("state {state}, key group {}", block.group);
            let bytes = source.bytes_at(block.offset, block.length)?;
            if xxh3_64(&bytes) != block.checksum {
                return Err(source.damaged(format!("{}: a block has a broken checksum", what())));
            }
            visit(block.group, block.kind, block.entries, &bytes).map_err(|cause| {
                let message = format!("{}: {}: a block cannot be read", source.name, what());
                StoreError::new(StoreErrorKind::Damaged, message, Some(cause))
            })?;
        }
        Ok(())
    }

    /// Reads every block, to see whether the file is whole.
    pub fn verify(&mut self) -> Result<(), StoreError> {
        let addresses: Vec<_> = self.states.iter().map(|state| state.address.clone()).collect();
        let all = KeyGroupRange { start: 0, end: u16::MAX };
        addresses.iter().try_for_each(|address| self.read(address, all, &mut |_, _, _, _| Ok(())))
    }

    pub(super) fn addresses(&self) -> Vec<StateAddress> {
        self.states.iter().map(|state| state.address.clone()).collect()
    }
}

/// A file has one place at a time, so one state is read at a time.
struct Shared<R>(Mutex<Savepoint<R>>);

impl<R: Read + Seek + Send> StateReader for Shared<R> {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(state, range, visit)
    }
}

impl<R: Read + Seek + Send + 'static> From<Savepoint<R>> for StoredCheckpoint {
    fn from(savepoint: Savepoint<R>) -> Self {
        let (place, metadata) = (savepoint.source.name.clone(), savepoint.metadata().clone());
        Self::new(place, metadata, Arc::new(Shared(Mutex::new(savepoint))))
    }
}

/// Whether blocks lie anywhere else than one behind the other between `start` and `end`, or out of order.
fn misplaced(states: &[StateEntry], start: u64, end: u64) -> Option<String> {
    let mut at = start;
    for state in states {
        let blocks = &state.blocks;
        for block in blocks {
            if block.offset != at {
                return Some(format!("state {}: its blocks are not where they should be", state.address));
            }
            at = at.saturating_add(block.length);
        }
        if !blocks.is_sorted_by_key(|block| block.group) {
            return Some(format!("state {}: its blocks are out of order", state.address));
        }
    }
    (at != end).then(|| "blocks and directory do not meet".to_string())
}

#[derive(Debug)]
struct Source<R> {
    inner: R,
    /// With what it is, for messages.
    name: String,
}

/// The file up to its first block.
struct Start {
    preamble_checksum: u64,
    id: SavepointId,
    header: Header,
    end: u64,
}

impl<R: Read + Seek> Source<R> {
    fn start(&mut self) -> Result<Start, StoreError> {
        let length = self.inner.seek(SeekFrom::End(0)).map_err(|cause| self.io(cause))?;
        if length < PREAMBLE as u64 {
            return Err(self.foreign());
        }
        let mut preamble = [0; PREAMBLE];
        self.fill(0, &mut preamble)?;
        let (preamble, preamble_checksum) = Preamble::decode(&preamble).map_err(|no| match no {
            NoPreamble::Foreign => self.foreign(),
            NoPreamble::Damaged => self.damaged("its first bytes have a broken checksum"),
        })?;
        if preamble.version > VERSION {
            return Err(StoreError::new(
                StoreErrorKind::Newer,
                format!(
                    "{} is of version {}, and this program reads up to version {VERSION}: start with the version that wrote it, or a newer one",
                    self.name, preamble.version
                ),
                None,
            ));
        }
        let end = (PREAMBLE as u64).saturating_add(preamble.header_length);
        if end > length {
            return Err(self.cut_off());
        }
        let bytes = self.bytes_at(PREAMBLE as u64, preamble.header_length)?;
        if xxh3_64(&bytes) != preamble.header_checksum {
            return Err(self.damaged("its header has a broken checksum"));
        }
        let header = Header::decode(&bytes).map_err(|cause| {
            let message = format!("the header of {} cannot be read", self.name);
            StoreError::new(StoreErrorKind::Damaged, message, Some(Box::new(cause)))
        })?;
        let id = header.id().ok_or_else(|| self.damaged("its id cannot be read"))?;
        Ok(Start { preamble_checksum, id, header, end })
    }

    fn footer(&mut self, preamble_checksum: u64, start: u64) -> Result<Footer, StoreError> {
        let length = self.inner.seek(SeekFrom::End(0)).map_err(|cause| self.io(cause))?;
        let at = length.checked_sub(FOOTER as u64).filter(|at| *at >= start).ok_or_else(|| self.cut_off())?;
        let mut footer = [0; FOOTER];
        self.fill(at, &mut footer)?;
        let footer = Footer::decode(&footer).ok_or_else(|| self.cut_off())?;
        let end = footer.directory_offset.checked_add(footer.directory_length);
        if footer.length != length || footer.preamble_checksum != preamble_checksum || end != Some(at) {
            return Err(self.damaged("its beginning and its end do not belong together"));
        }
        Ok(footer)
    }

    fn directory(&mut self, footer: &Footer) -> Result<Vec<StateEntry>, StoreError> {
        let bytes = self.bytes_at(footer.directory_offset, footer.directory_length)?;
        if xxh3_64(&bytes) != footer.directory_checksum {
            return Err(self.damaged("its directory has a broken checksum"));
        }
        postcard::from_bytes(&bytes).map_err(|_| self.damaged("its directory cannot be read"))
    }

    fn bytes_at(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let length = usize::try_from(length).map_err(|_| self.damaged("a part is larger than memory can be"))?;
        let mut bytes = vec![0; length];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        let read = self.inner.seek(SeekFrom::Start(offset)).and_then(|_| self.inner.read_exact(bytes));
        read.map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => self.cut_off(),
            _ => self.io(cause),
        })
    }

    fn foreign(&self) -> StoreError {
        let message = format!("{} is no savepoint: it begins otherwise", self.name);
        StoreError::new(StoreErrorKind::Foreign, message, None)
    }

    fn cut_off(&self) -> StoreError {
        self.damaged("its end is missing or damaged: was it copied whole?")
    }

    fn damaged(&self, what: impl std::fmt::Display) -> StoreError {
        let message = format!("{} is damaged: {what}; nothing was changed, bring another copy of it", self.name);
        StoreError::new(StoreErrorKind::Damaged, message, None)
    }

    fn io(&self, cause: io::Error) -> StoreError {
        StoreError::new(StoreErrorKind::Io, format!("{} cannot be read", self.name), Some(Box::new(cause)))
    }
}
