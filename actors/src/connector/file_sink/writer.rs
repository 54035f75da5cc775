//! Takes the records of one subtask into pending files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use cofferdam_engine::{BoxError, CheckpointId, SinkWriter};
use serde::{Deserialize, Serialize};

use super::{
    Roll,
    directory::{Directory, FileTransaction, PreparedFile},
    encoder::Encoder,
    name::WriterNames,
};
use crate::connector::failure::{AtPath, failure};

const BUFFER_BYTES: usize = 128 * 1024;

/// So many ended files may wait for the next barrier with their handle open; more are synced at once, so that handles do not run out.
const UNSYNCED_MAX: usize = 16;

/// Writes one subtask's records for a [`FileSink`](super::FileSink).
pub struct FileWriter<T> {
    directory: Directory,
    names: WriterNames,
    roll: Roll,
    encoder: Encoder<T>,
    /// The end of `current` that has not been written yet. Dropped with the writer: no checkpoint knows of it.
    buffer: Vec<u8>,
    current: Option<PendingFile>,
    /// To be published with the next checkpoint.
    ended: Vec<PendingFile>,
}

/// What a checkpoint says of a file that it does not publish yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWriterState {
    growing: Option<GrowingFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct GrowingFile {
    pending: String,
    /// How much of it the checkpoint covers.
    len: u64,
    checkpoints: u32,
}

impl FileWriterState {
    /// The pending file that it names.
    pub(super) fn pending(&self) -> Option<&str> {
        self.growing.as_ref().map(|file| file.pending.as_str())
    }
}

/// What a [`FileWriter`] hands over on a barrier.
#[derive(Debug)]
pub struct Frozen {
    /// The handles that wrote them: one opened later might not be told of an earlier write's failure.
    pub(super) unsynced: Vec<(PathBuf, File)>,
    pub(super) transaction: FileTransaction,
}

struct PendingFile {
    name: String,
    path: PathBuf,
    /// `None` once an ended file is synced.
    file: Option<File>,
    /// Bytes written, without the writer's buffer.
    len: u64,
    /// Bytes that an earlier barrier handed over to be synced.
    handed_over: u64,
    /// Barriers since it was begun.
    checkpoints: u32,
}

impl<T> FileWriter<T> {
    pub(super) fn open(
        directory: Directory,
        names: WriterNames,
        roll: Roll,
        encoder: Encoder<T>,
        restored: Vec<FileWriterState>,
    ) -> Result<Self, BoxError> {
        let growing = restored.into_iter().filter_map(|state| state.growing);
        let mut files = growing.map(|file| PendingFile::reopen(&directory, file)).collect::<Result<Vec<_>, _>>()?;
        // With fewer subtasks than before there is more than one: the others end here.
        let ended = files.split_off(files.len().min(1));
        Ok(Self { directory, names, roll, encoder, buffer: Vec::new(), current: files.pop(), ended })
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if let Some(current) = &mut self.current {
            current.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn end_current(&mut self) -> Result<(), BoxError> {
        self.flush()?;
        let Some(mut ended) = self.current.take() else { return Ok(()) };
        if self.ended.len() >= UNSYNCED_MAX {
            ended.sync()?;
        }
        self.ended.push(ended);
        Ok(())
    }
}

impl<T: 'static> SinkWriter<T> for FileWriter<T> {
    type Frozen = Frozen;
    type State = FileWriterState;

    #[inline]
    fn write(&mut self, record: T) -> Result<(), BoxError> {
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(PendingFile::create(&self.directory, self.names.next_pending())?),
        };
        let is_first = current.len == 0 && self.buffer.is_empty();
        self.encoder.encode(&record, is_first, &mut self.buffer)?;
        let len = current.len + self.buffer.len() as u64;
        if matches!(self.roll, Roll::Bytes(max) if len >= max) {
            self.end_current()?;
        } else if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, last: bool) -> Result<(Frozen, FileWriterState), BoxError> {
        self.flush()?;
        if let Some(current) = &mut self.current {
            current.checkpoints += 1;
            if last || matches!(self.roll, Roll::Checkpoints(every) if current.checkpoints >= every) {
                self.end_current()?;
            }
        }
        let mut unsynced = Vec::new();
        let mut files = Vec::new();
        for (nth, ended) in self.ended.drain(..).enumerate() {
            files.push(PreparedFile { pending: ended.name, published: self.names.of_final(checkpoint, nth) });
            unsynced.extend(ended.file.map(|file| (ended.path, file)));
        }
        if let Some(current) = &mut self.current {
            unsynced.extend(current.hand_over()?);
        }
        let state = FileWriterState { growing: self.current.as_ref().map(PendingFile::state) };
        let directory = self.directory.to_string();
        Ok((Frozen { unsynced, transaction: FileTransaction { directory, files } }, state))
    }
}

impl PendingFile {
    fn create(directory: &Directory, name: String) -> Result<Self, BoxError> {
        let path = directory.pending().join(&name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).at("create", &path)?;
        Ok(Self { name, path, file: Some(file), len: 0, handed_over: 0, checkpoints: 0 })
    }

    /// What is behind the checkpoint's length was written by an attempt that failed.
    fn reopen(directory: &Directory, state: GrowingFile) -> Result<Self, BoxError> {
        let GrowingFile { pending: name, len, checkpoints } = state;
        let path = directory.pending().join(&name);
        let mut file = OpenOptions::new().write(true).open(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => failure(
                format!("pending file '{}' is missing: {len} bytes in it were to be published", path.display()),
                cause,
            ),
            _ => failure(format!("cannot open '{}'", path.display()), cause),
        })?;
        let on_disk = file.metadata().at("look at", &path)?.len();
        if on_disk < len {
            let path = path.display();
            return Err(format!(
                "pending file '{path}' is damaged: it had {len} bytes at the checkpoint and has {on_disk}"
            )
            .into());
        }
        file.set_len(len).and_then(|()| file.seek(SeekFrom::Start(len))).at("cut", &path)?;
        Ok(Self { name, path, file: Some(file), len, handed_over: len, checkpoints })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes).at("write to", &self.path)?;
            self.len += bytes.len() as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), BoxError> {
        self.file.take().map_or(Ok(()), |file| file.sync_all().at("sync", &self.path))
    }

    /// A second handle to sync what was written since the last barrier, if anything was.
    fn hand_over(&mut self) -> Result<Option<(PathBuf, File)>, BoxError> {
        match &self.file {
            Some(file) if self.handed_over < self.len => {
                let file = file.try_clone().at("open a second time", &self.path)?;
                self.handed_over = self.len;
                Ok(Some((self.path.clone(), file)))
            }
            _ => Ok(None),
        }
    }

    fn state(&self) -> GrowingFile {
        GrowingFile { pending: self.name.clone(), len: self.len, checkpoints: self.checkpoints }
    }
}
