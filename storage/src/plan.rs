//! What a commit changes, decided before anything is written.
//!
//! ```text
//! deltas, oldest first          stored already?     superseded?
//! ckpt 3: g0 changes            skipped (<= 3)
//! ckpt 4: g0 changes  g1 full                       g0: by ckpt 5
//! ckpt 5: g0 full     g1 changes
//!                               => g0: replace by [5 full]     g1: replace by [4 full, 5 changes]
//! ```
//! In each group at most the first block is full, and checkpoints grow.

use std::{collections::BTreeMap, num::NonZeroU32};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, StateAddress, StateBlock, StateDelta},
        store::{StoreError, StoreErrorKind},
    },
    mutation::{self, Mutation},
};

/// What a store holds, as far as it decides whether a commit may come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) attempt: Attempt,
    /// Job and number of the newest checkpoint.
    pub(crate) newest: Option<(JobId, CheckpointId)>,
    /// The highest number ever committed: above the newest checkpoint's after going back.
    pub(crate) highest: Option<CheckpointId>,
}

/// What happens to one key group of one state.
#[derive(Debug, Default)]
pub(crate) struct GroupChange<'a> {
    /// Whether the blocks stored before go.
    pub(crate) replaces: bool,
    /// What comes, oldest first.
    pub(crate) blocks: Vec<(CheckpointId, &'a StateBlock)>,
}

/// What a commit does to keyed state.
pub(crate) type Plan<'a> = BTreeMap<&'a StateAddress, BTreeMap<KeyGroup, GroupChange<'a>>>;

/// Refuses a commit of another job, an older attempt, or a checkpoint that is not newer.
pub(crate) fn check(place: &str, standing: Standing, commit: &CheckpointCommit) -> Result<(), StoreError> {
    let metadata = &commit.metadata;
    if metadata.attempt != standing.attempt && !mutation::is(Mutation::StaleAttemptAccepted) {
        let message = format!(
            "checkpoint {} in {place} refused: attempt {} took it, and attempt {} is the newest",
            metadata.checkpoint, metadata.attempt, standing.attempt
        );
        return Err(StoreError::new(StoreErrorKind::Fenced, message, None));
    }
    let Some((job, newest)) = standing.newest else { return Ok(()) };
    if metadata.job != job {
        let message = format!(
            "checkpoint {} of job {} refused: {place} belongs to job {job}; give each job a place of its own",
            metadata.checkpoint, metadata.job
        );
        return Err(StoreError::new(StoreErrorKind::Foreign, message, None));
    }
    let highest = standing.highest.map_or(newest, |highest| highest.max(newest));
    if metadata.checkpoint <= highest {
        let message = format!(
            "checkpoint {} in {place} refused: numbers are used once, and checkpoint {highest} was stored already",
            metadata.checkpoint
        );
        return Err(StoreError::new(StoreErrorKind::Fenced, message, None));
    }
    Ok(())
}

/// How many of `stored` checkpoints, from the oldest on, go when one more comes and `num_retained` are kept.
pub(crate) fn outdated(stored: usize, num_retained: NonZeroU32) -> usize {
    (stored + 1).saturating_sub(num_retained.get() as usize)
}

/// Says that `checkpoint` cannot be gone back to, as the place keeps `retained`.
pub(crate) fn not_retained(
    place: &str,
    checkpoint: CheckpointId,
    retained: impl Iterator<Item = CheckpointId>,
) -> StoreError {
    let numbers: Vec<_> = retained.map(|number| number.to_string()).collect();
    let kept = if numbers.is_empty() { "nothing".to_string() } else { numbers.join(", ") };
    let message = format!("{place} does not keep checkpoint {checkpoint}; of checkpoints it keeps {kept}");
    StoreError::new(StoreErrorKind::NotRetained, message, None)
}

/// Sorts the blocks of `commit` by state and group, without those that are stored already or superseded within the commit.
pub(crate) fn plan<'a>(newest: Option<CheckpointId>, commit: &'a CheckpointCommit) -> Result<Plan<'a>, StoreError> {
    let mut plan = Plan::new();
    for delta in commit.deltas.iter().filter(|delta| newest.is_none_or(|newest| delta.checkpoint > newest)) {
        if delta.checkpoint > commit.metadata.checkpoint {
            return Err(misuse(delta, "is newer than the checkpoint it came with"));
        }
        let groups = plan.entry(&delta.address).or_default();
        for block in &delta.blocks {
            add(groups, delta, block, commit.metadata.max_parallelism)?;
        }
    }
    Ok(plan)
}

fn add<'a>(
    groups: &mut BTreeMap<KeyGroup, GroupChange<'a>>,
    delta: &'a StateDelta,
    block: &'a StateBlock,
    max_parallelism: u16,
) -> Result<(), StoreError> {
    if block.group.0 >= max_parallelism {
        return Err(misuse(delta, "has a key group beyond the job's max parallelism"));
    }
    let change = groups.entry(block.group).or_default();
    if change.blocks.last().is_some_and(|(last, _)| *last >= delta.checkpoint) {
        return Err(misuse(delta, "has a key group that another delta of this checkpoint, or a newer one, came with"));
    }
    if block.kind == BlockKind::Full {
        change.replaces = true;
        change.blocks.clear();
    }
    change.blocks.push((delta.checkpoint, block));
    Ok(())
}

fn misuse(delta: &StateDelta, what: &str) -> StoreError {
    let message = format!(
        "refused to store a delta of state {} for checkpoint {}: it {what}; nothing was written, and this is a bug in the engine",
        delta.address, delta.checkpoint
    );
    StoreError::new(StoreErrorKind::Io, message, None)
}

/// The newest checkpoint is not deleted alone.
pub(crate) fn is_newest(place: &str, checkpoint: CheckpointId) -> StoreError {
    let message = format!(
        "checkpoint {checkpoint} is the newest in {place}, and is not deleted: go back to the one before it, or delete all"
    );
    StoreError::new(StoreErrorKind::NotRetained, message, None)
}
