//! The one job that may write to a directory.

use std::{fs, io};

use cofferdam_engine::{BoxError, JobId, SinkContext};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::directory::{Directory, exists};
use crate::connector::{
    durable_file::{create_atomically, create_dir_durably, write_atomically},
    failure::{AtPath, failure},
};

/// Of the file's format.
const VERSION: u32 = 1;

/// Whose a directory is.
pub(super) struct Owner {
    pub(super) job: JobId,
    job_name: String,
    state_place: String,
}

/// The file: this as one line of JSON, for people to read, then the line's checksum.
#[derive(Serialize, Deserialize)]
struct OwnerLine {
    version: u32,
    job: String,
    job_name: String,
    state: String,
}

/// The owner of a directory, if there is the one and the other.
pub(super) fn read(directory: &Directory) -> Result<Option<Owner>, BoxError> {
    refuse_file(directory)?;
    let path = directory.owner();
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).map(Some).map_err(|cause| {
            let message =
                format!("owner file '{}' is damaged: nobody can tell whose directory it is in", path.display());
            failure(message, cause)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read owner file", &path),
    }
}

/// Makes a directory this job's, durably. It is created if it is missing. Of two jobs that claim it at once one gets it.
pub(super) fn claim(directory: &Directory, context: &SinkContext) -> Result<(), BoxError> {
    if let Some(owner) = read(directory)? {
        check(directory, &owner, context)?;
    }
    create_dir_durably(&directory.pending())?;
    // Also if it has an owner: a directory that cannot be written to shows at the start and not at the first record.
    if create_atomically(&directory.owner(), &text(context)?)? {
        return Ok(());
    }
    require(directory, context)
}

/// Says where the state of the directory's job is now. To be called with the directory locked.
pub(super) fn refresh(directory: &Directory, context: &SinkContext) -> Result<(), BoxError> {
    match read(directory)? {
        Some(owner) if owner.state_place == context.state_place && owner.job_name == context.job_name => Ok(()),
        _ => write_atomically(&directory.owner(), &text(context)?),
    }
}

fn text(context: &SinkContext) -> Result<Vec<u8>, BoxError> {
    let SinkContext { job, job_name, state_place, .. } = context;
    let line =
        OwnerLine { version: VERSION, job: job.to_string(), job_name: job_name.clone(), state: state_place.clone() };
    let line = serde_json::to_string(&line)?;
    Ok(format!("{line}\n{:016x}\n", xxh3_64(line.as_bytes())).into_bytes())
}

/// An error unless the directory is this job's.
pub(super) fn require(directory: &Directory, context: &SinkContext) -> Result<(), BoxError> {
    match read(directory)? {
        Some(owner) => check(directory, &owner, context),
        None => {
            Err(format!("directory '{directory}' does not say that it belongs to job '{}'", context.job_name).into())
        }
    }
}

fn check(directory: &Directory, owner: &Owner, context: &SinkContext) -> Result<(), BoxError> {
    if owner.job == context.job {
        return Ok(());
    }
    let Owner { job: their_id, job_name: theirs, state_place: their_state } = owner;
    let SinkContext { job: our_id, job_name: ours, state_place: our_state, .. } = context;
    Err(format!(
        "directory '{directory}' belongs to job '{theirs}' ({their_id}), whose state is in '{their_state}', and not to job '{ours}' \
         ({our_id}) with its state in '{our_state}': use another directory for the sink, or that job's state to go on with it"
    )
    .into())
}

fn parse(text: &str) -> Result<Owner, BoxError> {
    let (line, checksum) = text.split_once('\n').ok_or("it is cut off")?;
    let checksum = u64::from_str_radix(checksum.trim_end(), 16)?;
    if checksum != xxh3_64(line.as_bytes()) {
        return Err("its checksum is wrong".into());
    }
    let OwnerLine { version, job, job_name, state } = serde_json::from_str(line)?;
    if version != VERSION {
        return Err(format!("its version is {version}, this program knows {VERSION}").into());
    }
    Ok(Owner { job: job.parse()?, job_name, state_place: state })
}

fn refuse_file(directory: &Directory) -> Result<(), BoxError> {
    if exists(directory.path())? && !directory.path().is_dir() {
        return Err(format!("'{directory}' is a file, and a file sink needs a directory").into());
    }
    Ok(())
}
