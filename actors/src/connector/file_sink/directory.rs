//! A sink's directory, and how a file in it becomes visible.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use cofferdam_engine::{BoxError, CheckpointId};
use serde::{Deserialize, Serialize};

use super::mark;
use crate::connector::{
    durable_file::sync_dir,
    failure::{AtPath, failure},
};

/// Where the sink publishes to.
#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

/// Files that are durable, and the names they are to be published under.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileTransaction {
    /// Where they were written, should the sink be given another directory.
    pub(super) directory: String,
    pub(super) files: Vec<PreparedFile>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PreparedFile {
    pub(super) pending: String,
    pub(super) published: String,
}

impl FileTransaction {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// That it was made for; `None` if it is empty.
    pub(super) fn checkpoint(&self) -> Option<CheckpointId> {
        self.files.first().and_then(|first| mark::subtask_and_checkpoint(&first.published)).map(|(_, number)| number)
    }
}

impl Directory {
    /// Made absolute, so that it stays the same place, and so that messages say which.
    pub(super) fn new(path: &Path) -> Self {
        Self(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// For what is not published.
    pub(super) fn internal(&self) -> PathBuf {
        self.0.join(".cofferdam")
    }

    pub(super) fn owner(&self) -> PathBuf {
        self.internal().join("owner")
    }

    pub(super) fn pending(&self) -> PathBuf {
        self.internal().join("pending")
    }

    /// `operator` as a part of a file name.
    pub(super) fn lock(&self, operator: &str) -> PathBuf {
        self.internal().join(format!("lock-{operator}"))
    }

    /// Renames what has not been renamed yet. The pending files stay the only proof of that, so the new names are made durable
    /// before the removal of the old ones is.
    pub(super) fn publish(&self, transactions: &[FileTransaction]) -> Result<(), BoxError> {
        for file in transactions.iter().flat_map(|transaction| &transaction.files) {
            self.publish_file(file)?;
        }
        // Also if there was nothing to rename: an earlier call may have failed between the renames and this.
        sync_dir(&self.0)?;
        sync_dir(&self.pending())
    }

    /// A file that is gone counts as published. Somebody who deleted it before it was should be able to find out.
    pub(super) fn warn_of_missing(&self, transactions: &[FileTransaction]) -> Result<(), BoxError> {
        for file in transactions.iter().flat_map(|transaction| &transaction.files) {
            let (pending, published) = (self.pending().join(&file.pending), self.0.join(&file.published));
            if !exists(&pending)? && !exists(&published)? {
                let (pending, published) = (pending.display(), published.display());
                log::warn!(
                    "neither '{pending}' nor '{published}' is there: it counts as published and moved away; if it was deleted unpublished, its \
                     rows are lost"
                );
            }
        }
        Ok(())
    }

    fn publish_file(&self, file: &PreparedFile) -> Result<(), BoxError> {
        let pending = self.pending().join(&file.pending);
        let published = self.0.join(&file.published);
        if !exists(&pending)? {
            log::debug!("'{}' has been published before", published.display());
            return Ok(());
        }
        if exists(&published)? {
            let (pending, published) = (pending.display(), published.display());
            let message =
                format!("cannot publish '{pending}': '{published}' is there already and would be overwritten");
            return Err(message.into());
        }
        fs::rename(&pending, &published).map_err(|cause| {
            failure(format!("cannot publish '{}' as '{}'", pending.display(), published.display()), cause)
        })
    }

    /// The names of the entries of `dir`; a name that is not Unicode is none of a sink's.
    pub(super) fn names_in(dir: &Path) -> Result<Vec<String>, BoxError> {
        let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).at("list directory", dir)?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

pub(super) fn exists(path: &Path) -> Result<bool, BoxError> {
    path.try_exists().at("look for", path)
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
