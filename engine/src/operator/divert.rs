//! One record in, one out; a record that fails again and again is let through as what it is. See `docs/decisions/0008`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    codec::encode,
    error::{BoxError, Error, in_one_line, is_not_retryable},
    failed_records::{FailedRecords, RecordId},
    id::CheckpointId,
    operator::{OpenContext, Operator, RecordError, Stateful, Step, StepError, StepPanic},
    panic_site::{self, running},
    slice::{Flow, Slice, Stop},
    topology::graph::StepIndex,
};

/// A record that the job went on without: what [`try_map_or_divert`](crate::topology::Stream::try_map_or_divert) gives for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Diverted<In> {
    /// The record.
    pub record: In,
    /// What it failed with the last time: the error and its causes, or the panic's message.
    pub error: String,
    /// How often it failed, the last time included: once more than the job restarted for it.
    pub failures: u32,
}

/// Why a record failed.
enum Failure {
    Error(BoxError),
    Panic(String),
}

/// See [`try_map_or_divert`](crate::topology::Stream::try_map_or_divert).
pub struct Divert<U, F> {
    step: StepIndex,
    address: Arc<str>,
    upstream: U,
    restarts: u32,
    function: F,
    /// What a panic leaves of `function` may be broken.
    unbroken: F,
    failed_records: Arc<FailedRecords>,
    restored: CheckpointId,
}

impl<U: Operator, F: Clone> Divert<U, F> {
    /// Diverts what has failed `restarts` times before.
    pub(crate) fn new(step: StepIndex, address: Arc<str>, upstream: U, restarts: u32, function: F) -> Self {
        Self {
            step,
            address,
            upstream,
            restarts,
            unbroken: function.clone(),
            function,
            failed_records: Arc::default(),
            restored: CheckpointId(0),
        }
    }

    /// Diverts a record that has failed often enough; an error fails the attempt.
    fn judge(&mut self, record: U::Out, failure: Failure) -> Result<Diverted<U::Out>, Stop>
    where
        U::Out: Serialize,
    {
        if let Failure::Panic(_) = failure {
            self.function = self.unbroken.clone();
        }
        let id = self.identify(&record);
        let before = id.map_or(0, |id| self.failed_records.times(&id, self.restored));
        let is_hopeless = matches!(&failure, Failure::Error(error) if is_not_retryable(error.as_ref()));
        if before >= self.restarts && !is_hopeless {
            let error = match failure {
                Failure::Error(error) => in_one_line(error.as_ref()),
                Failure::Panic(message) => format!("panicked: {message}"),
            };
            return Ok(Diverted { record, error, failures: before.saturating_add(1) });
        }
        let step = self.step;
        let cause: BoxError = match failure {
            Failure::Error(cause) => Box::new(StepError { step, cause }),
            Failure::Panic(message) => Box::new(StepPanic { step, message }),
        };
        Err(Stop::Failed(match id {
            Some(record) => Box::new(RecordError { record, cause }),
            None => cause,
        }))
    }

    /// Which record it is: by its place, if the source can tell it, else by its content. One that cannot be encoded is nothing that could be found again.
    fn identify(&mut self, record: &U::Out) -> Option<RecordId>
    where
        U::Out: Serialize,
    {
        let position = self.upstream.source_position().and_then(Result::ok);
        let content = if position.is_some() { Vec::new() } else { encode(record).ok()? };
        Some(RecordId::new(&self.address, position.as_deref(), &content))
    }
}

impl<U: Operator, F: Send> Stateful for Divert<U, F> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.failed_records = context.failed_records.clone();
        self.restored = context.restored.checkpoint;
        Ok(())
    }
}

impl<U: Operator, F: Send> Step for Divert<U, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F, T, E> Operator for Divert<U, F>
where
    U: Operator<Out: Serialize>,
    F: FnMut(&U::Out) -> Result<T, E> + Clone + Send + 'static,
    E: Into<BoxError> + 'static,
    T: 'static,
{
    type Out = Result<T, Diverted<U::Out>>;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, Self::Out, U::Time) -> Flow,
    {
        loop {
            let mut failed = None;
            let Self { step, upstream, function, .. } = self;
            let flow = upstream.drive(slice, &mut |slice, record, time| {
                let failure = match panic_site::catch(|| running(*step, || function(&record))) {
                    Ok(Ok(out)) => return sink(slice, Ok(out), time),
                    Ok(Err(error)) => Failure::Error(error.into()),
                    Err((_, message)) => Failure::Panic(message),
                };
                // Where the record is from can be asked once the source has let go of it.
                failed = Some((record, time, failure));
                Err(Stop::Yield)
            });
            let Some((record, time, failure)) = failed else { return flow };
            let diverted = self.judge(record, failure)?;
            sink(slice, Err(diverted), time)?;
        }
    }
}
