//! Which checkpoint an attempt goes on from: the newest by itself, or one that the host has named.
//!
//! ```text
//! nothing named:  newest whole?     yes: that one
//!                                   no: refused, with the older ones that are whole; nothing else is tried
//! one named:      kept, and whole?  -> sinks' places -> topology -> published past it? -> go back
//!                 \_________________________ each may refuse, and nothing has changed ___/
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, StateAddress},
        store::{RetainedCheckpoint, StateLookup, StateReader, StoreError, StoreErrorKind},
    },
    error::{BoxError, Error, ErrorKind},
    id::CheckpointId,
    key_group::{KeyGroup, KeyGroupRange},
    opening::StoreSlot,
    state::Values,
    topology::{plan::Plan, restorable::Kept},
};

/// The record of the newest checkpoint, `None` if there is none yet.
pub(crate) fn newest(slot: &StoreSlot, plan: &Plan) -> Result<Option<CheckpointMetadata>, Error> {
    slot.with(|store| store.newest()).map_err(|error| match error.kind {
        StoreErrorKind::Damaged => offer_older(slot, plan.name(), error.into()),
        _ => error.into(),
    })
}

/// The record of the checkpoint that the host has named, if that can be gone back to as far as the store knows.
pub(crate) fn named(slot: &StoreSlot, plan: &Plan, checkpoint: CheckpointId) -> Result<CheckpointMetadata, Error> {
    let mut retained = slot.with(|store| store.retained())?;
    let place = slot.place();
    let refused = |why: String, cause| {
        let message = format!("job '{}' cannot go back to checkpoint {checkpoint}: {why}", plan.name());
        Error::new(ErrorKind::Refused, message, cause)
    };
    match retained.iter().position(|kept| kept.checkpoint == checkpoint) {
        Some(found) => retained.remove(found).metadata.map_err(|damage| {
            let why = format!("it is not whole; those kept in {place} that are: {}", list(&whole(&retained)));
            refused(why, Some(damage.into()))
        }),
        None if retained.is_empty() => Err(refused(format!("nothing is stored in {place} yet"), None)),
        None => {
            let kept: Vec<_> = retained.iter().map(|kept| kept.checkpoint).collect();
            Err(refused(format!("{place} does not keep it; it keeps {}", list(&kept)), None))
        }
    }
}

/// Makes `checkpoint` the newest, unless a sink has published past it.
pub(crate) fn go_back(slot: &StoreSlot, plan: &Plan, checkpoint: &CheckpointMetadata) -> Result<(), Error> {
    plan.check_published(checkpoint, Kept::InBackend, &slot.place())?;
    slot.with(|store| store.go_back(checkpoint.checkpoint))?;
    Ok(())
}

/// Reads all of a checkpoint's keyed state, to see whether it is whole.
pub(crate) fn verify(reader: &dyn StateReader, checkpoint: &CheckpointMetadata) -> Result<(), StoreError> {
    let range = KeyGroupRange { start: 0, end: checkpoint.max_parallelism };
    for operator in &checkpoint.operators {
        for state in &operator.states {
            let address = StateAddress { operator: operator.uid.clone(), state: state.name.clone() };
            reader.read(&address, range, &mut |_, _, _, _| Ok(()))?;
        }
    }
    Ok(())
}

/// What is to be said of a newest checkpoint that is not whole: `damage`, and which older ones are whole. Reads all of them.
pub(crate) fn offer_older(slot: &StoreSlot, job: &str, damage: Error) -> Error {
    // Where not even this can be read, nothing can be gone back to.
    let Ok(mut older) = slot.with(|store| store.retained()) else { return damage };
    let Some(newest) = older.pop().filter(|newest| newest.metadata.is_err() && !older.is_empty()) else {
        return damage;
    };
    let whole = whole(&older);
    let offer = match whole.last() {
        Some(best) => format!(
            "older ones that are whole: {}. To go back to one, and give up what came after, start once with \
             `Engine::builder().restore_from(CheckpointId({best}))`, which is refused if a sink has published past it",
            list(&whole)
        ),
        None => "no older one that is kept is whole either".to_string(),
    };
    let message = format!("job '{job}': checkpoint {} in {} is damaged; {offer}", newest.checkpoint, slot.place());
    Error::new(damage.kind(), message, Some(damage.into()))
}

fn whole(retained: &[RetainedCheckpoint]) -> Vec<CheckpointId> {
    retained.iter().filter(|kept| kept.metadata.is_ok()).map(|kept| kept.checkpoint).collect()
}

/// `none`, if there are none.
fn list(checkpoints: &[CheckpointId]) -> String {
    if checkpoints.is_empty() {
        return "none".to_string();
    }
    let numbers: Vec<_> = checkpoints.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

/// A reader that remembers whether it met damage: the error of a subtask does not say so.
pub(crate) struct Watched {
    reader: Arc<dyn StateReader>,
    has_met_damage: AtomicBool,
}

impl Watched {
    pub(crate) fn new(reader: Arc<dyn StateReader>) -> Self {
        Self { reader, has_met_damage: AtomicBool::new(false) }
    }

    pub(crate) fn has_met_damage(&self) -> bool {
        self.has_met_damage.load(Ordering::Acquire)
    }
}

impl StateReader for Watched {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        self.reader.read(state, range, visit).inspect_err(|error| {
            if error.kind == StoreErrorKind::Damaged {
                self.has_met_damage.store(true, Ordering::Release);
            }
        })
    }
}

/// A look-up that says of damage what a start says of it.
pub(crate) struct ExplainedLookup {
    pub(crate) lookup: Arc<dyn StateLookup>,
    pub(crate) slot: StoreSlot,
    pub(crate) job: Arc<str>,
}

impl StateLookup for ExplainedLookup {
    /// Reads all that is kept if it meets damage, which ends the job.
    fn get_many(
        &self,
        state: &StateAddress,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, Values, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        self.lookup.get_many(state, keys, visit).map_err(|error| match error.kind {
            StoreErrorKind::Damaged => {
                let told = offer_older(&self.slot, &self.job, error.into());
                StoreError::new(StoreErrorKind::Damaged, told.to_string(), None)
            }
            _ => error,
        })
    }
}
