//! The open environment, shared by the store and its readers.
//!
//! ```text
//! read, write   hold `slot` shared      LMDB lets one writer and any number of readers work at once
//! grow, close   hold `slot` alone       nobody is in the map when it goes
//! ```
//! The slot holds all that must go together and in order: environment, the descriptor beside it, lock. A full map is closed and opened again at twice the size, between transactions: resizing it in place would pull it from under
//! readers. A reader that outlives the store finds the slot empty.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use cofferdam_engine::checkpoint::store::{StoreError, StoreErrorKind};
use heed::{MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::RwLock;

use super::{
    env::{self, Env},
    fault,
    layout::Databases,
    lock_file::LockFile,
};

/// What the map's size must be a multiple of: more than any page.
const MAP_STEP: u64 = 1 << 20;

/// See the module.
pub(super) struct Environment {
    pub(super) directory: PathBuf,
    slot: RwLock<Option<Open>>,
}

/// Dropped from top to bottom.
struct Open {
    databases: Databases,
    env: Env,
    place: Place,
    map_size: usize,
}

/// What the environment is opened in.
pub(super) struct Place {
    /// `data.mdb`, for its meta pages. Opened before the environment and closed after it.
    pub(super) data: File,
    pub(super) lock: LockFile,
}

/// Why a transaction was not committed.
pub(super) enum Failure {
    /// LMDB says no.
    Lmdb(heed::Error),
    /// We do.
    Refused(StoreError),
}

impl From<heed::Error> for Failure {
    fn from(error: heed::Error) -> Self {
        Self::Lmdb(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Environment {
    /// Opens the environment, and gives `initialize` its chance to create the databases; those must be there afterwards.
    pub(super) fn open(
        directory: PathBuf,
        place: Place,
        map_size: u64,
        initialize: impl FnOnce(&Env, &File) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let (env, map_size) = open_env(&directory, &place.lock, round(map_size))?;
        env.clear_stale_readers().map_err(|cause| fault::lmdb(&directory, "clear stale readers", cause))?;
        settle(&env).map_err(|cause| fault::lmdb(&directory, "begin to write", cause))?;
        initialize(&env, &place.data)?;
        let open = Open::of(&directory, env, place, map_size)?;
        Ok(Self { directory, slot: RwLock::new(Some(open)) })
    }

    /// Reads `data.mdb` past LMDB.
    pub(super) fn inspect<R>(&self, body: impl FnOnce(&File) -> io::Result<R>) -> Result<R, StoreError> {
        let slot = self.slot.read_recursive();
        let open = slot.as_ref().ok_or_else(|| self.closed())?;
        body(&open.place.data).map_err(|cause| fault::io(&self.directory, "read data.mdb", cause))
    }

    /// Runs `body` in a read transaction.
    pub(super) fn read<R>(
        &self,
        body: impl FnOnce(&RoTxn<'_, WithoutTls>, &Databases) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        // Recursive: a visitor may read another state while somebody waits to grow the map.
        let slot = self.slot.read_recursive();
        let open = slot.as_ref().ok_or_else(|| self.closed())?;
        let transaction = open.env.read_txn().map_err(|cause| fault::lmdb(&self.directory, "begin to read", cause))?;
        body(&transaction, &open.databases)
    }

    /// Runs `body` in a read transaction. Does not keep those waiting who wait to grow the map: there may always be somebody who looks a key up.
    pub(super) fn look_up<R>(
        &self,
        body: impl FnOnce(&RoTxn<'_, WithoutTls>, &Databases) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let slot = self.slot.read();
        let open = slot.as_ref().ok_or_else(|| self.closed())?;
        let transaction = open.env.read_txn().map_err(|cause| fault::lmdb(&self.directory, "begin to read", cause))?;
        body(&transaction, &open.databases)
    }

    /// Runs `body` in a write transaction and commits it. Grows the map and starts over when that is full.
    pub(super) fn write<R>(
        &self,
        body: impl Fn(&mut RwTxn<'_>, &Databases) -> Result<R, Failure>,
    ) -> Result<R, StoreError> {
        loop {
            match self.try_write(&body) {
                Ok(result) => return Ok(result),
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Lmdb(heed::Error::Mdb(MdbError::MapFull))) => self.grow()?,
                Err(Failure::Lmdb(cause)) => return Err(fault::commit(&self.directory, cause)),
            }
        }
    }

    fn try_write<R>(&self, body: impl Fn(&mut RwTxn<'_>, &Databases) -> Result<R, Failure>) -> Result<R, Failure> {
        let slot = self.slot.read_recursive();
        let open = slot.as_ref().ok_or_else(|| self.closed())?;
        // A process that was killed while it looked at the directory would keep pages from being used again.
        open.env.clear_stale_readers()?;
        let mut transaction = open.env.write_txn()?;
        let result = body(&mut transaction, &open.databases)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Whether a write transaction can begin, and `check` holds in it.
    pub(super) fn is_fit_to_write(
        &self,
        check: impl FnOnce(&mut RwTxn<'_>, &Databases) -> Result<(), Failure>,
    ) -> bool {
        let slot = self.slot.read_recursive();
        let Some(open) = slot.as_ref() else { return false };
        open.env.write_txn().is_ok_and(|mut transaction| check(&mut transaction, &open.databases).is_ok())
    }

    fn grow(&self) -> Result<(), StoreError> {
        let mut slot = self.slot.write();
        let Open { env, place, map_size, .. } = slot.take().ok_or_else(|| self.closed())?;
        let doubled = map_size.checked_mul(2).ok_or_else(|| self.too_large(map_size))?;
        log::info!("{}: state outgrew its map of {map_size} bytes, doubling it", self.directory.display());
        // The same directory cannot be open twice in a process.
        drop(env);
        let env = env::open(&self.directory, &place.lock, doubled)
            .map_err(|cause| fault::lmdb(&self.directory, format!("map {doubled} bytes"), cause))?;
        *slot = Some(Open::of(&self.directory, env, place, doubled)?);
        Ok(())
    }

    /// Closes the environment once nobody reads, and returns the lock. Readers find that out by an error.
    pub(super) fn close(&self) -> Option<LockFile> {
        let Open { env, place, .. } = self.slot.write().take()?;
        drop(env);
        Some(place.lock)
    }

    fn closed(&self) -> StoreError {
        let message = format!("the store of {} was closed; open it again", self.directory.display());
        StoreError::new(StoreErrorKind::Io, message, None)
    }

    fn too_large(&self, map_size: usize) -> StoreError {
        let message = format!("state in {} outgrew the address space: {map_size} bytes", self.directory.display());
        StoreError::new(StoreErrorKind::Io, message, None)
    }
}

impl Open {
    fn of(directory: &Path, env: Env, place: Place, map_size: usize) -> Result<Self, StoreError> {
        let databases = Databases::open(&env).map_err(|cause| fault::lmdb(directory, "open the databases", cause))?;
        let databases = databases.ok_or_else(|| fault::ruined(directory, "data.mdb lacks a database"))?;
        Ok(Self { databases, env, place, map_size })
    }
}

/// Has LMDB agree with itself: an owner that was killed between its meta page and the number in `lock.mdb` leaves the two apart, if somebody who looks keeps `lock.mdb` alive. Then reads
/// would begin a transaction behind the writes. A write transaction that begins puts the number right.
fn settle(env: &Env) -> heed::Result<()> {
    env.write_txn().map(RwTxn::abort)
}

/// Opens the environment with the largest map up to `map_size` that the process may have.
fn open_env(directory: &Path, lock: &LockFile, mut map_size: usize) -> Result<(Env, usize), StoreError> {
    loop {
        match env::open(directory, lock, map_size) {
            Ok(env) => return Ok((env, map_size)),
            Err(heed::Error::Io(cause))
                if cause.kind() == io::ErrorKind::OutOfMemory && map_size > MAP_STEP as usize =>
            {
                map_size = round(map_size as u64 / 2);
            }
            Err(heed::Error::Io(cause)) if cause.kind() == io::ErrorKind::PermissionDenied => {
                return Err(fault::io(directory, "open both data.mdb and lock.mdb for reading and writing", cause));
            }
            Err(cause) => return Err(fault::lmdb(directory, "open the environment", cause)),
        }
    }
}

pub(super) fn round(map_size: u64) -> usize {
    let rounded = map_size.max(1).checked_next_multiple_of(MAP_STEP).unwrap_or(u64::MAX - MAP_STEP + 1);
    usize::try_from(rounded).unwrap_or(usize::MAX - MAP_STEP as usize + 1)
}
