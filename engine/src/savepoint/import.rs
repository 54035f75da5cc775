//! From a file to a job: what a start makes of a savepoint, and the commit that takes checkpoint 0's place.
//!
//! ```text
//! the place has no state:        file whole? -> sinks' places -> topology -> published past it? -> prepared there? -> values? -> one commit
//!                                \_________________________ each may refuse, and nothing has changed _________________________/
//! it has that of a job started
//! from this very savepoint:      its newest checkpoint
//! it has any other:              refused
//! ```

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::reader::Savepoint;
use crate::{
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, Origin, StateAddress, StateBlock, StateDelta},
        store::{StoreError, StoreErrorKind},
    },
    error::{Error, ErrorKind},
    fail_point::Point,
    id::{Attempt, CheckpointId},
    key_group::{KeyGroup, KeyGroupRange},
    mutation::{self, Mutation},
    opening::StoreSlot,
    restore_point,
    topology::plan::Plan,
};

/// What the host has chosen about the state that it starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// An older checkpoint to go back to, which then is the newest: to be named until an attempt is open, and not after that.
    pub restore_from: Option<CheckpointId>,
    /// The savepoint to start from, if there is no state yet.
    pub from_savepoint: Option<PathBuf>,
    /// State of steps that the topology has no more is dropped.
    pub allow_non_restored_state: bool,
    /// Transactions that were prepared and that no sink can publish are given up.
    pub discard_prepared: bool,
}

/// What an attempt can go on from.
pub(crate) enum Found {
    /// A checkpoint that is kept.
    Stored(CheckpointMetadata),
    /// A savepoint, for a place without state.
    Savepoint(Box<Import>),
}

/// A savepoint, all of it.
pub(crate) struct Import {
    /// With what it is, for messages.
    pub(crate) place: String,
    pub(crate) metadata: CheckpointMetadata,
    deltas: Vec<Arc<StateDelta>>,
}

impl Found {
    pub(crate) fn metadata(&self) -> &CheckpointMetadata {
        match self {
            Self::Stored(metadata) => metadata,
            Self::Savepoint(import) => &import.metadata,
        }
    }
}

/// What the host has chosen to go on from, `None` if there is nothing yet.
pub(crate) fn find(slot: &StoreSlot, plan: &Plan, choices: &Choices) -> Result<Option<Found>, Error> {
    match (choices.restore_from, &choices.from_savepoint) {
        (None, None) => Ok(restore_point::newest(slot, plan)?.map(Found::Stored)),
        (Some(checkpoint), None) => restore_point::named(slot, plan, checkpoint).map(Found::Stored).map(Some),
        (None, Some(path)) => match restore_point::newest(slot, plan)? {
            None => Ok(Some(Found::Savepoint(Box::new(load(path)?)))),
            Some(stored) => started_from(slot, plan, stored, path).map(Found::Stored).map(Some),
        },
        (Some(checkpoint), Some(path)) => Err(Error::refused(format!(
            "job '{}' cannot start from checkpoint {checkpoint} and from savepoint '{}' at once: leave out `restore_from` or `from_savepoint`",
            plan.name(),
            path.display()
        ))),
    }
}

/// Refuses a place whose state is not of a job that was started from the savepoint at `path`.
fn started_from(
    slot: &StoreSlot,
    plan: &Plan,
    stored: CheckpointMetadata,
    path: &std::path::Path,
) -> Result<CheckpointMetadata, Error> {
    let (job, place, path_name) = (plan.name(), slot.place(), path.display());
    let holds = format!("{place} holds state already, checkpoint {} of job '{}'", stored.checkpoint, stored.job_name);
    let savepoint = Savepoint::identify(path).map_err(|error| {
        let message = format!(
            "job '{job}' cannot tell whether it was started from savepoint '{path_name}': {holds}; to go on from that, start without `from_savepoint`"
        );
        Error::new(ErrorKind::Refused, message, Some(Box::new(error)))
    })?;
    if stored.origin.is_some_and(|origin| origin.savepoint == savepoint) {
        log::debug!(
            "job '{job}' was started from savepoint '{path_name}' before, and goes on from checkpoint {}",
            stored.checkpoint
        );
        return Ok(stored);
    }
    Err(Error::refused(format!(
        "job '{job}' cannot start from savepoint '{path_name}': {holds}, which does not come from it. To go on from what is there, start without `from_savepoint`; \
         to start from the savepoint, choose a place without state"
    )))
}

impl Import {
    /// Refuses a savepoint of which a value cannot be read as the topology's type: once it is imported, no other could be started from there.
    pub(crate) fn check_values(&self, plan: &Plan) -> Result<(), Error> {
        let keyed = |address: &StateAddress, check: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>| {
            let blocks = self.deltas.iter().filter(|delta| delta.address == *address).flat_map(|delta| &delta.blocks);
            blocks.map(|block| &block.bytes[..]).try_for_each(check)
        };
        plan.check_values(&self.metadata.operators, &keyed).map_err(|cause| {
            let message = format!("{} cannot be restored by job '{}'", self.place, plan.name());
            Error::new(ErrorKind::Refused, message, Some(cause.into()))
        })
    }
}

/// Reads and checks all of a savepoint.
fn load(path: &std::path::Path) -> Result<Import, Error> {
    let mut savepoint = Savepoint::open(path)?;
    let mut metadata = savepoint.metadata().clone();
    metadata.origin = Some(Origin { savepoint: savepoint.id(), checkpoint: metadata.checkpoint });
    let deltas = deltas(&mut savepoint, metadata.checkpoint)?;
    Ok(Import { place: format!("savepoint '{}'", path.display()), metadata, deltas })
}

/// All blocks, as if each of a group had come with a checkpoint of its own, the newest one with the savepoint's: their order is all that matters.
fn deltas(savepoint: &mut Savepoint, newest: CheckpointId) -> Result<Vec<Arc<StateDelta>>, StoreError> {
    let mut deltas = BTreeMap::new();
    for address in savepoint.addresses() {
        let mut groups: BTreeMap<KeyGroup, Vec<(BlockKind, u32, Vec<u8>)>> = BTreeMap::new();
        let all = KeyGroupRange { start: 0, end: u16::MAX };
        savepoint.read(&address, all, &mut |group, kind, entries, bytes| {
            groups.entry(group).or_default().push((kind, entries, bytes.to_vec()));
            Ok(())
        })?;
        for (group, blocks) in groups {
            for (age, (kind, entries, bytes)) in blocks.into_iter().rev().enumerate() {
                let checkpoint = newest.0.checked_sub(age as u64).ok_or_else(|| too_many(&address, group))?;
                let key = (CheckpointId(checkpoint), address.clone());
                deltas.entry(key).or_insert_with(Vec::new).push(StateBlock { group, kind, entries, bytes });
            }
        }
    }
    let delta = |((checkpoint, address), blocks)| Arc::new(StateDelta { checkpoint, address, blocks });
    Ok(deltas.into_iter().map(delta).collect())
}

fn too_many(address: &StateAddress, group: KeyGroup) -> StoreError {
    let message = format!("state {address}, key group {group} has more blocks than there were checkpoints");
    StoreError::new(StoreErrorKind::Damaged, message, None)
}

/// Makes a savepoint the first checkpoint of a place without state.
pub(crate) fn import(slot: &StoreSlot, plan: &Plan, import: Import) -> Result<Attempt, Error> {
    let settings = plan.settings();
    // What sinks have prepared bears the number of the attempt that did it: no attempt here may have that number too.
    let taken = if mutation::is(Mutation::AttemptsCountedAnew) { Attempt(0) } else { import.metadata.attempt };
    let attempt = slot.with(|store| store.begin_attempt_after(taken))?;
    let metadata = CheckpointMetadata { attempt, ..import.metadata };
    let (num_retained, fail_points) = (settings.checkpoints.num_retained, settings.fail_points.clone());
    let commit = CheckpointCommit { metadata, deltas: import.deltas, num_retained, fail_points };
    slot.commit(&commit)?;
    log::info!("job '{}': {} was taken over to {}", plan.name(), import.place, slot.place());
    commit.fail_points.reach(Point::SavepointImported, None, commit.metadata.checkpoint).map_err(|cause| {
        Error::new(ErrorKind::Operator, format!("job '{}': an attempt could not be opened", plan.name()), Some(cause))
    })?;
    Ok(attempt)
}
