//! What an earlier attempt left: published, kept, or removed.

use std::{collections::HashSet, fs, path::Path};

use cofferdam_engine::{BoxError, CheckpointId, SinkContext};

use super::{
    directory::{Directory, FileTransaction, exists},
    mark,
    name::OperatorNames,
    owner,
    writer::FileWriterState,
};
use crate::connector::{durable_file::sync_dir, failure::AtPath};

/// See [`TwoPhaseSink::recover`](cofferdam_engine::TwoPhaseSink::recover).
pub(super) fn recover(
    directory: &Directory,
    context: &SinkContext,
    transactions: &[FileTransaction],
    writers: &[FileWriterState],
) -> Result<(), BoxError> {
    // 1. Nothing is touched in a directory, or from a state, that is not the right one.
    owner::require(directory, context)?;
    let names = OperatorNames::new(context);
    refuse_newer_files(directory, context, &names, transactions)?;
    refuse_newer_marks(directory, context, transactions)?;
    refuse_files_elsewhere(directory, transactions)?;
    mark::clear(directory, &context.operator)?;
    // 2. What the checkpoint holds becomes visible.
    directory.warn_of_missing(transactions)?;
    directory.publish(transactions)?;
    transactions.iter().try_for_each(|transaction| mark::write(directory, transaction))?;
    // 3. What it does not name will be written again.
    remove_leftovers(directory, &names, writers)
}

/// See [`TwoPhaseSink::published`](cofferdam_engine::TwoPhaseSink::published).
pub(super) fn published(directory: &Directory, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
    if owner::read(directory)?.is_none() {
        return Ok(None);
    }
    let names = OperatorNames::new(context);
    let files = Directory::names_in(directory.path())?;
    let files = files.iter().filter_map(|name| names.checkpoint_of(name));
    let marks = mark::read_all(directory, &context.operator)?;
    Ok(files.chain(marks.into_iter().map(|(_, checkpoint)| checkpoint)).max())
}

/// See [`TwoPhaseSink::has_prepared`](cofferdam_engine::TwoPhaseSink::has_prepared). A file that is neither here nor published may have been moved away since: then the mark of its
/// subtask says that it was.
pub(super) fn has_prepared(
    directory: &Directory,
    context: &SinkContext,
    transaction: &FileTransaction,
) -> Result<bool, BoxError> {
    let first = transaction.files.first().and_then(|file| mark::subtask_and_checkpoint(&file.published));
    if let Some((subtask, checkpoint)) = first
        && mark::published(directory, &context.operator, subtask)?.is_some_and(|published| published >= checkpoint)
    {
        return Ok(true);
    }
    for file in &transaction.files {
        if !exists(&directory.pending().join(&file.pending))? && !exists(&directory.path().join(&file.published))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A file of a checkpoint after the restored one: its records would be written, and published, once more.
fn refuse_newer_files(
    directory: &Directory,
    context: &SinkContext,
    names: &OperatorNames,
    transactions: &[FileTransaction],
) -> Result<(), BoxError> {
    let files = transactions.iter().flat_map(|transaction| &transaction.files);
    let known: HashSet<&str> = files.map(|file| file.published.as_str()).collect();
    for name in Directory::names_in(directory.path())? {
        let checkpoint = names.checkpoint_of(&name).filter(|checkpoint| *checkpoint > context.restored);
        if let Some(checkpoint) = checkpoint
            && !known.contains(name.as_str())
        {
            let SinkContext { job_name, restored, state_place, .. } = context;
            return Err(format!(
                "the state of job '{job_name}' in '{state_place}' went back in time: it is of checkpoint {restored}, but file \
                 '{name}' in '{directory}' was published with checkpoint {checkpoint}. Restore the newer state, or remove what the job \
                 is to write again"
            )
            .into());
        }
    }
    Ok(())
}

/// A subtask that has published more than the state knows of, though the files may have been moved away since.
fn refuse_newer_marks(
    directory: &Directory,
    context: &SinkContext,
    transactions: &[FileTransaction],
) -> Result<(), BoxError> {
    for (mark, checkpoint) in mark::read_all(directory, &context.operator)? {
        if checkpoint <= context.restored || transactions.iter().any(|known| known.checkpoint() == Some(checkpoint)) {
            continue;
        }
        let SinkContext { job_name, restored, state_place, .. } = context;
        return Err(format!(
            "the state of job '{job_name}' in '{state_place}' went back in time: it is of checkpoint {restored}, but files up to checkpoint \
             {checkpoint} were published in '{directory}'. Restore the newer state; or, if the rows since then are to be published a \
             second time, remove '{}' and what there is of those files",
            directory.internal().join(mark).display()
        )
        .into());
    }
    Ok(())
}

/// A transaction's pending file that is not here counts as published. Not so if it waits in the directory that the sink had before.
fn refuse_files_elsewhere(directory: &Directory, transactions: &[FileTransaction]) -> Result<(), BoxError> {
    for transaction in transactions {
        let before = Directory::new(Path::new(&transaction.directory));
        if before.path() == directory.path() {
            continue;
        }
        for file in &transaction.files {
            let pending = before.pending().join(&file.pending);
            if exists(&pending)? && !exists(&directory.pending().join(&file.pending))? {
                return Err(format!(
                    "'{}' has still to be published, but the sink's directory is now '{directory}': start the job with '{before}' once",
                    pending.display()
                )
                .into());
            }
        }
    }
    Ok(())
}

fn remove_leftovers(directory: &Directory, names: &OperatorNames, writers: &[FileWriterState]) -> Result<(), BoxError> {
    let kept: HashSet<&str> = writers.iter().filter_map(FileWriterState::pending).collect();
    let dir = directory.pending();
    for name in Directory::names_in(&dir)? {
        if names.owns_pending(&name) && !kept.contains(name.as_str()) {
            let path = dir.join(name);
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    sync_dir(&dir)
}
