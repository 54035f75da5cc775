//! A look at a place from outside: of a job that runs, in this process or another, or of none.
//!
//! ```text
//! list log/, read the newest root:  do they fit together?  ---no---> once more: the job committed in between
//!                                         | yes                      (the log listed alike, three times: damage)
//! root --> manifest --> pieces      is one missing?  --> is the checkpoint still kept?  ---no---> dropped by the job, not damaged
//! ```
//! Nothing is written. A checkpoint's objects do not change as long as they are there.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cofferdam_engine::{
    BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, StateAddress},
        store::{StateReader, StoreError, StoreErrorKind},
    },
    state::StoredCheckpoint,
};

use super::{
    entry::{Kept, Root},
    fault,
    held::Held,
    log,
    manifest::{self, Catalog},
    place::{Listing, Place},
    reader,
};
use crate::{
    inspection::{Found, Inspection, Look},
    plan,
};

/// How long a job may commit in between, each time.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the log must be listed alike before what it shows is damage. A listing of a local directory may miss the newest entry, if the one before it goes meanwhile.
const ALIKE: u32 = 3;

/// Looks at the place. `directory` is where it is on a local disk.
pub(super) fn look(place: Place, directory: Option<PathBuf>) -> Result<Inspection, StoreError> {
    let (root, listing) = newest(&place)?;
    let standing = root.standing().ok_or_else(|| fault::ruined(&place.name, "the job's id is unreadable", None))?;
    let found = Found {
        place: place.name.clone(),
        standing,
        last_commit: listing.last_entry.unwrap_or(SystemTime::UNIX_EPOCH),
        length: listing.bytes,
        checkpoints: root.retained.iter().map(|kept| kept.checkpoint).collect(),
    };
    let look = LookAt { place: Arc::new(place), directory, root };
    Ok(Inspection { found, look: Box::new(look) })
}

/// The newest root, and what was listed when it was found.
fn newest(place: &Place) -> Result<(Root, Listing), StoreError> {
    let deadline = Instant::now() + PATIENCE;
    let (mut before, mut alike) = (Vec::new(), 0);
    loop {
        let listing = place.list()?;
        if listing.newest().is_none() && !listing.has_data() {
            return Err(fault::no_state(&place.name, "there is nothing in log/"));
        }
        match log::find(place, &listing) {
            Ok(Some(found)) => return Ok((found.root.map(|(_, root)| root).unwrap_or_default(), listing)),
            Err(error) if error.kind == StoreErrorKind::Damaged => {
                alike = if listing.names == before { alike + 1 } else { 1 };
                if alike == ALIKE {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
            Ok(None) => alike = 0,
        }
        if Instant::now() > deadline {
            return Err(fault::restless(&place.name));
        }
        before = listing.names;
    }
}

/// Reads what is asked for.
struct LookAt {
    place: Arc<Place>,
    directory: Option<PathBuf>,
    root: Root,
}

impl LookAt {
    fn kept(&self, checkpoint: CheckpointId) -> Result<&Kept, StoreError> {
        let mut kept = self.root.retained.iter();
        let numbers = || self.root.retained.iter().map(|kept| kept.checkpoint);
        let found = kept.find(|kept| kept.checkpoint == checkpoint);
        found.ok_or_else(|| plan::not_retained(&self.place.name, checkpoint, numbers()))
    }
}

impl Look for LookAt {
    fn checkpoint(&self, checkpoint: CheckpointId) -> Result<StoredCheckpoint, StoreError> {
        let kept = self.kept(checkpoint)?;
        let read = manifest::read(&self.place, kept);
        let (metadata, catalog) = read.map_err(|error| damaged_or_dropped(&self.place, kept, error))?;
        let held = Held::of(self.place.clone(), self.directory.as_deref(), &catalog);
        let reader = LookReader { place: self.place.clone(), kept: kept.clone(), catalog, held };
        Ok(StoredCheckpoint::new(self.place.name.clone(), metadata, Arc::new(reader)))
    }

    fn stored_bytes(&self, checkpoint: CheckpointId) -> Result<u64, StoreError> {
        let kept = self.kept(checkpoint)?;
        let read = manifest::read(&self.place, kept);
        let (_, catalog) = read.map_err(|error| damaged_or_dropped(&self.place, kept, error))?;
        Ok(catalog.live().values().sum())
    }
}

/// Reads a checkpoint that the job may drop meanwhile.
struct LookReader {
    place: Arc<Place>,
    kept: Kept,
    catalog: Catalog,
    held: Held,
}

impl StateReader for LookReader {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        let Some(groups) = self.catalog.states.get(state) else { return Ok(()) };
        let read = reader::scan(&self.held, state, groups, range, visit);
        read.map_err(|error| damaged_or_dropped(&self.place, &self.kept, error))
    }
}

/// What `error` is: damage only if the checkpoint is still kept.
fn damaged_or_dropped(place: &Place, kept: &Kept, error: StoreError) -> StoreError {
    if error.kind != StoreErrorKind::Damaged {
        return error;
    }
    match newest(place) {
        Ok((root, _)) if !root.retained.contains(kept) => fault::dropped(&place.name, kept.checkpoint),
        Err(gone) if gone.kind == StoreErrorKind::Foreign => fault::dropped(&place.name, kept.checkpoint),
        _ => error,
    }
}
