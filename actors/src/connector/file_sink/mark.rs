//! How far each subtask has published: what tells that the state went back in time, though the published files have been moved away.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cofferdam_engine::{BoxError, CheckpointId};

use super::directory::{Directory, FileTransaction};
use crate::connector::{
    durable_file::write_atomically,
    failure::{AtPath, failure},
    file_name,
};

const PREFIX: &str = "published-";

/// Says durably that a transaction's checkpoint is published, unless a later one is. Nothing for an empty transaction.
///
/// The transaction names its operator and its subtask in the names of its files, whose parts are joined by single dashes.
pub(super) fn write(directory: &Directory, transaction: &FileTransaction) -> Result<(), BoxError> {
    let Some(first) = transaction.files.first() else { return Ok(()) };
    let parts = operator(&first.pending).zip(subtask_and_checkpoint(&first.published));
    let (operator, (subtask, checkpoint)) =
        parts.ok_or_else(|| format!("'{}' and '{}' are no names of a file sink", first.pending, first.published))?;
    let path = path(directory, operator, subtask);
    if read(&path)?.is_some_and(|published| published >= checkpoint) {
        return Ok(());
    }
    write_atomically(&path, format!("{checkpoint}\n").as_bytes())
}

/// The newest checkpoint that a subtask of the operator has published.
pub(super) fn published(directory: &Directory, operator: &str, subtask: u32) -> Result<Option<CheckpointId>, BoxError> {
    read(&path(directory, &file_name::part(operator), subtask))
}

fn path(directory: &Directory, operator: &str, subtask: u32) -> PathBuf {
    directory.internal().join(format!("{PREFIX}{operator}-{subtask}"))
}

/// The names of the operator's marks, and the checkpoint that each says was published.
pub(super) fn read_all(directory: &Directory, operator: &str) -> Result<Vec<(String, CheckpointId)>, BoxError> {
    let mut marks = Vec::new();
    for name in names(directory, operator)?.into_iter().filter(|name| !is_temporary(name)) {
        if let Some(checkpoint) = read(&directory.internal().join(&name))? {
            marks.push((name, checkpoint));
        }
    }
    Ok(marks)
}

/// Removes what a crash left of the operator's marks.
pub(super) fn clear(directory: &Directory, operator: &str) -> Result<(), BoxError> {
    for name in names(directory, operator)?.into_iter().filter(|name| is_temporary(name)) {
        let path = directory.internal().join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    Ok(())
}

/// The operator's marks, half-written ones among them.
fn names(directory: &Directory, operator: &str) -> Result<Vec<String>, BoxError> {
    let prefix = format!("{PREFIX}{}-", file_name::part(operator));
    // Another operator's name may begin with this one's, but then what follows is not a number.
    let is_mark = |name: &String| {
        let Some(rest) = name.strip_prefix(&prefix) else { return false };
        let (subtask, extension) = rest.split_once('.').unwrap_or((rest, ""));
        subtask.parse::<u32>().is_ok() && (extension.is_empty() || is_temporary(extension))
    };
    Ok(Directory::names_in(&directory.internal())?.into_iter().filter(is_mark).collect())
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp")
}

fn read(path: &Path) -> Result<Option<CheckpointId>, BoxError> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim_end().parse().map(|checkpoint| Some(CheckpointId(checkpoint))).map_err(|cause| {
            failure(format!("'{}' is damaged: nobody can tell what has been published", path.display()), cause)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

/// Of `<job id>-<operator>-<attempt>-<subtask>-<sequence>.pending`.
fn operator(pending: &str) -> Option<&str> {
    pending.split_once('-')?.1.rsplitn(4, '-').nth(3)
}

/// Of `...-<subtask>-<checkpoint>.<extension>`: the first file of a transaction has no number behind that.
pub(super) fn subtask_and_checkpoint(published: &str) -> Option<(u32, CheckpointId)> {
    let mut numbers = published.rsplit_once('.')?.0.rsplit('-');
    let checkpoint = numbers.next()?.parse().ok()?;
    Some((numbers.next()?.parse().ok()?, CheckpointId(checkpoint)))
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::{Attempt, JobId, SinkContext, SubtaskIndex};

    use super::*;
    use crate::connector::file_sink::name::OperatorNames;

    #[test]
    fn a_transactions_files_name_its_operator_subtask_and_checkpoint() {
        for name in ["counts", "counts-0-1", "0", "", "-", "a.b c", &"x-".repeat(200)] {
            let (job, attempt, restored) = (JobId(7), Attempt(3), CheckpointId(0));
            let (job_name, state_place) = (name.to_owned(), String::new());
            let context = SinkContext { job, job_name, operator: name.to_owned(), attempt, restored, state_place };
            let mut names = OperatorNames::new(&context).of_writer(attempt, SubtaskIndex(5), "txt");
            assert_eq!(operator(&names.next_pending()), Some(file_name::part(name).as_str()));
            let published = names.of_final(CheckpointId(17), 0);
            assert_eq!(subtask_and_checkpoint(&published), Some((5, CheckpointId(17))), "{published}");
        }
    }
}
