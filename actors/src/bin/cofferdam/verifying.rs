//! Verifying a place: LMDB's in a child process, on a copy; files and objects where they are.
//!
//! The copy is made by the child as well. What the disk cannot read may end a process that reads through LMDB's map with SIGBUS; then the child's end is what was found. Files and objects are read with calls that
//! return an error, and do not change while they are there: neither would tell more of them.

use std::{
    path::Path,
    process::{ExitCode, ExitStatus},
};

use cofferdam::{
    Inspection, StateSize, StoredCheckpoint,
    prelude::{CheckpointId, Lmdb},
};
use cofferdam_engine::checkpoint::{
    snapshot::StateAddress,
    store::{StoreError, StoreErrorKind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Kind},
    output::{Output, chain, grouped},
    temporary,
};

/// What verifying a backend means.
pub struct Knows {
    pub checked_title: &'static str,
    /// What is looked at.
    pub checked: &'static [&'static str],
    pub alone_title: &'static str,
    /// What lies below cannot detect.
    pub alone_misses: &'static [&'static str],
    /// What this cannot detect either.
    pub not_detected: &'static [&'static str],
}

/// LMDB's pages bear no checksum.
pub const LMDB: Knows = Knows {
    checked_title: "Checked, on a copy:",
    checked: &[
        "NOTE against LMDB's two meta pages and the file's length: that this is what was committed last",
        "every page of LMDB that leads to another: that it leads where it should, and no page is used twice",
        "every value against its checksum, and each checkpoint's index against the values: none is missing, left over or swapped",
        "every block taken apart: keys of the type recorded, values that are MessagePack",
    ],
    alone_title: "What LMDB alone would not notice, and the checks above do:",
    alone_misses: &[
        "a flipped bit in a value: it hands out what the page holds",
        "a flipped page number: it follows it, into other data or beyond the end of the file",
        "a flipped bit in a meta page: it takes an older commit for the newest",
    ],
    not_detected: &[
        "a directory put back whole from an older copy, NOTE and all: it is in order, and old",
        "damage in pages that no checkpoint uses: it harms nothing",
        "what the disk reads well now and not later",
        "whether sinks still have what prepared transactions name",
    ],
};

/// Files, and objects of whatever store.
#[cfg(feature = "filesystem")]
pub const FILES: Knows = Knows {
    checked_title: "Checked, where they are:",
    checked: &[
        "the log's newest entry, and the root or the claim that it names, against their checksums",
        "each checkpoint's manifest against the root's checksum of it",
        "every piece of state against the manifest's checksum, over its place and its bytes: none is missing, altered, cut short or another",
        "every block taken apart: keys of the type recorded, values that are MessagePack",
    ],
    alone_title: "What a file system or an object store alone would not notice, and the checks above do:",
    alone_misses: &[
        "a flipped bit, if it keeps no checksums of its own",
        "a file that is gone, cut short, or another one's: it hands out what has the name",
        "an older file under a newer one's name",
    ],
    not_detected: &[
        "a place put back whole from an older copy: it is in order, and old",
        "damage in bytes that no checkpoint uses, and in claims of the past: it harms nothing",
        "what the disk or the network reads well now and not later",
        "whether sinks still have what prepared transactions name",
    ],
};

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

    /// Damage is told by the place that people know, not by the copy.
    fn tell_of(&mut self, copy: &Path, directory: &Path) {
        let (copy, directory) = (copy.display().to_string(), directory.display().to_string());
        let damages = self.checkpoints.iter_mut().map(|one| &mut one.damage);
        for damage in damages.chain([&mut self.damage]).flatten() {
            *damage = damage.replace(&copy, &directory);
        }
    }

    fn damaged(damage: String) -> Self {
        Self { damage: Some(damage), checkpoints: Vec::new() }
    }
}

/// Lets a child verify `directory` on a copy in `copy`.
pub fn in_child(directory: &Path, copy: &Path) -> Result<Report, Failure> {
    let mut child = temporary::itself(&["verify-copy"], [directory, copy])?;
    // Open as long as this process lives.
    let _stdin = child.stdin.take();
    let child = child.wait_with_output()?;
    if let Some(signal) = signal(child.status) {
        let what = format!(
            "{}: the process that verified it died of signal {signal}; bus error (7) and segmentation fault (11) come of pages that cannot be read",
            directory.display()
        );
        return Ok(Report::damaged(what));
    }
    match child.status.success() {
        true => Ok(serde_json::from_slice(&child.stdout)?),
        false => Err(Failure::told(&child.stderr)),
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
    temporary::end_with_the_parent();
    let looked = Lmdb::at(directory).copy_to(copy).and_then(|()| Lmdb::at(copy).inspect());
    let mut report = match looked {
        Ok(inspection) => verify(&inspection)?,
        Err(error) if error.kind == StoreErrorKind::Damaged => Report::damaged(chain(&error)),
        Err(error) => return Err(error.into()),
    };
    report.tell_of(copy, directory);
    output.line(serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Verifies files or objects. Fails as dropped if the job has dropped what was the newest checkpoint; older ones that went meanwhile are left out.
#[cfg(feature = "filesystem")]
pub fn in_place(place: &crate::place::Place) -> Result<Report, Failure> {
    match place.inspect() {
        Ok(inspection) => verify(&inspection),
        Err(failure) if failure.kind == Kind::Damaged => Ok(Report::damaged(failure.message().to_string())),
        Err(failure) => Err(failure),
    }
}

/// The newest first: it is the one that matters.
fn verify(inspection: &Inspection) -> Result<Report, Failure> {
    let mut report = Report::default();
    for number in inspection.checkpoints().into_iter().rev() {
        match inspection.checkpoint(number).and_then(|checkpoint| verify_states(&checkpoint)) {
            Ok(states) => {
                report.checkpoints.push(CheckpointReport { checkpoint: number, whole: true, damage: None, states });
            }
            Err(error) if error.kind == StoreErrorKind::NotRetained && !report.checkpoints.is_empty() => {}
            Err(error) if error.kind == StoreErrorKind::Damaged => {
                let damage = Some(chain(&error));
                report.checkpoints.push(CheckpointReport { checkpoint: number, whole: false, damage, states: vec![] });
            }
            Err(error) => return Err(error.into()),
        }
    }
    report.checkpoints.reverse();
    Ok(report)
}

/// Reads all of a checkpoint.
pub fn verify_states(checkpoint: &StoredCheckpoint) -> Result<Vec<StateReport>, StoreError> {
    let addresses = checkpoint.states().map(|(address, _)| address);
    let verify = |address: StateAddress| {
        let size = checkpoint.verify(&address.operator, &address.state)?;
        Ok(StateReport::of(address, size))
    };
    let keyed = addresses.map(verify);
    let others = checkpoint.operator_states().map(|(address, _)| {
        let size = checkpoint.measure_operator_state(&address.operator, &address.state)?;
        Ok(StateReport::of(address, size))
    });
    keyed.chain(others).collect()
}
