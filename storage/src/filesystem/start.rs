//! What a start makes of the place.
//!
//! | `log/` ends with | `data/` | |
//! |---|---|---|
//! | nothing | nothing | new |
//! | nothing, or a claim of a place never used | something | damaged: roots are lost |
//! | a claim | | what the root says that it names; damaged without that |
//! | a root | | what it says |
//! | an entry that is altered | | damaged |
//!
//! Everything is read before the claim is put, so that a place that is refused is left as it is. A claim goes through only if nobody wrote meanwhile.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cofferdam_engine::checkpoint::store::{StoreError, StoreErrorKind};

use super::{
    entry::{Kept, Root},
    fault,
    log::{self, Found, Log},
    manifest,
    name::{self, Name},
    place::{Listing, Place},
    store::{Owned, Retained, Store},
};
use crate::lmdb::lock_file::LockFile;

/// How often a start looks again when others write at the same time.
const TRIES: u32 = 32;

/// Keeps the other stores of this process, or of this machine, out; as long as it lives.
pub(super) struct Ownership {
    pub(super) local: Option<(PathBuf, LockFile)>,
    pub(super) _in_process: InProcess,
}

/// A backend and its clones are open once.
pub(super) struct InProcess(Arc<AtomicBool>);

impl InProcess {
    /// Where something else keeps others out.
    pub(super) fn none() -> Self {
        Self(Arc::default())
    }

    pub(super) fn acquire(place: &str, flag: &Arc<AtomicBool>) -> Result<Self, StoreError> {
        if flag.swap(true, Ordering::AcqRel) {
            let message = format!("{place} is open already, in this process; give each job a place of its own");
            return Err(StoreError::new(StoreErrorKind::InUse, message, None));
        }
        Ok(Self(flag.clone()))
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Reads what there is, and claims the place.
pub(super) fn open(place: Place, ownership: Ownership) -> Result<Store, StoreError> {
    for _ in 0..TRIES {
        let listing = place.list()?;
        let Some(found) = log::find(&place, &listing)? else { continue };
        if found.newest == 0 && !place.is_local {
            check_empty(&place)?;
        }
        let root = found.root.as_ref().map(|(_, root)| root.clone()).unwrap_or_default();
        let standing = root.standing().ok_or_else(|| fault::ruined(&place.name, "the job's id is unreadable", None))?;
        let retained = root.retained.iter().map(|kept| load(&place, kept)).collect::<Result<Vec<_>, _>>()?;
        let Some((log, listing)) = Log::claim(&place, &found)? else { continue };
        let garbage = place.delete(outdated(&found, &log, &root, &listing));
        let root_at = found.root.map(|(link, _)| link.sequence);
        let owned = Owned { log, root, root_at, standing, retained, garbage };
        return Ok(Store::new(Arc::new(place), ownership, owned));
    }
    let message = format!("{} is claimed by others again and again; stop the other starts of this job", place.name);
    Err(StoreError::new(StoreErrorKind::InUse, message, None))
}

fn check_empty(place: &Place) -> Result<(), StoreError> {
    match place.stranger()? {
        Some(name) => Err(fault::foreign(&place.name, format!("it holds other objects, such as '{name}'"))),
        None => Ok(()),
    }
}

/// What is damaged is found out again when it is asked for; what another version wrote is refused.
fn load(place: &Place, kept: &Kept) -> Result<Retained, StoreError> {
    let catalog = match manifest::read(place, kept) {
        Ok((_, catalog)) => Some(Arc::new(catalog)),
        Err(error) if error.kind == StoreErrorKind::Damaged => None,
        Err(error) => return Err(error),
    };
    Ok(Retained { kept: kept.clone(), catalog })
}

/// What owners before this one have left behind. What came after its claim is its successors'.
fn outdated(found: &Found, log: &Log, root: &Root, listing: &Listing) -> Vec<String> {
    let root_at = found.root.as_ref().map(|(link, _)| link.sequence);
    let is_claim = |sequence: u64| log.claims.contains(&sequence);
    let is_outdated = |name: &Name| match *name {
        Name::Log(sequence) => sequence < log.claim && Some(sequence) != root_at && !is_claim(sequence),
        Name::Data(data) => data.generation() < log.generation && !root.needs(data),
        Name::PartOfLog(sequence) => sequence < log.claim,
        Name::PartOfData(data) => data.generation() < log.generation,
    };
    let outdated = listing.objects.iter().zip(&listing.names).filter(|(name, _)| is_outdated(name));
    let outdated: Vec<_> = outdated.map(|(_, name)| name.clone()).collect();
    if !outdated.is_empty() {
        ::log::info!(
            "a start deletes {} objects that owners before it have left, such as {}",
            outdated.len(),
            outdated[0]
        );
    }
    outdated
}

/// Deletes all that is left of a place whose newest root holds nothing: on a local disk to the last entry, which goes last. Elsewhere the
/// claims stay, and with them the root: an owner that was stopped before must not find its number free.
pub(super) fn delete_all(place: &Place, newest: u64) -> Result<(), StoreError> {
    let listing = place.list()?;
    let is_last = |name: &Name| *name == Name::Log(newest);
    let is_ours = |name: &Name| place.is_local || !matches!(name, Name::Log(_));
    let names = listing.objects.iter().zip(&listing.names);
    let others = names.filter(|(name, _)| is_ours(name) && !is_last(name)).map(|(_, name)| name.clone()).collect();
    let mut left = place.delete(others);
    if left.is_empty() && place.is_local {
        left = place.delete(vec![name::log(newest)]);
    }
    match left.first() {
        None => Ok(()),
        Some(name) => {
            let message = format!("{} could not be deleted in {}; the next start tries again", name, place.name);
            Err(StoreError::new(StoreErrorKind::Io, message, None))
        }
    }
}
