//! From a pinned checkpoint to a file.

use std::{io::Write, path::PathBuf, sync::Arc, time::SystemTime};

use super::{
    file::SavepointFile,
    format::{Header, HeldTransactions},
    writer::Writer,
};
use crate::{
    checkpoint::{
        snapshot::{CheckpointMetadata, StateAddress},
        store::StateReader,
    },
    error::{BoxError, Error, ErrorKind},
    fail_point::{FailPoints, Point},
    id::{CheckpointId, JobId, SavepointId},
    key_group::{KeyGroup, KeyGroupRange},
    mutation::{self, Mutation},
    panic_site,
};

/// A checkpoint that stays as it is for as long as this lives.
pub struct Pinned {
    metadata: CheckpointMetadata,
    reader: Arc<dyn StateReader>,
}

/// What tells a savepoint from another.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Drawn for it.
    pub id: SavepointId,
    /// Now.
    pub written: SystemTime,
}

/// A savepoint that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavepointInfo {
    /// Where.
    pub path: PathBuf,
    /// Names it, whatever the file is called.
    pub id: SavepointId,
    /// Whose it is.
    pub job: JobId,
    /// The job's name.
    pub job_name: String,
    /// The checkpoint that it was written from.
    pub checkpoint: CheckpointId,
    /// The file's length.
    pub bytes: u64,
    /// Each keyed state, and how many bytes of the file are its.
    pub states: Vec<(StateAddress, u64)>,
    /// Transactions that were prepared when it was taken and not yet published: to start from it, sinks must find them, or they are given up. None after
    /// `stop_with_savepoint`.
    pub prepared: Vec<HeldTransactions>,
}

impl Pinned {
    pub(crate) fn new(metadata: CheckpointMetadata, reader: Arc<dyn StateReader>) -> Self {
        let pinned = Self { metadata, reader };
        if mutation::is(Mutation::SavepointOwesNothing) { pinned.published() } else { pinned }
    }

    /// The same, when every sink has published all that the checkpoint names.
    #[must_use]
    pub fn published(mut self) -> Self {
        let snapshots = self.metadata.operators.iter_mut().flat_map(|operator| &mut operator.subtasks);
        snapshots.for_each(|snapshot| snapshot.transactions.clear());
        self
    }

    /// Writes the savepoint. Blocks for as long as that takes, and holds up nobody. After an error there is no file.
    pub fn export(&self, file: SavepointFile, stamp: Stamp, fail_points: &FailPoints) -> Result<SavepointInfo, Error> {
        let path = file.path().to_owned();
        panic_site::catch(|| self.write(file, stamp, fail_points)).unwrap_or_else(|(_, message)| {
            let message = format!("savepoint '{}' could not be written: a panic: {message}", path.display());
            Err(Error::new(ErrorKind::Savepoint, message, None))
        })
    }

    fn write(&self, mut file: SavepointFile, stamp: Stamp, fail_points: &FailPoints) -> Result<SavepointInfo, Error> {
        let (path, checkpoint) = (file.path().to_owned(), self.metadata.checkpoint);
        let failed = |cause| {
            let message = format!("savepoint '{}' could not be written", path.display());
            Error::new(ErrorKind::Savepoint, message, Some(cause))
        };
        fail_points.reach(Point::SavepointBegun, None, checkpoint).map_err(failed)?;
        let (bytes, states) = file.write(|to| self.write_to(to, stamp).map_err(failed))?;
        fail_points.reach(Point::SavepointWritten, None, checkpoint).map_err(failed)?;
        file.publish()?;
        Ok(SavepointInfo {
            path,
            id: stamp.id,
            job: self.metadata.job,
            job_name: self.metadata.job_name.clone(),
            checkpoint,
            bytes,
            states,
            prepared: HeldTransactions::in_all(&self.metadata),
        })
    }

    /// Returns the number of bytes, in all and of each state.
    pub(super) fn write_to(
        &self,
        to: &mut dyn Write,
        stamp: Stamp,
    ) -> Result<(u64, Vec<(StateAddress, u64)>), BoxError> {
        let header = Header::new(stamp.id, stamp.written, self.metadata.clone());
        let mut writer = Writer::new(to, &header)?;
        let mut states = Vec::new();
        for operator in &self.metadata.operators {
            for state in &operator.states {
                let address = StateAddress { operator: operator.uid.clone(), state: state.name.clone() };
                let bytes = self.write_state(&address, &mut writer)?;
                states.push((address, bytes));
            }
        }
        Ok((writer.finish()?, states))
    }

    /// A slow disk holds up no reader's transaction: a group is read first and written then.
    fn write_state(&self, address: &StateAddress, writer: &mut Writer<&mut dyn Write>) -> Result<u64, BoxError> {
        writer.state(address.clone());
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        let missing = u16::from(mutation::is(Mutation::SavepointGroupMissing));
        for group in 0..self.metadata.max_parallelism - missing {
            let one = KeyGroupRange { start: group, end: group + 1 };
            self.reader.read(address, one, &mut |_, kind, entries, block| {
                blocks.push((kind, entries, block.to_vec()));
                Ok(())
            })?;
            for (kind, entries, block) in blocks.drain(..) {
                writer.block(KeyGroup(group), kind, entries, &block)?;
                bytes += block.len() as u64;
            }
        }
        Ok(bytes)
    }
}
