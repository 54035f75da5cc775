//! What went wrong, where, and what to do.

use std::{fmt, sync::Arc};

use crate::{checkpoint::store::StoreError, id::SubtaskIndex, topology::fault::TopologyError};

/// An error of user code: of a source, a sink, or a step.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a job could not start, or ended before it was finished. Cheap to clone; `source()` leads to the cause.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
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
    /// The host cancelled the job, or its runtime went away.
    Cancelled,
}

/// Where in a job something happened.
#[derive(Clone, Debug)]
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
        Self(Arc::new(Inner { kind, message: message.into(), cause }))
    }

    /// Something must not be continued from: `message` says why and what to do.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message, None)
    }

    /// A step, source or sink of the user's failed at `location`.
    pub fn operator(location: &Location, cause: BoxError) -> Self {
        Self::new(ErrorKind::Operator, format!("{location} failed"), Some(cause))
    }

    /// User code panicked with `message` at `location`.
    pub fn panic(location: &Location, message: &str) -> Self {
        Self::new(ErrorKind::Panic, format!("{location} panicked: {message}"), None)
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
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
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
