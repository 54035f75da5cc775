//! Errors that name the file they are about.

use std::{fmt, io, path::Path};

use cofferdam_engine::BoxError;

/// What could not be done, with what, and why.
#[derive(Debug)]
struct Failure {
    message: String,
    cause: BoxError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

/// An error with a message and the error that caused it.
pub(super) fn failure(message: impl Into<String>, cause: impl Into<BoxError>) -> BoxError {
    Box::new(Failure { message: message.into(), cause: cause.into() })
}

/// Says which path an I/O error was about.
pub(super) trait AtPath<T> {
    /// `action` continues "cannot ...", and is followed by the path.
    fn at(self, action: &str, path: &Path) -> Result<T, BoxError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &str, path: &Path) -> Result<T, BoxError> {
        self.map_err(|cause| failure(format!("cannot {action} '{}'", path.display()), cause))
    }
}
