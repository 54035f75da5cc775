//! Why the command fails: what sort of thing it is, which is its exit code, and what is told.

use std::{error::Error, fmt, io, process::ExitCode};

use cofferdam_engine::checkpoint::store::{StoreError, StoreErrorKind};
use serde_json::{Value, json};

use crate::output::{self, chain};

/// What sort of failure it is. Names and codes do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The disk, the network, rights: what lies below.
    Failed,
    /// It was asked wrongly.
    Usage,
    /// What is stored is not whole.
    Damaged,
    /// It could be done, and is not: a job has the place open, another word is needed, another version wrote it.
    Refused,
    /// Nothing of the sort is there.
    NotFound,
    /// It was there, and the job has dropped it meanwhile.
    Dropped,
    /// Whoever read has read enough.
    ClosedPipe,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Failed | Self::ClosedPipe => "failed",
            Self::Usage => "usage",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::NotFound | Self::Dropped => "not_found",
        }
    }

    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Damaged => 3,
            Self::Refused => 4,
            Self::NotFound | Self::Dropped => 5,
        }
    }
}

/// Told on standard error.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    message: String,
}

impl Failure {
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(Kind::Refused, message)
    }

    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// What another process of the command has told, with `--json`.
    pub fn told(stderr: &[u8]) -> Self {
        let error = serde_json::from_slice::<Value>(stderr).unwrap_or_default();
        let told = |kind: &Kind| error["error"]["kind"] == kind.name();
        let kinds = [Kind::Damaged, Kind::Refused, Kind::NotFound, Kind::Usage];
        let message = error["error"]["message"].as_str().map(str::to_owned);
        let message = message.unwrap_or_else(|| format!("it failed: {}", String::from_utf8_lossy(stderr).trim_end()));
        Self { kind: kinds.into_iter().find(told).unwrap_or(Kind::Failed), message }
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells it, and ends with its code.
    pub fn tell(&self, json: bool) -> ExitCode {
        let Self { kind, message } = self;
        match (kind, json) {
            (Kind::ClosedPipe, _) => {}
            (_, true) => {
                let error = json!({ "kind": kind.name(), "code": kind.code(), "message": message });
                output::complain(json!({ "error": error }));
            }
            (_, false) => output::complain(format_args!("cofferdam: {message}")),
        }
        ExitCode::from(kind.code())
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { kind: kind(&error), message: chain(&error) }
    }
}

/// What an error and its causes say.
fn kind(error: &(dyn Error + 'static)) -> Kind {
    if let Some(error) = error.downcast_ref::<StoreError>() {
        match error.kind {
            StoreErrorKind::Damaged => return Kind::Damaged,
            StoreErrorKind::InUse | StoreErrorKind::Fenced | StoreErrorKind::Newer | StoreErrorKind::Older => {
                return Kind::Refused;
            }
            StoreErrorKind::NotRetained => return Kind::Dropped,
            StoreErrorKind::Foreign => return Kind::NotFound,
            // Its cause says more.
            _ => {}
        }
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Kind::NotFound,
            io::ErrorKind::BrokenPipe => return Kind::ClosedPipe,
            _ => {}
        }
    }
    error.source().map_or(Kind::Failed, kind)
}
