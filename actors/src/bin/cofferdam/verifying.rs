//! Verifying a directory: in a child process, on a copy.
//!
//! The copy is made by the child as well. What the disk cannot read may end a process with SIGBUS; then the child's end is what was found.

use std::{
    path::Path,
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use cofferdam::{Inspection, StateSize, StoredCheckpoint, prelude::*};
use cofferdam_engine::checkpoint::{
    snapshot::StateAddress,
    store::{StoreError, StoreErrorKind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Failure,
    output::{Output, chain, grouped},
    place,
};

/// What is looked at.
pub const CHECKED: [&str; 4] = [
    "NOTE against LMDB's two meta pages and the file's length: that this is what was committed last",
    "every page of LMDB that leads to another: that it leads where it should, and no page is used twice",
    "every value against its checksum, and each checkpoint's index against the values: none is missing, left over or swapped",
    "every block taken apart: keys of the type recorded, values that are MessagePack",
];

/// What LMDB itself cannot detect: its pages bear no checksum.
pub const LMDB_ALONE: [&str; 3] = [
    "a flipped bit in a value: it hands out what the page holds",
    "a flipped page number: it follows it, into other data or beyond the end of the file",
    "a flipped bit in a meta page: it takes an older commit for the newest",
];

/// What this cannot detect either.
pub const NOT_DETECTED: [&str; 4] = [
    "a directory put back whole from an older copy, NOTE and all: it is in order, and old",
    "damage in pages that no checkpoint uses: it harms nothing",
    "what the disk reads well now and not later",
    "whether sinks still have what prepared transactions name",
];

/// One state that was read.
#[derive(Serialize, Deserialize)]
pub struct StateReport {
    operator: String,
    state: String,
    entries: u64,
    blocks: u64,
    bytes: u64,
}

impl StateReport {
    pub const HEADER: [&'static str; 5] = ["operator", "state", "entries", "blocks", "bytes"];

    fn of(StateAddress { operator, state }: StateAddress, size: StateSize) -> Self {
        Self { operator, state, entries: size.entries, blocks: size.blocks, bytes: size.bytes }
    }

    pub fn row(&self) -> Vec<String> {
        let numbers = [self.entries, self.blocks, self.bytes].map(grouped);
        [self.operator.clone(), self.state.clone()].into_iter().chain(numbers).collect()
    }

    pub fn json(&self) -> Value {
        json!(self)
    }
}

/// One checkpoint that was read.
#[derive(Serialize, Deserialize)]
pub struct CheckpointReport {
    pub checkpoint: CheckpointId,
    pub whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    pub states: Vec<StateReport>,
}

/// What the child says.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// Of the directory as a whole.
    pub damage: Option<String>,
    pub checkpoints: Vec<CheckpointReport>,
}

impl Report {
    pub fn is_whole(&self) -> bool {
        self.damage.is_none() && self.checkpoints.iter().all(|one| one.whole)
    }

    fn damaged(damage: String) -> Self {
        Self { damage: Some(damage), checkpoints: Vec::new() }
    }
}

/// Lets a child verify `directory` on a copy in `copy`.
pub fn in_child(directory: &Path, copy: &Path) -> Result<Report, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("verify-copy").arg(directory).arg(copy).stdin(Stdio::null()).stderr(Stdio::inherit());
    let child = command.output()?;
    if let Some(signal) = signal(child.status) {
        let what = format!(
            "{}: the process that verified it died of signal {signal}; bus error (7) and segmentation fault (11) come of pages that cannot be read",
            directory.display()
        );
        return Ok(Report::damaged(what));
    }
    match child.status.success() {
        true => Ok(serde_json::from_slice(&child.stdout)?),
        // It has said why.
        false => Err("it could not be verified".into()),
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

/// The child: copies the directory, lets go of it, and reads the copy.
pub fn verify_copy(directory: &Path, copy: &Path, output: &mut Output) -> Result<ExitCode, Failure> {
    // Damage is told by the place that people know.
    let rename = |damage: String| damage.replace(&copy.display().to_string(), &directory.display().to_string());
    let looked = place::inspect(directory).and_then(|inspection| Ok(inspection.copy_to(copy)?));
    let report = match looked.and_then(|()| Ok(verify(&Lmdb::at(copy).inspect()?))) {
        Ok(report) => report,
        Err(failure) => match failure.downcast_ref::<StoreError>() {
            Some(error) if error.kind == StoreErrorKind::Damaged => Report::damaged(chain(error)),
            _ => return Err(failure),
        },
    };
    output.line(rename(serde_json::to_string(&report)?))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(inspection: &Inspection) -> Report {
    let verify = |number| {
        let states = inspection.checkpoint(number).and_then(|checkpoint| verify_states(&checkpoint));
        let (states, damage) = match states {
            Ok(states) => (states, None),
            Err(damage) => (Vec::new(), Some(chain(&damage))),
        };
        CheckpointReport { checkpoint: number, whole: damage.is_none(), damage, states }
    };
    Report { damage: None, checkpoints: inspection.checkpoints().into_iter().map(verify).collect() }
}

/// Reads all of a checkpoint.
pub fn verify_states(checkpoint: &StoredCheckpoint) -> Result<Vec<StateReport>, StoreError> {
    let addresses = checkpoint.states().map(|(address, _)| address);
    let verify = |address: StateAddress| {
        let size = checkpoint.verify(&address.operator, &address.state)?;
        Ok(StateReport::of(address, size))
    };
    addresses.map(verify).collect()
}
