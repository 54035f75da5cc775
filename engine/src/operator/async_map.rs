//! Asks the outside about each record, and gives on what it answers. See `docs/decisions/0023`.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use crate::{
    checkpoint::snapshot::OperatorSnapshot,
    codec::encode,
    element::Watermark,
    error::{BoxError, Error, in_one_line, is_not_retryable},
    id::ProcessingTime,
    mutation::{self, Mutation},
    operator::{
        Input, OpenContext, Operator, SnapshotBuilder, Stateful, Step, StepError, StepPanic,
        divert::Diverted,
        requests::{Alarm, Requests},
    },
    panic_site::{self, running},
    record::Record,
    request::{Inbox, Refusal, RequestId},
    slice::{Flow, Slice, Stop},
    state::{
        self, DeclaredState,
        descriptor::{Elements, StateDescriptor},
        operator_states::{self, OperatorStates, StoredStates},
    },
    subtask::SubtaskEffect,
    time::{Stamp, Stamped},
    topology::{async_map::AsyncConfig, graph::StepIndex},
};

/// What becomes of a record whose last try has failed.
pub trait OnFailure<T, R>: Send + 'static {
    /// What is kept until it leaves.
    type Answer: Send + 'static;
    /// What leaves.
    type Out: Send + 'static;

    #[doc(hidden)]
    fn answered(answer: R) -> Self::Answer;
    #[doc(hidden)]
    fn failed(refusal: Failed) -> Result<Self::Answer, Failed>;
    #[doc(hidden)]
    fn give(record: T, tries: u32, answer: Self::Answer) -> Self::Out;
}

/// Why the last try has failed.
pub struct Failed(Refusal);

/// It fails the attempt.
pub struct FailAttempt;

impl<T, R: Send + 'static> OnFailure<T, R> for FailAttempt {
    type Answer = R;
    type Out = R;

    fn answered(answer: R) -> R {
        answer
    }

    fn failed(refusal: Failed) -> Result<R, Failed> {
        Err(refusal)
    }

    fn give(_: T, _: u32, answer: R) -> R {
        answer
    }
}

/// It is diverted.
pub struct DivertRecord;

impl<T: Send + 'static, R: Send + 'static> OnFailure<T, R> for DivertRecord {
    type Answer = Result<R, String>;
    type Out = Result<R, Diverted<T>>;

    fn answered(answer: R) -> Self::Answer {
        Ok(answer)
    }

    fn failed(Failed(refusal): Failed) -> Result<Self::Answer, Failed> {
        match refusal {
            Refusal::Error(error) if is_not_retryable(error.as_ref()) => Err(Failed(Refusal::Error(error))),
            Refusal::Error(error) => Ok(Err(in_one_line(error.as_ref()))),
            Refusal::Panic(message) => Ok(Err(format!("panicked: {message}"))),
        }
    }

    fn give(record: T, tries: u32, answer: Self::Answer) -> Self::Out {
        answer.map_err(|error| Diverted { record, error, failures: tries })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {}", humantime::format_duration(*.0))]
struct TimedOut(Duration);

#[derive(Debug, thiserror::Error)]
#[error("failed {tries} times, the last time")]
struct FailedAgain {
    tries: u32,
    #[source]
    cause: BoxError,
}

/// See [`map_async`](crate::topology::Stream::map_async). What it is fed it takes in, and keeps each record until its answer has left.
pub struct AsyncMap<T, Z, F, R, J: OnFailure<T, R>> {
    step: StepIndex,
    uid: Arc<str>,
    input: Input<T, Z>,
    config: AsyncConfig,
    function: F,
    requests: Requests<Stamped<T, Z>, J::Answer>,
    inbox: Arc<Inbox<R>>,
    /// Answers being taken from there: empty but within a call.
    taken: Vec<(RequestId, Result<R, Refusal>)>,
    /// There is something in the inbox.
    has_answers: bool,
    /// For the driver.
    effects: Vec<SubtaskEffect>,
    judge: PhantomData<fn() -> J>,
}

/// What the records are kept as.
pub(crate) fn declared<T: Record, Z: Stamp>() -> Vec<DeclaredState> {
    descriptor::<T, Z>().declared()
}

fn descriptor<T: Record, Z: Stamp>() -> StateDescriptor<Elements, Stamped<T, Z>> {
    state::list("asked")
}

impl<T, Z, F, R, J> AsyncMap<T, Z, F, R, J>
where
    T: Record + Clone,
    Z: Stamp,
    R: Send + 'static,
    J: OnFailure<T, R>,
{
    pub(crate) fn new(step: StepIndex, uid: Arc<str>, input: Input<T, Z>, config: AsyncConfig, function: F) -> Self {
        Self {
            step,
            uid,
            input,
            requests: Requests::new(config.is_ordered, config.capacity),
            config,
            function,
            inbox: Inbox::new(),
            taken: Vec::new(),
            has_answers: false,
            effects: Vec::new(),
            judge: PhantomData,
        }
    }

    /// Does what answers and the clock have made due.
    fn settle<U, E>(&mut self, now: ProcessingTime) -> Result<(), Stop>
    where
        F: FnMut(T) -> U,
        U: Future<Output = Result<R, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        if std::mem::take(&mut self.has_answers) {
            let mut taken = std::mem::take(&mut self.taken);
            self.inbox.take(&mut taken);
            for (id, answer) in taken.drain(..) {
                self.answered_by(id, answer, now)?;
            }
            self.taken = taken;
        }
        while let Some(alarm) = self.requests.take_alarm(now) {
            match alarm {
                Alarm::TimedOut(number, tries) => {
                    self.effects.push(SubtaskEffect::Forget(RequestId::new(self.step, number, tries)));
                    let after = self.config.timeout.unwrap_or_default();
                    self.refused(number, tries, Refusal::Error(Box::new(TimedOut(after))), now)?;
                }
                Alarm::Rested(number) => self.ask(number, now),
            }
        }
        Ok(())
    }

    fn answered_by(&mut self, id: RequestId, answer: Result<R, Refusal>, now: ProcessingTime) -> Result<(), Stop> {
        // A try that was given up may have come to something all the same.
        if !self.requests.is_asked(id.number, id.tries) {
            return Ok(());
        }
        match answer {
            Ok(answer) => self.requests.answer(id.number, J::answered(answer)),
            Err(refusal) => self.refused(id.number, id.tries, refusal, now)?,
        }
        Ok(())
    }

    /// A try has failed.
    fn refused(&mut self, number: u64, tries: u32, refusal: Refusal, now: ProcessingTime) -> Result<(), Stop> {
        let is_hopeless = matches!(&refusal, Refusal::Error(error) if is_not_retryable(error.as_ref()));
        if tries <= self.config.retries && !is_hopeless {
            self.requests.rest(number, now.after(self.config.backoff.pause(tries)));
            return Ok(());
        }
        match J::failed(Failed(refusal)) {
            Ok(answer) => {
                self.requests.answer(number, answer);
                Ok(())
            }
            Err(Failed(refusal)) => Err(self.failure(tries, refusal)),
        }
    }

    fn failure(&self, tries: u32, refusal: Refusal) -> Stop {
        let step = self.step;
        match refusal {
            Refusal::Error(cause) if tries > 1 => StepError::stop(step, Box::new(FailedAgain { tries, cause })),
            Refusal::Error(cause) => StepError::stop(step, cause),
            Refusal::Panic(message) => Stop::Failed(Box::new(StepPanic { step, message })),
        }
    }

    fn ask<U, E>(&mut self, number: u64, now: ProcessingTime)
    where
        F: FnMut(T) -> U,
        U: Future<Output = Result<R, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let Self { step, config, function, requests, inbox, effects, .. } = self;
        let until = config.timeout.map(|timeout| now.after(timeout));
        let Some((stamped, tries)) = requests.ask(number, until) else { return };
        let id = RequestId::new(*step, number, tries);
        let made = panic_site::catch(|| running(*step, || function(stamped.record.clone())));
        let future = async move {
            match made {
                Ok(future) => future.await,
                // As if the future had: a failed try.
                Err((_, message)) => std::panic::resume_unwind(Box::new(message)),
            }
        };
        effects.push(SubtaskEffect::Ask(id, inbox.asking(id, future)));
    }
}

impl<T, Z, F, R, J> Stateful for AsyncMap<T, Z, F, R, J>
where
    T: Record + Clone,
    Z: Stamp,
    F: Send,
    R: Send + 'static,
    J: OnFailure<T, R>,
{
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let stored = descriptor::<T, Z>().restore(&StoredStates::of(&self.uid, context)?)?;
        if !mutation::is(Mutation::AskedNotRestored) {
            stored.into_iter().for_each(|stamped| self.requests.push(stamped));
        }
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let records = self.requests.records().map(|stamped| (&(), stamped));
        let step = self.step;
        let saved = operator_states::save(&descriptor::<T, Z>(), records).map_err(|cause| StepError { step, cause })?;
        let own = OperatorSnapshot { state: encode(&[saved])?, transactions: Vec::new() };
        snapshot.operators.push((self.uid.to_string(), own));
        Ok(())
    }
}

impl<T, Z, F, R, J> Step for AsyncMap<T, Z, F, R, J>
where
    T: Record + Clone,
    Z: Stamp,
    F: Send,
    R: Send + 'static,
    J: OnFailure<T, R>,
{
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.input)
    }

    fn watermark(&mut self, head: Watermark, _: &Slice<'_>) -> Watermark {
        self.requests.watermark(head)
    }

    fn moves_time(&mut self) -> bool {
        true
    }

    fn has_due(&mut self) -> bool {
        self.has_answers || self.requests.to_leave().is_some() || self.requests.to_ask().is_some()
    }

    fn holds_records(&mut self) -> bool {
        self.has_due()
    }

    fn asks(&mut self) -> bool {
        true
    }

    fn take_requests(&mut self, effects: &mut Vec<SubtaskEffect>) {
        effects.append(&mut self.effects);
    }

    fn answered(&mut self, request: RequestId) {
        self.has_answers |= request.is_of(self.step);
    }

    fn is_pending(&mut self) -> bool {
        !self.requests.is_empty()
    }

    fn is_full(&mut self) -> bool {
        self.requests.is_full()
    }

    fn wake_at(&mut self) -> Option<ProcessingTime> {
        self.requests.first_alarm()
    }
}

impl<T, Z, F, U, R, E, J> Operator for AsyncMap<T, Z, F, R, J>
where
    T: Record + Clone,
    Z: Stamp,
    F: FnMut(T) -> U + Send + 'static,
    U: Future<Output = Result<R, E>> + Send + 'static,
    R: Send + 'static,
    E: Into<BoxError> + 'static,
    J: OnFailure<T, R>,
{
    type Out = J::Out;
    type Time = Z;

    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, J::Out, Z) -> Flow,
    {
        self.settle(slice.now())?;
        while self.requests.to_leave().is_some() {
            slice.take(1)?;
            if let Some((Stamped { record, time }, tries, answer)) = self.requests.leave() {
                sink(slice, J::give(record, tries, answer), time)?;
            }
        }
        while !self.input.ahead().is_empty() {
            for _ in 0..slice.take(self.input.ahead().len())? {
                self.input.next().into_iter().for_each(|stamped| self.requests.push(stamped));
            }
        }
        while let Some(number) = self.requests.to_ask() {
            slice.take(1)?;
            self.ask(number, slice.now());
        }
        Ok(())
    }
}
