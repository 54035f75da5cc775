//! `checkpoints`: what a state directory keeps.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use cofferdam::{
    Inspection,
    prelude::{CheckpointId, Lmdb},
};
use cofferdam_engine::checkpoint::store::StoreErrorKind;
use serde_json::json;

use crate::{
    failure::{Failure, Kind},
    output::{self, Listed, Output, grouped},
    place::{self, Place},
    record,
    temporary::Temporary,
    verifying::{self, Knows, Report, StateReport},
};

#[derive(Subcommand)]
pub enum Command {
    /// Lists the checkpoints that are kept, the oldest first. Reads their records, not their state
    List {
        /// A job's state directory, or its URI: file://, s3://, hdfs://
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Shows a checkpoint's record: operators, subtasks, positions, prepared transactions
    Show {
        /// A job's state directory, or its URI: file://, s3://, hdfs://
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The checkpoint; without it, the newest
        number: Option<u64>,
    },
    /// Reads all that is stored against its checksums: an LMDB directory on a copy, in a process of its own
    Verify {
        /// A job's state directory, or its URI: file://, s3://, hdfs://
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where LMDB's copy is put; it goes afterwards
        #[arg(long, value_name = "DIRECTORY")]
        temp_dir: Option<PathBuf>,
    },
    /// Deletes a checkpoint, or all. Refused while a job has the directory open, and in S3 and HDFS unless --job-is-stopped
    Delete(Delete),
}

#[derive(Args)]
pub struct Delete {
    /// A job's state directory, or its URI: file://, s3://, hdfs://
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The checkpoint
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    number: Option<u64>,
    /// Everything: the job starts over, if its sinks let it
    #[arg(long)]
    all: bool,
    /// The newest may go as well: the job is to go on from the one before, or to start over. What sinks have published since is published again; a sink that knows what it has published, such as FileSink, refuses
    /// that start until what the job is to write again was taken out of its output, as the refusal says
    #[arg(long)]
    give_up_newest: bool,
    /// For S3 and HDFS, where nobody can see whether a job runs: this deletes as a start of the job would, and a job that still runs is fenced at its next checkpoint and fails. A local directory that a job has open is
    /// refused all the same
    #[arg(long)]
    job_is_stopped: bool,
}

pub fn run(command: Command, output: &mut Output) -> Result<ExitCode, Failure> {
    match command {
        Command::List { directory } => {
            let place = Place::named(&directory)?;
            place::again(None, || list(place.backend(), &place.inspect()?))?.say(output)
        }
        Command::Show { directory, number } => {
            let place = Place::named(&directory)?;
            let checkpoint = place::again(number, || place::kept(&place.inspect()?, number))?;
            let metadata = checkpoint.metadata();
            output.document(&record::json(metadata), || record::text(metadata))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { directory, temp_dir } => verify(&directory, temp_dir.as_deref(), output),
        Command::Delete(delete) => delete.run(output),
    }
}

fn list(backend: &str, inspection: &Inspection) -> Result<Listed, Failure> {
    let (mut checkpoints, mut rows, mut damages, mut job_name) = (Vec::new(), Vec::new(), Vec::new(), None);
    let numbers = inspection.checkpoints();
    for number in &numbers {
        let is_newest = numbers.last() == Some(number);
        let mut one = json!({ "checkpoint": number, "newest": is_newest });
        let newest = if is_newest { "newest" } else { "" };
        let found = inspection.checkpoint(*number).and_then(|found| Ok((found, inspection.stored_bytes(*number)?)));
        let cells = match found {
            Ok((found, bytes)) => {
                let metadata = found.metadata();
                let operators = metadata.operators.len();
                one["status"] = "readable".into();
                (one["attempt"], one["bytes"]) = (metadata.attempt.0.into(), bytes.into());
                (one["operators"], one["finished"]) = (operators.into(), metadata.finished.into());
                job_name = Some(metadata.job_name.clone());
                [metadata.attempt.to_string(), grouped(bytes), operators.to_string(), "readable".to_string()]
            }
            Err(error) if error.kind == StoreErrorKind::Damaged => {
                let damage = output::chain(&error);
                (one["status"], one["damage"]) = ("damaged".into(), damage.clone().into());
                damages.push(damage);
                ["".to_string(), "".to_string(), "".to_string(), "damaged".to_string()]
            }
            Err(error) if error.kind == StoreErrorKind::NotRetained && !is_newest => continue,
            Err(error) => return Err(error.into()),
        };
        rows.push([number.to_string()].into_iter().chain(cells).chain([newest.to_string()]).collect());
        checkpoints.push(one);
    }
    let (place, length) = (inspection.place(), inspection.length());
    let last_commit = output::time(inspection.last_commit());
    let document = json!({
        "directory": place,
        "backend": backend,
        "job": inspection.job().map(|job| job.to_string()),
        "job_name": job_name,
        "attempt": inspection.attempt(),
        "highest": inspection.highest(),
        "last_commit": last_commit,
        "bytes": length,
        "checkpoints": checkpoints,
    });
    let name = job_name.as_deref().unwrap_or("?");
    let damages: String = damages.iter().map(|damage| format!("{damage}\n")).collect();
    let text = format!(
        "{place}: job '{name}', attempt {}, last commit {last_commit}, {backend}, {} bytes\n{}{damages}",
        inspection.attempt(),
        grouped(length),
        output::table(&["checkpoint", "attempt", "bytes", "operators", "record", ""], &rows)
    );
    Ok(Listed { document, text, is_whole: damages.is_empty() })
}

fn verify(directory: &Path, temp_dir: Option<&Path>, output: &mut Output) -> Result<ExitCode, Failure> {
    let place = Place::named(directory)?;
    let (report, knows) = match &place {
        Place::Lmdb(path) => {
            let copy = Temporary::make(temp_dir)?;
            (verifying::in_child(path, copy.path())?, verifying::LMDB)
        }
        #[cfg(feature = "filesystem")]
        Place::Files(_) => (place::again(None, || verifying::in_place(&place))?, verifying::FILES),
    };
    let whole = report.is_whole();
    let document = json!({
        "directory": directory.display().to_string(),
        "backend": place.backend(),
        "whole": whole,
        "damage": report.damage,
        "checkpoints": report.checkpoints,
        "checked": knows.checked,
        "backend_alone_misses": knows.alone_misses,
        "not_detected": knows.not_detected,
    });
    output.document(&document, || told(directory, &report, &knows))?;
    Ok(ExitCode::from(if whole { 0 } else { Kind::Damaged.code() }))
}

fn told(directory: &Path, report: &Report, knows: &Knows) -> String {
    let mut text = String::new();
    for one in &report.checkpoints {
        let rows: Vec<_> = one.states.iter().map(StateReport::row).collect();
        text += &match &one.damage {
            Some(damage) => format!("checkpoint {} is damaged: {damage}\n", one.checkpoint),
            None if rows.is_empty() => format!("checkpoint {} is whole; it keeps no state\n", one.checkpoint),
            None => format!("checkpoint {} is whole\n{}", one.checkpoint, output::table(&StateReport::HEADER, &rows)),
        };
    }
    text += &match (&report.damage, report.is_whole()) {
        (Some(damage), _) => format!("damaged: {damage}\n"),
        (None, true) => format!("{} is whole\n", directory.display()),
        (None, false) => format!("{} is damaged\n", directory.display()),
    };
    let list = |title: &str, items: &[&str]| -> String {
        let items: String = items.iter().map(|item| format!("- {item}\n")).collect();
        format!("\n{title}\n{items}")
    };
    text + &list(knows.checked_title, knows.checked)
        + &list(knows.alone_title, knows.alone_misses)
        + &list("What this cannot tell:", knows.not_detected)
}

impl Delete {
    fn run(self, output: &mut Output) -> Result<ExitCode, Failure> {
        // So that no directory is made, and what is not ours is not touched.
        let place = Place::named(&self.directory)?;
        let inspection = match place.inspect() {
            Err(failure) if self.all && self.give_up_newest => return self.delete_damaged(&place, failure, output),
            inspection => inspection?,
        };
        let kept = inspection.checkpoints();
        let newest = kept.last().copied();
        let number = self.number.map(CheckpointId);
        if (self.all || number == newest) && !self.give_up_newest {
            return Err(Failure::refused(needs_word(newest)));
        }
        if !place.is_local() && !self.job_is_stopped {
            return Err(Failure::refused(may_run(&inspection)));
        }
        drop(inspection);
        let (deleted, left) = match number {
            None => {
                place.open()?.delete()?;
                (kept, Vec::new())
            }
            Some(number) if Some(number) == newest => {
                let only = || Failure::refused("it is the only one: to start over, delete --all");
                let before = kept.iter().rev().nth(1).ok_or_else(only)?;
                place.open()?.go_back(*before)?;
                (vec![number], kept[..kept.len() - 1].to_vec())
            }
            Some(number) => {
                place.delete_checkpoint(number)?;
                (vec![number], kept.into_iter().filter(|kept| *kept != number).collect())
            }
        };
        let was_given_up = newest.is_some_and(|newest| deleted.contains(&newest));
        self.say(&deleted, &left, was_given_up, output)
    }

    /// What cannot be read any more, or was half deleted, goes as its errors advise.
    fn delete_damaged(&self, place: &Place, failure: Failure, output: &mut Output) -> Result<ExitCode, Failure> {
        match (place, failure.kind) {
            (Place::Lmdb(path), Kind::Damaged | Kind::NotFound) => Lmdb::at(path).delete()?,
            _ => return Err(failure),
        }
        self.say(&[], &[], true, output)
    }

    fn say(
        &self,
        deleted: &[CheckpointId],
        left: &[CheckpointId],
        was_given_up: bool,
        output: &mut Output,
    ) -> Result<ExitCode, Failure> {
        let directory = self.directory.display().to_string();
        let note = was_given_up.then_some(SINKS_REFUSE);
        let document = json!({ "directory": directory, "deleted": deleted, "kept": left, "note": note });
        output.document(&document, || {
            let list = |numbers: &[CheckpointId]| match numbers {
                [] => "none".to_string(),
                some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            };
            let note = note.map(|note| format!("{note}\n")).unwrap_or_default();
            format!("deleted from {directory}: {}; kept: {}\n{note}", list(deleted), list(left))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Of a newest checkpoint that was given up.
const SINKS_REFUSE: &str = "What sinks have published since the checkpoint that the job starts from is published again. A sink that knows what it has published, such as FileSink, refuses that start: move away what the job is to write again \
     (of FileSink the files and the mark that the refusal names; after --all its whole output), or let the job write to another directory";

fn needs_word(newest: Option<CheckpointId>) -> String {
    let newest =
        newest.map_or_else(|| "what is there".to_string(), |newest| format!("checkpoint {newest}, the newest,"));
    format!(
        "{newest} is what the job goes on from: without it what sinks have published since would be published again, or, by a sink that knows what it has published such as FileSink, the start be refused. To delete it all the same, say --give-up-newest as well; \
         to go back with the sinks asked, start the job with `restore_from`"
    )
}

fn may_run(inspection: &Inspection) -> String {
    format!(
        "whether a job runs on {} cannot be seen from here (attempt {}, last commit {}). Stop it, and say --job-is-stopped: this deletes as a start does, and a job that runs all the same is fenced at its next checkpoint",
        inspection.place(),
        inspection.attempt(),
        output::time(inspection.last_commit())
    )
}
