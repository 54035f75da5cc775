//! The savepoints of a simulated job: real files, written in one step each.

use std::{
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use cofferdam_engine::{
    Error, SavepointId,
    checkpoint::coordinator::SavepointTicket,
    fail_point::FailPoints,
    savepoint::{Pinned, SavepointFile, SavepointInfo, Stamp},
};

#[derive(Default)]
pub(crate) struct Savepoints {
    pub(crate) directory: PathBuf,
    pub(crate) asked: u64,
    pub(crate) written: Vec<SavepointInfo>,
    /// How many there were not to be, or could not be written.
    pub(crate) failed: u32,
}

/// One that is to be written.
pub(crate) struct Export {
    pub(crate) pinned: Pinned,
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
}

impl Savepoints {
    /// The next request's.
    pub(crate) fn ticket(&mut self) -> SavepointTicket {
        self.asked += 1;
        SavepointTicket(self.asked)
    }

    pub(crate) fn export(&self, ticket: SavepointTicket, pinned: Pinned) -> Export {
        Export { pinned, path: self.directory.join(format!("savepoint-{}", ticket.0)), number: ticket.0 }
    }

    /// That of a job that has published everything and stopped.
    pub(crate) fn last(&mut self, pinned: Pinned, path: PathBuf) -> Export {
        Export { pinned: pinned.published(), path, number: self.ticket().0 }
    }

    pub(crate) fn take(&mut self, result: Result<SavepointInfo, Error>) {
        match result {
            Ok(info) => self.written.push(info),
            Err(_) => self.failed += 1,
        }
    }
}

impl Export {
    pub(crate) fn run(self, fail_points: &FailPoints) -> Result<SavepointInfo, Error> {
        let stamp = Stamp { id: SavepointId(self.number.into()), written: UNIX_EPOCH + Duration::from_secs(1) };
        self.pinned.export(SavepointFile::create(self.path)?, stamp, fail_points)
    }
}
