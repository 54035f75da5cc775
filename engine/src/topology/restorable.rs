//! Whether a topology can go on from a checkpoint, and what of it.
//!
//! | in the checkpoint | in the topology | |
//! |---|---|---|
//! | a step | the same `uid` | goes on, whatever its name is now |
//! | a step | none | refused; with `allow_non_restored_state` its state is dropped, with `discard_prepared` its transactions too |
//! | none | a step | starts empty; a source with the splits that it has now |
//! | records in flight | no such edge | refused |

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    checkpoint::{
        inherited::Inherited,
        layout::{EdgeLayout, OperatorLayout},
        snapshot::{
            BlockKind, CheckpointMetadata, InFlightRecord, OperatorRecord, StateAddress, StateBlock, StateDelta,
        },
        store::StoreError,
    },
    error::Error,
    key_group::KeyGroupRange,
    opening::StoreSlot,
    savepoint::{Choices, HeldTransactions},
    topology::{plan::Plan, state_check},
};

/// A checkpoint, cut to a topology.
pub(crate) struct Restorable {
    /// A record for each operator of the topology, and for no other.
    pub(crate) metadata: CheckpointMetadata,
    /// State of steps that are gone.
    dropped: Vec<StateAddress>,
}

/// Where a checkpoint to be restored is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InBackend,
    InSavepoint,
}

/// Why a checkpoint cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// With the way out.
    Told(String),
    /// It belongs to another program.
    Foreign(String),
}

impl Plan {
    /// Refuses a checkpoint that this topology cannot go on from. `place` is where it is: a backend.
    pub fn check_restorable(
        &self,
        checkpoint: &CheckpointMetadata,
        place: &str,
        choices: &Choices,
    ) -> Result<(), Error> {
        self.check_kept(checkpoint, Kept::InBackend, place, choices)
    }

    pub(crate) fn check_kept(
        &self,
        checkpoint: &CheckpointMetadata,
        kept: Kept,
        place: &str,
        choices: &Choices,
    ) -> Result<(), Error> {
        let why = match (self.obstacle(checkpoint, choices), kept) {
            (None, _) => return Ok(()),
            (Some(Obstacle::Told(what)), _) => what,
            (Some(Obstacle::Foreign(what)), Kept::InBackend) => {
                format!("{what}; start the job that the state belongs to, or delete the state to start over")
            }
            (Some(Obstacle::Foreign(what)), Kept::InSavepoint) => {
                format!("{what}; start the job that the savepoint is of, or start from another one")
            }
        };
        let (checkpoint, job) = (checkpoint.checkpoint, &self.name);
        Err(Error::refused(format!("checkpoint {checkpoint} in {place} cannot be restored by job '{job}': {why}")))
    }

    fn obstacle(&self, checkpoint: &CheckpointMetadata, choices: &Choices) -> Option<Obstacle> {
        if checkpoint.job_name != *self.name {
            return Some(Obstacle::Foreign(format!("it is the state of job '{}'", checkpoint.job_name)));
        }
        if checkpoint.max_parallelism != self.settings.max_parallelism {
            let (stored, now) = (checkpoint.max_parallelism, self.settings.max_parallelism);
            return Some(Obstacle::Told(format!(
                "its keys are cut into {stored} key groups and max_parallelism is {now}, which is fixed at the first start; say `Engine::builder().max_parallelism({stored})`"
            )));
        }
        let layouts: Vec<_> = self.operators().map(|(_, layout)| layout).collect();
        let mut stored = checkpoint.operators.iter();
        stored
            .find_map(|stored| match layouts.iter().find(|layout| layout.uid == stored.uid) {
                None => obstacle_without(stored, choices),
                Some(layout) if layout.kind != stored.kind => {
                    let what = format!("'{}' was a {}, and is a {} now", stored.uid, stored.kind, layout.kind);
                    Some(Obstacle::Foreign(what))
                }
                Some(layout) => {
                    let may_be_gone = choices.allow_non_restored_state;
                    state_check::mismatch(&stored.uid, &stored.states, &layout.states, may_be_gone)
                }
            })
            .or_else(|| self.in_flight_obstacle(checkpoint).map(Obstacle::Told))
    }

    fn in_flight_obstacle(&self, checkpoint: &CheckpointMetadata) -> Option<String> {
        let edges: BTreeSet<_> = self.edges().map(|edge| edge.layout.name).collect();
        if let Some(lost) =
            checkpoint.in_flight.iter().find(|stored| !edges.contains(&stored.edge) && stored.has_records())
        {
            return Some(format!(
                "it has records in flight on '{}', and the topology has no such edge; stop the job with the topology that it was started with, which leaves none in flight",
                lost.edge
            ));
        }
        self.reordered(checkpoint).map(|(stored, edge)| {
            format!(
                "it has records in flight on '{}', which goes from each subtask to the one of its number: with {} subtasks instead of {} they could come out of order; \
                 start with {} subtasks and stop the job, which leaves none in flight, and then change the number",
                stored.edge, self.parallelism_of(edge.chain), stored.parallelism, stored.parallelism
            )
        })
    }

    /// In-flight records of an edge on which order depends on the subtasks' numbers, if those have changed.
    fn reordered<'a>(&self, checkpoint: &'a CheckpointMetadata) -> Option<(&'a InFlightRecord, EdgeLayout)> {
        let mut edges = self.edges().filter(|edge| edge.is_forward).map(|edge| edge.layout);
        edges.find_map(|edge| {
            let now = self.parallelism_of(edge.chain);
            let mut stored =
                checkpoint.in_flight.iter().filter(|stored| stored.edge == edge.name && stored.has_records());
            stored.find(|stored| stored.channels == 1 && stored.parallelism != now).map(|stored| (stored, edge.clone()))
        })
    }

    /// Leaves out of a checkpoint that [can be restored](Self::check_restorable) what the topology has no more, and adds what is new in it. May block, as new sources
    /// list their splits.
    pub(crate) fn cut(&self, mut metadata: CheckpointMetadata) -> Result<Restorable, Error> {
        let layouts: BTreeMap<_, _> =
            self.operators().map(|(chain, layout)| (layout.uid.clone(), (chain, layout))).collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            metadata.operators.into_iter().partition(|stored| layouts.contains_key(&stored.uid));
        let (job, checkpoint) = (&self.name, metadata.checkpoint);
        let mut dropped = Vec::new();
        for OperatorRecord { uid, kind, states, .. } in gone {
            log::warn!(
                "job '{job}': the topology has no {kind} '{uid}' any more; what checkpoint {checkpoint} has of it is dropped"
            );
            dropped.extend(states.into_iter().map(|state| StateAddress { operator: uid.clone(), state: state.name }));
        }
        metadata.operators = kept;
        for stored in &mut metadata.operators {
            let now = &layouts[&stored.uid].1.states;
            for state in now.iter().filter(|now| !stored.states.iter().any(|state| now.record.name == state.name)) {
                log::info!(
                    "job '{job}': the state '{}' of '{}' is new since checkpoint {checkpoint}, and starts empty",
                    state.record.name,
                    stored.uid
                );
            }
            for state in stored.states.extract_if(.., |state| !now.iter().any(|now| now.record.name == state.name)) {
                log::warn!(
                    "job '{job}': '{}' has no state '{}' any more; what checkpoint {checkpoint} has of it is dropped",
                    stored.uid,
                    state.name
                );
                dropped.push(StateAddress { operator: stored.uid.clone(), state: state.name });
            }
        }
        for (uid, (chain, layout)) in layouts {
            if metadata.operators.iter().any(|stored| stored.uid == uid) {
                continue;
            }
            log::info!(
                "job '{job}': the {} '{uid}' is new since checkpoint {checkpoint}, and starts empty",
                layout.kind
            );
            metadata.operators.push(self.first_record(chain, layout)?);
        }
        Ok(Restorable { metadata, dropped })
    }
}

impl Restorable {
    /// What the attempt's checkpoints take over. `slot` has the checkpoint.
    pub(crate) fn inherited(&self, slot: &StoreSlot) -> Result<Inherited, StoreError> {
        let all = KeyGroupRange { start: 0, end: self.metadata.max_parallelism };
        let mut dropped = Vec::new();
        for address in &self.dropped {
            let reader = slot.with(|store| store.reader())?;
            let mut groups = BTreeSet::new();
            let read = reader.read(address, all, &mut |group, _, _, _| {
                groups.insert(group);
                Ok(())
            });
            if read.is_err() {
                // What is to go may as well be damaged.
                groups.extend(all.iter());
            }
            let empty = |group| StateBlock { group, kind: BlockKind::Full, entries: 0, bytes: Vec::new() };
            let blocks: Vec<_> = groups.into_iter().map(empty).collect();
            dropped.push(StateDelta { checkpoint: self.metadata.checkpoint, address: address.clone(), blocks });
        }
        dropped.retain(|delta| !delta.blocks.is_empty());
        Ok(Inherited { origin: self.metadata.origin, dropped })
    }
}

/// Why a checkpoint cannot be restored without one of its steps.
fn obstacle_without(stored: &OperatorRecord, choices: &Choices) -> Option<Obstacle> {
    let OperatorRecord { uid, kind, states, subtasks } = stored;
    if !choices.allow_non_restored_state {
        let names: Vec<_> = states.iter().map(|state| &*state.name).collect();
        let states = if names.is_empty() { String::new() } else { format!(" with state '{}'", names.join("', '")) };
        return Some(Obstacle::Foreign(format!(
            "it has a {kind} '{uid}'{states}, and the topology has no such step (if the step was renamed, give its old name with `uid`; if it is to go with its state, say \
             `Engine::builder().allow_non_restored_state(true)`)"
        )));
    }
    let held = HeldTransactions::by(uid, subtasks);
    if held.is_empty() || choices.discard_prepared {
        return None;
    }
    let held: Vec<_> = held.iter().map(ToString::to_string).collect();
    Some(Obstacle::Told(format!(
        "it holds rows that were prepared and not published, and the topology has no such step: {}; start with the step that published them, or, to give them up as well, say \
         `Engine::builder().discard_prepared(true)`",
        held.join(", ")
    )))
}

impl OperatorLayout {
    /// The record of an operator of which nothing is known yet.
    pub(super) fn empty_record(self) -> OperatorRecord {
        let states = self.states.into_iter().map(|state| state.record).collect();
        OperatorRecord { uid: self.uid, kind: self.kind, states, subtasks: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        Read, RestartStrategy, Sink, Source, SplitReader,
        checkpoint::config::CheckpointConfig,
        error::BoxError,
        fail_point::FailPoints,
        id::{Attempt, ChannelIndex, JobId, ProcessingTime, SubtaskIndex},
        topology::{Topology, plan::Settings},
    };

    /// Gives nothing; as a sink it takes everything.
    struct Nothing;

    impl Source for Nothing {
        type Record = u64;
        type Split = ();
        type Position = ();
        type Reader = Self;

        fn is_bounded(&self) -> bool {
            true
        }

        fn splits(&self, _: u32) -> Result<Vec<()>, BoxError> {
            Ok(vec![()])
        }

        fn open(&self, (): &(), _: Option<&()>) -> Result<Self, BoxError> {
            Ok(Self)
        }
    }

    impl SplitReader for Nothing {
        type Record = u64;
        type Position = ();

        fn read(&mut self, _: ProcessingTime) -> Result<Read<u64>, BoxError> {
            Ok(Read::End)
        }

        fn position(&mut self) -> Result<(), BoxError> {
            Ok(())
        }
    }

    impl Sink<u64> for Nothing {
        type Writer = fn(u64) -> Result<(), BoxError>;

        fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
            Ok(|_| Ok(()))
        }
    }

    /// Two sources that come together: each of their subtasks leads to the one of its number.
    fn plan(name: &str, parallelism: u32, max_parallelism: u16) -> Plan {
        let topology = Topology::new(name);
        let (left, right) = (topology.source("left", Nothing), topology.source("right", Nothing));
        left.union(right).map(|number| number).sink_at_least_once("rows", Nothing);
        let settings = Settings {
            parallelism,
            max_parallelism,
            batch_size: 1,
            checkpoints: CheckpointConfig::default(),
            restart: RestartStrategy::None,
            is_durable: true,
            heap_limit: None,
            fail_points: FailPoints::default(),
        };
        Plan::new(topology, settings).unwrap()
    }

    fn genesis(plan: &Plan) -> CheckpointMetadata {
        plan.genesis(JobId(1), Attempt(0)).unwrap().metadata
    }

    /// What is said of a checkpoint in each place.
    fn refusals(plan: &Plan, checkpoint: &CheckpointMetadata) -> [String; 2] {
        [(Kept::InBackend, "state/"), (Kept::InSavepoint, "savepoint 'x'")]
            .map(|(kept, place)| plan.check_kept(checkpoint, kept, place, &Choices::default()).unwrap_err().to_string())
    }

    #[test]
    fn what_goes_on_as_it_was_is_not_refused() {
        plan("job", 3, 64).check_restorable(&genesis(&plan("job", 2, 64)), "state/", &Choices::default()).unwrap();
    }

    #[test]
    fn the_state_of_another_job_is_to_be_deleted_and_a_savepoint_of_one_exchanged() {
        let [backend, savepoint] = refusals(&plan("job", 2, 64), &genesis(&plan("other", 2, 64)));
        assert!(backend.ends_with("start the job that the state belongs to, or delete the state to start over"));
        assert!(
            savepoint.ends_with("start the job that the savepoint is of, or start from another one"),
            "{savepoint}"
        );
    }

    #[test]
    fn another_number_of_key_groups_is_refused_with_the_one_to_say() {
        for refusal in refusals(&plan("job", 2, 128), &genesis(&plan("job", 2, 64))) {
            assert!(refusal.ends_with("say `Engine::builder().max_parallelism(64)`"), "{refusal}");
        }
    }

    #[test]
    fn records_in_flight_that_could_come_out_of_order_are_drained_first_and_nothing_is_deleted() {
        let before = plan("job", 2, 64);
        let edge = before.edges().find(|edge| edge.is_forward).unwrap().layout;
        let record = InFlightRecord {
            edge: edge.name,
            subtask: SubtaskIndex(1),
            parallelism: 2,
            channels: 1,
            channel: ChannelIndex(0),
            batches: vec![vec![0]],
        };
        let checkpoint = CheckpointMetadata { in_flight: vec![record], ..genesis(&before) };
        before.check_restorable(&checkpoint, "state/", &Choices::default()).unwrap();
        for refusal in refusals(&plan("job", 3, 64), &checkpoint) {
            assert!(refusal.contains("with 3 subtasks instead of 2 they could come out of order"), "{refusal}");
            assert!(refusal.contains("start with 2 subtasks and stop the job"), "{refusal}");
            assert!(!refusal.contains("delete"), "{refusal}");
        }
    }
}
