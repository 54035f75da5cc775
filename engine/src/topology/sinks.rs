//! What is asked of a plan's two-phase sinks as an attempt is opened, outside of any subtask.

use crate::{
    checkpoint::snapshot::{CheckpointMetadata, OperatorKind, OperatorSnapshot, PreparedTransaction},
    error::{BoxError, Error, ErrorKind},
    fail_point::Point,
    id::{Attempt, CheckpointId},
    mutation::{self, Mutation},
    output::sink::SinkRecovery,
    panic_site,
    savepoint::HeldTransactions,
    sink::{Ownership, SinkContext},
    topology::{plan::Plan, restorable::Kept},
};

impl Plan {
    fn sinks(&self) -> impl Iterator<Item = (String, &dyn SinkRecovery)> {
        let sinks = self.operators().filter(|(_, operator)| operator.kind == OperatorKind::TwoPhaseSink);
        sinks.filter_map(|(chain, operator)| Some((operator.uid, self.graph.chains[chain].sink.as_deref()?)))
    }

    /// Calls a sink outside of any subtask, between two fail points; its panic is an error that names it.
    fn call_sink<R>(
        &self,
        uid: &str,
        points: [Point; 2],
        checkpoint: CheckpointId,
        code: impl FnOnce() -> Result<R, BoxError>,
    ) -> Result<Result<R, BoxError>, Error> {
        self.catch_sink(uid, || self.settings.fail_points.around(points, None, checkpoint, code))
    }

    fn catch_sink<R>(&self, uid: &str, code: impl FnOnce() -> R) -> Result<R, Error> {
        panic_site::catch(code).map_err(|(_, message)| {
            Error::new(ErrorKind::Panic, format!("job '{}', sink '{uid}' panicked: {message}", self.name), None)
        })
    }

    /// Refuses a sink whose place is not that of the state: another job's, or one that lost its owner's mark after the job began. `restored` is
    /// what the state holds, if anything. Changes nothing. May block.
    pub fn check_sinks(&self, restored: Option<&CheckpointMetadata>, place: &str, is_first: bool) -> Result<(), Error> {
        let stored = restored.map_or(CheckpointId(0), |checkpoint| checkpoint.checkpoint);
        for (uid, sink) in self.sinks() {
            let owner = self
                .call_sink(&uid, [Point::OwnerBefore, Point::OwnerAfter], stored, || sink.owner())?
                .map_err(|error| {
                    let message =
                        format!("job '{}', sink '{uid}': it cannot be told whose {} is", self.name, sink.place());
                    Error::new(no_place(is_first), message, Some(error))
                })?;
            let output = sink.place();
            let job = restored.map(|checkpoint| checkpoint.job);
            let began = restored.is_some_and(|checkpoint| has_published(checkpoint, &uid));
            let mismatch = match owner {
                Ownership::Claimed(owner) if Some(owner) == job => continue,
                Ownership::Untracked => continue,
                Ownership::Unclaimed if !began => continue,
                Ownership::Unclaimed => format!(
                    "the state in {place} is that of a job that has published, but the output in {output} bears no mark of it: \
                     is it the right place? Bring back the output, or delete the state to start over"
                ),
                Ownership::Claimed(owner) => {
                    let state = job.map_or_else(|| "new".to_string(), |job| format!("that of job {job}"));
                    format!(
                        "the output in {output} belongs to job {owner}, but the state in {place} is {state}. Going on would publish rows a second time. \
                         Bring back the state that belongs to the output, or move the output away to start over"
                    )
                }
            };
            return Err(Error::refused(format!("job '{}', sink '{uid}': {mismatch}", self.name)));
        }
        Ok(())
    }

    /// Aborts those of `orphans`, which a dead attempt has prepared, that the checkpoint restored does not name. What fails is logged: recovery clears it
    /// away. May block.
    pub fn abort_orphans(&self, restored: &CheckpointMetadata, orphans: &[(String, PreparedTransaction)]) {
        let named = |uid: &String, transaction: &PreparedTransaction| {
            let mut operators = restored.operators.iter().filter(|operator| operator.uid == *uid);
            operators.any(|operator| operator.subtasks.iter().any(|one| one.transactions.contains(transaction)))
        };
        for (uid, sink) in self.sinks() {
            let of_sink = orphans.iter().filter(|(orphan, transaction)| *orphan == uid && !named(orphan, transaction));
            for (_, transaction) in of_sink {
                let aborted = panic_site::catch(|| sink.abort(&transaction.bytes));
                let error = match aborted {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error,
                    Err((_, message)) => format!("it panicked: {message}").into(),
                };
                let (job, checkpoint) = (&self.name, transaction.checkpoint);
                log::warn!(
                    "job '{job}', sink '{uid}': a transaction prepared for checkpoint {checkpoint}, which never completed, could not be aborted, and is \
                     left for recovery to clear away: {error}"
                );
            }
        }
    }

    /// Refuses to go on from `checkpoint`, which was named and need not be the newest, or is a savepoint's, if a sink knows that it has published past it. Changes nothing. May
    /// block.
    pub(crate) fn check_published(
        &self,
        checkpoint: &CheckpointMetadata,
        kept: Kept,
        place: &str,
    ) -> Result<(), Error> {
        for (uid, sink) in self.sinks() {
            let context = self.sink_context(&uid, checkpoint, checkpoint.attempt, place);
            let published = || match sink.owner()? {
                Ownership::Unclaimed => Ok(None),
                Ownership::Claimed(_) | Ownership::Untracked => sink.published(&context),
            };
            let published = self.catch_sink(&uid, published)?.map_err(|error| {
                let message = format!(
                    "job '{}', sink '{uid}': it cannot be told what is published in {}",
                    self.name,
                    sink.place()
                );
                Error::new(ErrorKind::Refused, message, Some(error))
            })?;
            let Some(published) = published.filter(|published| *published > checkpoint.checkpoint) else { continue };
            let number = checkpoint.checkpoint;
            let way_out = match kept {
                Kept::InBackend => format!(
                    "going back to checkpoint {number} would publish rows a second time. Nothing was changed; start without naming a checkpoint to go on from the newest, or \
                     name one from {published} on"
                ),
                Kept::InSavepoint => format!(
                    "starting from {place}, which is of checkpoint {number}, would publish rows a second time. Nothing was changed; go on with the state that the output belongs to, \
                     start from a savepoint of checkpoint {published} or later, or give the job another place for its output"
                ),
            };
            let (job, output) = (&self.name, sink.place());
            return Err(Error::refused(format!(
                "job '{job}', sink '{uid}' has published up to checkpoint {published} in {output}: {way_out}"
            )));
        }
        Ok(())
    }

    /// Looks for what a savepoint holds and has not published. What a sink does not find is an error that lists it, or is given up if `discard` says so. Changes nothing
    /// but `restored`. May block.
    pub(crate) fn check_prepared(
        &self,
        restored: &mut CheckpointMetadata,
        place: &str,
        discard: bool,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        for (uid, sink) in self.sinks() {
            let context = self.sink_context(&uid, restored, restored.attempt, place);
            let Some(stored) = restored.operators.iter_mut().find(|operator| operator.uid == uid) else { continue };
            let lost = self.catch_sink(&uid, || take_missing(sink, &context, &mut stored.subtasks))?;
            let lost = lost.map_err(|error| {
                let (job, output) = (&self.name, sink.place());
                let message = format!("job '{job}', sink '{uid}': it cannot be told what of {place} is in {output}");
                Error::new(ErrorKind::Refused, message, Some(error))
            })?;
            missing.extend(lost.into_iter().map(|what| format!("{what}, in {}", sink.place())));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (job, missing) = (&self.name, missing.join("; "));
        if discard {
            log::warn!("job '{job}': {place} holds what is given up, as it is not here: {missing}");
            return Ok(());
        }
        Err(Error::refused(format!(
            "job '{job}' cannot start from {place}: it holds rows that were prepared and not published, and that are not here: {missing}. Start where the output is that belongs to it; take a savepoint with `stop_with_savepoint`, which leaves none; or give those rows up with `Engine::builder().discard_prepared(true)`"
        )))
    }

    fn sink_context(&self, uid: &str, restored: &CheckpointMetadata, attempt: Attempt, place: &str) -> SinkContext {
        SinkContext {
            job: restored.job,
            job_name: self.name.to_string(),
            operator: uid.to_string(),
            attempt,
            restored: restored.checkpoint,
            state_place: place.to_string(),
        }
    }

    /// Claims every two-phase sink's place, publishes what the checkpoint has prepared, and clears away what dead attempts left. To be called
    /// once an attempt before anything runs, with nothing of the attempt before still running. May block.
    pub fn recover_sinks(
        &self,
        checkpoint: &CheckpointMetadata,
        attempt: Attempt,
        place: &str,
        is_first: bool,
    ) -> Result<(), Error> {
        for (uid, sink) in self.sinks() {
            let context = self.sink_context(&uid, checkpoint, attempt, place);
            let claimed = [Point::ClaimBefore, Point::ClaimAfter];
            self.call_sink(&uid, claimed, checkpoint.checkpoint, || sink.claim(&context))?.map_err(|error| {
                let message = format!("job '{}', sink '{uid}' cannot use {}", self.name, sink.place());
                Error::new(no_place(is_first), message, Some(error))
            })?;
            let stored = checkpoint.operators.iter().find(|operator| operator.uid == uid);
            let snapshots = stored.map_or(&[][..], |operator| &operator.subtasks);
            if mutation::is(Mutation::RecoverSkipped) {
                continue;
            }
            let recovered = [Point::RecoverBefore, Point::RecoverAfter];
            let result =
                self.call_sink(&uid, recovered, checkpoint.checkpoint, || sink.recover(&context, snapshots))?;
            result.map_err(|error| match error.downcast::<Error>() {
                Ok(refusal) => *refusal,
                Err(error) => {
                    let output = sink.place();
                    let message = format!("job '{}', sink '{uid}' could not take up its output in {output}", self.name);
                    Error::new(ErrorKind::Operator, message, Some(error))
                }
            })?;
        }
        Ok(())
    }
}

/// Whether a sink has had its place marked for the job. Not at checkpoint 0, nor when the job has just come from a savepoint, or the sink to the job.
fn has_published(checkpoint: &CheckpointMetadata, sink: &str) -> bool {
    let first = checkpoint.origin.map_or(CheckpointId(0), |origin| origin.checkpoint);
    checkpoint.checkpoint > first && checkpoint.operators.iter().any(|operator| operator.uid == sink)
}

/// Takes away what the sink does not have, and says what it was.
fn take_missing(
    sink: &dyn SinkRecovery,
    context: &SinkContext,
    snapshots: &mut [OperatorSnapshot],
) -> Result<Vec<String>, BoxError> {
    let (mut lost, mut begun) = (Vec::new(), 0);
    for snapshot in snapshots {
        let mut found = Vec::new();
        let mut missing = OperatorSnapshot::default();
        for transaction in std::mem::take(&mut snapshot.transactions) {
            let is_here = sink.has_prepared(context, &transaction.bytes)?;
            if is_here { &mut found } else { &mut missing.transactions }.push(transaction);
        }
        snapshot.transactions = found;
        lost.push(missing);
        if !snapshot.state.is_empty() && !sink.has_begun(context, &snapshot.state)? {
            snapshot.state.clear();
            begun += 1;
        }
    }
    let mut texts: Vec<_> = HeldTransactions::by(&context.operator, &lost).iter().map(ToString::to_string).collect();
    if begun > 0 {
        texts.push(format!("sink '{}': what {begun} of its subtasks had begun to write", context.operator));
    }
    Ok(texts)
}

/// What it is that a sink cannot have its place: at a process's first try a refusal, which whoever started the job is told at once; later on, when the same sink has had
/// it before, a failure that may pass.
fn no_place(is_first: bool) -> ErrorKind {
    if is_first { ErrorKind::Refused } else { ErrorKind::Operator }
}
