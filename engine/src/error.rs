//! What went wrong, where, and what to do.

use std::{fmt, sync::Arc};

use crate::{
    checkpoint::store::StoreError, failed_records::RecordId, id::SubtaskIndex, topology::fault::TopologyError,
};

/// An error of user code: of a source, a sink, or a step.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a job could not start, or ended before it was finished. Cheap to clone; `source()` leads to the cause.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    location: Option<Location>,
    /// The record that failed, where a step that diverts records knows it.
    record: Option<RecordId>,
    cause: Option<BoxError>,
}

/// What sort of thing an [`Error`] is, for callers that branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The topology or the settings cannot run. Nothing was touched.
    InvalidTopology,
    /// The state, or a sink's place, is not this job's to continue from: damaged, foreign, newer, in use.
    Refused,
    /// A step, a source or a sink returned an error.
    Operator,
    /// User code panicked.
    Panic,
    /// The checkpoint store failed.
    Store,
    /// A checkpoint could not be stored, for want of room as a rule, and nothing has changed. The job goes on without it.
    NotStored,
    /// A savepoint could not be taken. The job is none the worse.
    Savepoint,
    /// The host cancelled the job, or its runtime went away.
    Cancelled,
}

/// Where in a job something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The job's name.
    pub job: String,
    /// The step's name, or the names of the chain's steps.
    pub operator: String,
    /// Which parallel instance.
    pub subtask: SubtaskIndex,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job '{}', operator '{}', subtask {}", self.job, self.operator, self.subtask)
    }
}

impl Error {
    /// An error with a message that says what to do, and its cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>, cause: Option<BoxError>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), location: None, record: None, cause }))
    }

    /// Something must not be continued from: `message` says why and what to do.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message, None)
    }

    /// A step, source or sink of the user's failed at `location`; or it is its state that must not be continued from.
    pub fn operator(location: &Location, cause: BoxError) -> Self {
        let is_refusal = cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_refusal);
        let kind = if is_refusal { ErrorKind::Refused } else { ErrorKind::Operator };
        Self::at(kind, location, format!("{location} failed"), Some(cause))
    }

    /// User code panicked with `message` at `location`.
    pub fn panic(location: &Location, message: &str) -> Self {
        Self::at(ErrorKind::Panic, location, format!("{location} panicked: {message}"), None)
    }

    fn at(kind: ErrorKind, location: &Location, message: String, cause: Option<BoxError>) -> Self {
        Self(Arc::new(Inner { kind, message, location: Some(location.clone()), record: None, cause }))
    }

    /// The same, and which record it was. Only for an error that nobody else has yet.
    pub(crate) fn with_record(mut self, record: RecordId) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.record = Some(record);
        }
        self
    }

    /// The same, which `restarts` restarts did not help; it is the cause of what is returned.
    pub(crate) fn after_restarts(self, restarts: u32) -> Self {
        let plural = if restarts == 1 { "" } else { "s" };
        let (kind, location, record) = (self.kind(), self.0.location.clone(), self.0.record);
        let message = format!("given up after {restarts} restart{plural}");
        Self(Arc::new(Inner { kind, message, location, record, cause: Some(Box::new(self)) }))
    }

    /// Where in the job it happened, if it was in a step, a source or a sink at work.
    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    pub(crate) fn record(&self) -> Option<RecordId> {
        self.0.record
    }

    /// Whether another attempt may help: not if the state must not be continued from, nor if the cause is [`NotRetryable`].
    pub fn is_retryable(&self) -> bool {
        self.kind() != ErrorKind::Refused && !is_not_retryable(self)
    }

    /// What sort of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    /// The message and every cause behind it, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        write_causes(self, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// Marks an error of user code as one that no restart can help: the job ends at once, whatever its [`RestartStrategy`](crate::RestartStrategy). Works wherever
/// user code returns an error (in `try_map`, in sources, in sinks), and also when other errors have it for a cause.
///
/// ```
/// use cofferdam_engine::{BoxError, NotRetryable};
///
/// fn parse(line: String) -> Result<u64, BoxError> {
///     // The line will read the same tomorrow.
///     Ok(line.parse().map_err(NotRetryable::new)?)
/// }
///
/// assert_eq!(parse("x".to_string()).unwrap_err().to_string(), "not to be retried");
/// ```
#[derive(Debug)]
pub struct NotRetryable(BoxError);

impl NotRetryable {
    /// Marks `cause`, which stays in the chain of causes.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for NotRetryable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not to be retried")
    }
}

impl std::error::Error for NotRetryable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Whether `error`, or any cause of it, is marked as [`NotRetryable`].
pub(crate) fn is_not_retryable(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error was made of is not among its causes.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<NotRetryable>() || inner.is_some_and(|inner| is_not_retryable(inner)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error and every cause behind it, in one line.
pub(crate) fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    if !error.is::<Error>() {
        // Writing to a string cannot fail.
        let _ = write_causes(error, &mut text);
    }
    text
}

fn write_causes(error: &(dyn std::error::Error + 'static), to: &mut impl fmt::Write) -> fmt::Result {
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(to, ": {error}")?;
        // An error of ours has written its own.
        cause = if error.is::<Error>() { None } else { error.source() };
    }
    Ok(())
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = if error.is_refusal() { ErrorKind::Refused } else { ErrorKind::Store };
        Self::new(kind, error.message.clone(), error.cause)
    }
}

impl From<TopologyError> for Error {
    fn from(error: TopologyError) -> Self {
        Self::new(ErrorKind::InvalidTopology, error.to_string(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> Location {
        Location { job: "job".to_string(), operator: "step".to_string(), subtask: SubtaskIndex(1) }
    }

    #[test]
    fn the_mark_is_found_anywhere_in_the_chain_of_causes() {
        let marked = || NotRetryable::new("no such customer");
        let causes: [BoxError; 4] = [
            Box::new(marked()),
            Box::new(NotRetryable::new(marked())),
            Box::new(Error::new(ErrorKind::Store, "outer", Some(Box::new(marked())))),
            Box::new(std::io::Error::other(marked())),
        ];
        for cause in causes {
            let error = Error::operator(&location(), cause);
            assert!(!error.is_retryable(), "{error}");
            assert!(!error.after_restarts(3).is_retryable());
        }
        for cause in ["plain".into(), Box::new(std::io::Error::other("plain")) as BoxError] {
            assert!(Error::operator(&location(), cause).is_retryable());
        }
        assert!(!Error::refused("foreign").is_retryable());
    }

    #[test]
    fn a_marked_error_keeps_its_causes() {
        let error = Error::operator(&location(), Box::new(NotRetryable::new("no such customer")));
        assert_eq!(
            error.to_string(),
            "job 'job', operator 'step', subtask 1 failed: not to be retried: no such customer"
        );
    }

    #[test]
    fn giving_up_says_so_and_keeps_kind_place_and_causes() {
        let error = Error::panic(&location(), "ouch").after_restarts(1);
        assert_eq!(error.to_string(), "given up after 1 restart: job 'job', operator 'step', subtask 1 panicked: ouch");
        assert_eq!((error.kind(), error.location()), (ErrorKind::Panic, Some(&location())));
        let error = Error::operator(&location(), "ouch".into()).after_restarts(2);
        assert_eq!(
            error.to_string(),
            "given up after 2 restarts: job 'job', operator 'step', subtask 1 failed: ouch",
            "each cause once"
        );
    }
}
