//! Records that cannot be read.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cofferdam_engine::BoxError;
use parking_lot::Mutex;

use super::{FilePosition, split::FileSplit};
use crate::connector::{
    durable_file::{create_dir_durably, sync_dir},
    failure::{AtPath, failure},
    file_name,
};

/// What a [`FileSource`](super::FileSource) does with a record that it cannot read: invalid UTF-8, no JSON, a field of the wrong type.
#[derive(Clone, Debug, Default)]
pub enum BadRecord {
    /// The job fails; the error names file, line and cause.
    #[default]
    Fail,
    /// It is left out and counted.
    Skip,
    /// It is left out, counted, and appended as it stood to a side file in this directory, one for each file read. Each source of each
    /// job has side files of its own, so that they may share a directory. The side files
    /// keep step with the checkpoints: what is read again after a restart is not in there twice. Take them away only when the job has ended.
    Divert(PathBuf),
}

/// How many bad records a source has left out. A record that is read again after a restart counts once.
#[derive(Clone, Debug, Default)]
pub struct SkippedRecords {
    /// The most that a reader of each split has skipped since the split's beginning, over all restarts.
    splits: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
}

impl SkippedRecords {
    /// The count now.
    pub fn count(&self) -> u64 {
        self.splits.lock().values().map(|skipped| skipped.load(Ordering::Relaxed)).sum()
    }

    fn of(&self, split: &FileSplit) -> Arc<AtomicU64> {
        self.splits.lock().entry(split.path.clone()).or_default().clone()
    }
}

/// Deals with the bad records of one split.
pub(super) struct BadRecords {
    path: String,
    /// Since the split's beginning.
    skipped: u64,
    counter: Arc<AtomicU64>,
    action: Action,
}

enum Action {
    Fail,
    Skip,
    Divert(SideFile),
}

impl BadRecords {
    pub(super) fn open(
        on_bad_record: &BadRecord,
        counts: &SkippedRecords,
        split: &FileSplit,
        position: &FilePosition,
    ) -> Result<Self, BoxError> {
        let action = match on_bad_record {
            BadRecord::Fail => Action::Fail,
            BadRecord::Skip => Action::Skip,
            BadRecord::Divert(dir) => Action::Divert(SideFile::open(dir, split, position.diverted)?),
        };
        let counter = counts.of(split);
        counter.fetch_max(position.skipped, Ordering::Relaxed);
        Ok(Self { path: split.path.clone(), skipped: position.skipped, counter, action })
    }

    /// `raw` is the record as it stands in the file, without its line end; `line`, counted from 1, is where it begins.
    #[cold]
    pub(super) fn add(&mut self, raw: &[u8], line: u64, cause: BoxError) -> Result<(), BoxError> {
        match &mut self.action {
            Action::Fail => return Err(failure(format!("bad record in file '{}' at line {line}", self.path), cause)),
            Action::Skip => {}
            Action::Divert(side_file) => side_file.append(raw)?,
        }
        log::debug!("left out a bad record in file '{}' at line {line}: {cause}", self.path);
        self.skipped += 1;
        self.counter.fetch_max(self.skipped, Ordering::Relaxed);
        Ok(())
    }

    /// The position behind `offset` bytes and `line` line ends.
    pub(super) fn position(&mut self, offset: u64, line: u64) -> Result<FilePosition, BoxError> {
        let diverted = match &mut self.action {
            Action::Divert(side_file) => side_file.sync()?,
            Action::Fail | Action::Skip => 0,
        };
        Ok(FilePosition { offset, line, skipped: self.skipped, diverted })
    }
}

/// Where the bad records of one split go.
struct SideFile {
    path: PathBuf,
    file: File,
    len: u64,
    synced: u64,
}

impl SideFile {
    /// What is longer than `len` was appended after the checkpoint, and will be again. Nobody else's: the name bears the split's token.
    fn open(dir: &Path, split: &FileSplit, len: u64) -> Result<Self, BoxError> {
        create_dir_durably(dir)?;
        let path = dir.join(format!("{}-{:016x}.bad", file_name::part(&split.path), split.token));
        let open = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let mut file = open.at("open side file", &path)?;
        sync_dir(dir)?;
        let on_disk = file.metadata().at("look at side file", &path)?.len();
        if on_disk < len {
            log::warn!(
                "side file '{}' had {len} bytes at the checkpoint and has {on_disk}: what is missing was taken away",
                path.display()
            );
        }
        let len = len.min(on_disk);
        file.set_len(len).and_then(|()| file.seek(SeekFrom::Start(len))).at("cut side file", &path)?;
        Ok(Self { path, file, len, synced: len })
    }

    fn append(&mut self, raw: &[u8]) -> Result<(), BoxError> {
        let line = [raw, b"\n"].concat();
        self.file.write_all(&line).at("write to side file", &self.path)?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Makes it as durable as the position that is to name its length.
    fn sync(&mut self) -> Result<u64, BoxError> {
        if self.synced < self.len {
            self.file.sync_all().at("sync side file", &self.path)?;
            self.synced = self.len;
        }
        Ok(self.len)
    }
}
