//! Who waits for a savepoint, and the threads that write them.
//!
//! ```text
//! JobHandle -- TakeSavepoint --> name free, writable? --> coordinator -- SavepointNews --> a thread that may block: export --> answer
//!                                                    \--> the job is stopped; when it has --------------------------/
//! ```

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use actix::{ActorFutureExt, AsyncContext, Handler, Message, WrapFuture};
use cofferdam_engine::{
    Error, ErrorKind, SavepointId,
    checkpoint::coordinator::{JobEnd, SavepointTicket},
    fail_point::FailPoints,
    savepoint::{Pinned, SavepointFile, SavepointInfo, Stamp},
};
use tokio::sync::oneshot;

use crate::runtime::{
    coordinator_actor::{HostRequest, WantSavepoint},
    supervisor_actor::SupervisorActor,
};

/// Told once what became of a savepoint; nobody may be listening any more.
pub(crate) type Answer = oneshot::Sender<Result<SavepointInfo, Error>>;

/// The host wants a savepoint.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeSavepoint {
    pub(crate) path: PathBuf,
    /// And the job to stop behind it.
    pub(crate) stops: bool,
    pub(crate) answer: Answer,
}

/// What has become of the checkpoint that savepoints wait for.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum SavepointNews {
    /// It is durable.
    Committed(Vec<SavepointTicket>, Result<Pinned, Error>),
    /// There is none, and why.
    Failed(Vec<SavepointTicket>, String),
}

struct Waiting {
    file: SavepointFile,
    answer: Answer,
}

/// All of a job's.
#[derive(Default)]
pub(crate) struct Savepoints {
    fail_points: FailPoints,
    tickets: u64,
    /// Those whose checkpoint is not durable yet.
    waiting: BTreeMap<SavepointTicket, Waiting>,
    /// Those of the last checkpoint.
    last: Vec<Waiting>,
    /// How many are being written.
    exports: usize,
}

impl Savepoints {
    pub(crate) fn new(fail_points: FailPoints) -> Self {
        Self { fail_points, ..Self::default() }
    }

    /// Whether the store is still read.
    pub(crate) fn are_written(&self) -> bool {
        self.exports > 0
    }

    fn take(&mut self, tickets: Vec<SavepointTicket>) -> Vec<Waiting> {
        tickets.into_iter().filter_map(|ticket| self.waiting.remove(&ticket)).collect()
    }

    /// The attempt that was to take them is over.
    pub(crate) fn abandon(&mut self, cause: Option<&Error>) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.fail("the attempt ended before its checkpoint completed", cause.cloned());
        }
    }
}

impl Waiting {
    fn fail(self, why: &str, cause: Option<Error>) {
        let message = format!("savepoint '{}' was not taken: {why}", self.file.path().display());
        answer(self.answer, Err(Error::new(ErrorKind::Savepoint, message, cause.map(|cause| Box::new(cause) as _))));
    }
}

fn answer(to: Answer, result: Result<SavepointInfo, Error>) {
    match &result {
        Ok(info) => log::info!(
            "job '{}': savepoint '{}' of checkpoint {}: {} bytes",
            info.job_name,
            info.path.display(),
            info.checkpoint,
            info.bytes
        ),
        Err(error) => log::warn!("{error}"),
    }
    // Whoever asked may have gone.
    let _ = to.send(result);
}

fn stamp() -> Result<Stamp, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Savepoint, format!("the system gave no random bytes for a savepoint's id: {error}"), None)
    })?;
    Ok(Stamp { id: SavepointId(u128::from_le_bytes(bytes)), written: SystemTime::now() })
}

impl SupervisorActor {
    fn take_savepoint(&mut self, waiting: Waiting, stops: bool, ctx: &mut actix::Context<Self>) {
        if self.ending.is_some() || self.ended.is_none() {
            return waiting.fail("the job is over", None);
        }
        if stops {
            self.savepoints.last.push(waiting);
            return self.request(HostRequest::Stop, ctx);
        }
        match &self.running {
            Some(running) if self.supervisor.is_running() => {
                self.savepoints.tickets += 1;
                let ticket = SavepointTicket(self.savepoints.tickets);
                self.savepoints.waiting.insert(ticket, waiting);
                running.coordinator.do_send(WantSavepoint(ticket));
            }
            _ => {
                let cause = self.supervisor.waiting_for().cloned();
                waiting.fail("the job is not running now; ask again when it is", cause);
            }
        }
    }

    /// Writes savepoints from one checkpoint, each on a thread of its own.
    fn export(&mut self, pinned: Pinned, waiting: Vec<Waiting>, ctx: &mut actix::Context<Self>) {
        let pinned = Arc::new(pinned);
        for Waiting { file, answer: to } in waiting {
            self.savepoints.exports += 1;
            let (pinned, fail_points) = (pinned.clone(), self.savepoints.fail_points.clone());
            let path = file.path().to_owned();
            let call = tokio::task::spawn_blocking(move || pinned.export(file, stamp()?, &fail_points));
            ctx.spawn(call.into_actor(self).map(move |joined, actor, _| {
                actor.savepoints.exports -= 1;
                let lost = |error| {
                    let message = format!("savepoint '{}': its thread died", path.display());
                    Err(Error::new(ErrorKind::Savepoint, message, Some(Box::new(error))))
                };
                answer(to, actor.explain_if_over(joined.unwrap_or_else(lost)));
                actor.if_ended();
            }));
        }
    }

    /// The job is over: writes what waits for its last checkpoint.
    pub(crate) fn export_last(&mut self, ctx: &mut actix::Context<Self>) {
        let last = std::mem::take(&mut self.savepoints.last);
        if last.is_empty() {
            return;
        }
        match &self.ending {
            Some(Ok(JobEnd::Stopped | JobEnd::Finished)) => {}
            Some(Err(error)) => {
                let error = error.clone();
                return last.into_iter().for_each(|waiting| waiting.fail("the job failed", Some(error.clone())));
            }
            _ => return last.into_iter().for_each(|waiting| waiting.fail("the job was cancelled", None)),
        }
        self.savepoints.exports += 1;
        let store = self.store.clone();
        let call = tokio::task::spawn_blocking(move || store.pin());
        ctx.spawn(call.into_actor(self).map(|joined, actor, ctx| {
            actor.savepoints.exports -= 1;
            let died = |error| Error::new(ErrorKind::Savepoint, "the store's thread died", Some(Box::new(error)));
            match joined.map_err(died).and_then(|pinned| pinned) {
                Ok(pinned) => actor.export(pinned.published(), last, ctx),
                Err(error) => {
                    for waiting in last {
                        answer(waiting.answer, actor.explain_if_over(Err(error.clone())));
                    }
                }
            }
            actor.if_ended();
        }));
    }

    /// An error that comes when the job is over says what there is to go on from.
    fn explain_if_over(&self, result: Result<SavepointInfo, Error>) -> Result<SavepointInfo, Error> {
        let Some(Ok(JobEnd::Stopped)) = &self.ending else { return result };
        result.map_err(|error| {
            let place = self.store.place();
            let message = format!("the job is stopped, and its last checkpoint is in {place}, from where the next start goes on; but there is no savepoint");
            Error::new(ErrorKind::Savepoint, message, Some(Box::new(error)))
        })
    }
}

impl Handler<TakeSavepoint> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, message: TakeSavepoint, ctx: &mut Self::Context) {
        let TakeSavepoint { path, stops, answer: to } = message;
        let call = tokio::task::spawn_blocking(move || SavepointFile::create(path));
        ctx.spawn(call.into_actor(self).map(move |joined, actor, ctx| {
            let died = |error| Error::new(ErrorKind::Savepoint, "a savepoint's thread died", Some(Box::new(error)));
            match joined.map_err(died).and_then(|created| created) {
                Ok(file) => actor.take_savepoint(Waiting { file, answer: to }, stops, ctx),
                Err(error) => answer(to, Err(error)),
            }
        }));
    }
}

impl Handler<SavepointNews> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, news: SavepointNews, ctx: &mut Self::Context) {
        match news {
            SavepointNews::Committed(tickets, pinned) => {
                let waiting = self.savepoints.take(tickets);
                match pinned {
                    Ok(pinned) => self.export(pinned, waiting, ctx),
                    Err(error) => waiting.into_iter().for_each(|one| answer(one.answer, Err(error.clone()))),
                }
            }
            SavepointNews::Failed(tickets, why) => {
                self.savepoints.take(tickets).into_iter().for_each(|one| one.fail(&why, None));
            }
        }
    }
}
