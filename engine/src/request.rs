//! What a step asks of the outside: a future, on its way to whoever polls it, and the way back of its answer.

use std::{
    fmt, future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{error::BoxError, panic_site, topology::graph::StepIndex};

/// Which request of a subtask, and which try of it. Never used twice within an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    step: u32,
    pub(crate) number: u64,
    /// The how manieth try, from 1.
    pub(crate) tries: u32,
}

impl RequestId {
    pub(crate) fn new(step: StepIndex, number: u64, tries: u32) -> Self {
        Self { step: step.0, number, tries }
    }

    /// Whether a step has asked this.
    pub(crate) fn is_of(self, step: StepIndex) -> bool {
        self.step == step.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.step, self.number, self.tries)
    }
}

/// A request under way: to be polled until it is ready, and dropped when it is to be forgotten. It never panics, but by what its owner's destructors do.
pub type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a try came to, if not to an answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    Error(BoxError),
    Panic(String),
}

/// Where the answers to a step's requests wait for the step.
pub(crate) struct Inbox<R>(Mutex<Vec<(RequestId, Result<R, Refusal>)>>);

impl<R: Send + 'static> Inbox<R> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    /// `future`, which ends by putting what it came to here.
    pub(crate) fn asking<E: Into<BoxError>>(
        self: &Arc<Self>,
        id: RequestId,
        future: impl Future<Output = Result<R, E>> + Send + 'static,
    ) -> Request {
        let inbox = self.clone();
        Box::pin(async move {
            let answer = caught(future).await;
            inbox.0.lock().unwrap_or_else(PoisonError::into_inner).push((id, answer));
        })
    }

    /// Takes all of them; `into` is empty.
    pub(crate) fn take(&self, into: &mut Vec<(RequestId, Result<R, Refusal>)>) {
        std::mem::swap(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}

/// What `future` gives; a panic while it is polled, or dropped at its end, is what it came to.
async fn caught<R, E: Into<BoxError>>(future: impl Future<Output = Result<R, E>>) -> Result<R, Refusal> {
    let mut future = std::pin::pin!(Some(future));
    future::poll_fn(|task| {
        let polled = panic_site::catch(|| {
            let polled = future.as_mut().as_pin_mut().map(|future| future.poll(task));
            if polled.as_ref().is_some_and(std::task::Poll::is_ready) {
                future.set(None);
            }
            polled
        });
        match polled {
            Ok(Some(polled)) => polled.map(|answer| answer.map_err(|error| Refusal::Error(error.into()))),
            Ok(None) => unreachable!("nobody polls what is ready"),
            Err((_, message)) => std::task::Poll::Ready(Err(Refusal::Panic(message))),
        }
    })
    .await
}
