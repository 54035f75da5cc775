//! Looks keys up in the runs of the newest checkpoint.
//!
//! ```text
//! look-up:  runs -> read transaction -> parts        a part is missing: wait for `exchange`, start over
//! commit:   [exchange: write transaction -> runs]
//! ```
//! Runs may be older than the transaction. A block never changes under its key, so then its parts are as known or gone; they are gone only if the commit that did that has not exchanged the runs yet.

use std::{cmp::Ordering, sync::Arc};

use cofferdam_engine::{
    BoxError, KeyGroup,
    checkpoint::{
        snapshot::StateAddress,
        store::{StateLookup, StoreError, StoreErrorKind},
    },
    state::{Block, Values},
};
use heed::{RoTxn, WithoutTls};
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{
    block,
    environment::Environment,
    fault,
    filter::Hash,
    layout::{BlockKey, Databases},
    run::{self, Place, Run, Runs, StateRuns},
    value::CHECKSUM,
};

/// A commit can take parts away in each try, but hardly so often in a row.
const TRIES: usize = 32;

/// Called with a key's place, and its version and value.
type Visit<'a> = dyn FnMut(usize, Values, &[u8]) -> Result<(), BoxError> + 'a;

/// See the module.
pub(super) struct Lookup {
    environment: Arc<Environment>,
    /// `None` until the newest checkpoint was read through, and again while another becomes the newest.
    runs: RwLock<Option<Arc<Runs>>>,
    /// Held from before a write transaction until its runs are there.
    exchange: Mutex<()>,
}

impl Lookup {
    pub(super) fn new(environment: Arc<Environment>) -> Self {
        Self { environment, runs: RwLock::new(None), exchange: Mutex::new(()) }
    }

    /// To be held while the runs are exchanged and what they are found in changes.
    pub(super) fn exchanging(&self) -> MutexGuard<'_, ()> {
        self.exchange.lock()
    }

    pub(super) fn runs(&self) -> Option<Arc<Runs>> {
        self.runs.read().clone()
    }

    pub(super) fn set(&self, runs: Option<Arc<Runs>>) {
        *self.runs.write() = runs;
    }

    /// Until there are other runs than `runs`, if there may be.
    fn wait_for_others(&self, runs: &Arc<Runs>) {
        if self.runs().is_some_and(|current| Arc::ptr_eq(&current, runs)) {
            drop(self.exchange.lock());
        }
    }

    fn ready_runs(&self) -> Result<Arc<Runs>, StoreError> {
        self.runs().ok_or_else(|| {
            let directory = self.environment.directory.display();
            let message = format!("the newest checkpoint in {directory} cannot be looked up in; open the store again");
            StoreError::new(StoreErrorKind::Io, message, None)
        })
    }
}

impl StateLookup for Lookup {
    fn get_many(
        &self,
        state: &StateAddress,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        // What was found once is not visited again.
        let mut pending: Vec<_> =
            keys.iter().enumerate().map(|(place, (group, key))| Pending::of(place, *group, key)).collect();
        for _ in 0..TRIES {
            let runs = self.ready_runs()?;
            if let Some(damage) = runs.damaged.get(state) {
                let cause = damage.cause.as_ref().map(|cause| cause.to_string().into());
                return Err(StoreError::new(damage.kind, &*damage.message, cause));
            }
            let directory = &self.environment.directory;
            let found = self.environment.look_up(|transaction, databases| {
                // Nothing of the state is stored. That is known of an open environment only.
                let Some(state) = runs.states.get(state) else { return Ok(Ok(())) };
                Ok(Search { transaction, databases, state }.run(&mut pending, visit))
            })?;
            match found {
                Ok(()) => return Ok(()),
                Err(Miss::Gone) => self.wait_for_others(&runs),
                Err(Miss::Lmdb(cause)) => {
                    return Err(fault::lmdb(directory, format!("look up keys of state {state}"), cause));
                }
                Err(Miss::Broken(group, cause)) => {
                    let what = format!("state {state}, key group {group}: a block cannot be read");
                    return Err(fault::damaged_by(directory, what, Some(cause)));
                }
                Err(Miss::Unread(group, cause)) => {
                    let place = directory.display();
                    let message = format!("state {state}, key group {group}: a value in {place} cannot be read");
                    return Err(StoreError::new(StoreErrorKind::Unreadable, message, Some(cause)));
                }
            }
        }
        Err(fault::damaged(&self.environment.directory, format!("state {state}: blocks are missing")))
    }
}

/// A key that is still looked for.
struct Pending<'a> {
    place: usize,
    group: KeyGroup,
    key: &'a [u8],
    hash: Hash,
    /// Its newest entry was seen: a value, or that it went.
    found: bool,
}

impl<'a> Pending<'a> {
    fn of(place: usize, group: KeyGroup, key: &'a [u8]) -> Self {
        Self { place, group, key, hash: Hash::of(key), found: false }
    }
}

/// Why a key was neither found nor found absent.
enum Miss {
    /// A part is not there.
    Gone,
    Lmdb(heed::Error),
    /// A part is not what it must be.
    Broken(KeyGroup, BoxError),
    /// The visitor does not know what to make of it.
    Unread(KeyGroup, BoxError),
}

/// One transaction's look at one state.
struct Search<'a, 't> {
    transaction: &'t RoTxn<'t, WithoutTls>,
    databases: &'a Databases,
    state: &'a StateRuns,
}

impl<'t> Search<'_, 't> {
    fn run(&self, pending: &mut [Pending<'_>], visit: &mut Visit<'_>) -> Result<(), Miss> {
        for keys in pending.chunk_by_mut(|left, right| left.group == right.group) {
            let group = keys[0].group;
            for run in self.state.groups.get(&group).into_iter().flatten() {
                self.look_in(run, group, keys, visit)?;
            }
        }
        Ok(())
    }

    fn look_in(&self, run: &Run, group: KeyGroup, keys: &mut [Pending<'_>], visit: &mut Visit<'_>) -> Result<(), Miss> {
        let mut open: Option<(u32, &[u8])> = None;
        for key in keys.iter_mut().filter(|key| !key.found) {
            let Some(Place { part, offset }) = run.place_of(key.key, key.hash) else { continue };
            let entries = match open {
                Some((number, entries)) if number == part => entries,
                _ => self.part(run, group, part)?,
            };
            open = Some((part, entries));
            let entries = entries.get(offset as usize..).unwrap_or_default();
            let entry = find(key.key, entries).map_err(|cause| Miss::Broken(group, cause))?;
            key.found = entry.is_some();
            if let Some(Some((form, value))) = entry {
                visit(key.place, form, value).map_err(|cause| Miss::Unread(group, cause))?;
            }
        }
        Ok(())
    }

    /// The entries of a part. Its checksum was right when the store was opened, or it was written since.
    fn part(&self, run: &Run, group: KeyGroup, part: u32) -> Result<&'t [u8], Miss> {
        let key = BlockKey { state: self.state.number, group, checkpoint: run.checkpoint, part };
        let value = self.databases.block.get(self.transaction, &key.encode()).map_err(Miss::Lmdb)?;
        let value = value.ok_or(Miss::Gone)?;
        let cut_short = || Miss::Broken(group, "a block is not whole".into());
        let (mut bytes, _) = value.split_last_chunk::<CHECKSUM>().ok_or_else(cut_short)?;
        if part == 0 {
            (_, bytes) = block::split_head(bytes).ok_or_else(cut_short)?;
        }
        Ok(run::entries_of(part, bytes))
    }
}

/// The entry of `key`.
#[inline]
fn find<'e>(key: &[u8], entries: &'e [u8]) -> Result<Option<Option<(Values, &'e [u8])>>, BoxError> {
    for entry in Block::sorted_entries(entries) {
        let entry = entry?;
        match entry.key.cmp(key) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(Some(entry.value)),
            Ordering::Greater => break,
        }
    }
    Ok(None)
}
