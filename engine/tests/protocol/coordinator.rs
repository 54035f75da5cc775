//! The coordinator, driven by hand: two subtasks of a source and one two-phase sink.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, ProcessingTime, SubtaskIndex,
    checkpoint::{
        config::CheckpointConfig,
        coordinator::{Coordinator, CoordinatorEffect, CoordinatorInput, JobLayout, OperatorLayout, SubtaskReport},
        snapshot::{OperatorKind, OperatorSnapshot, SnapshotStats, SubtaskId, SubtaskSnapshot},
        store::CommitStats,
    },
};

use crate::support::{at, ms};

const SOURCES: [SubtaskId; 2] = [subtask(0, 0), subtask(0, 1)];
const SINK: SubtaskId = subtask(1, 0);
const ALL: [SubtaskId; 3] = [SOURCES[0], SOURCES[1], SINK];

/// The coordinator's own, before something that must come is tried again.
const RETRY: Duration = Duration::from_millis(200);

const fn subtask(chain: u32, index: u32) -> SubtaskId {
    SubtaskId { chain, index: SubtaskIndex(index) }
}

fn layout() -> Arc<JobLayout> {
    let operator = |uid: &str, kind, chain| OperatorLayout { uid: uid.to_string(), kind, states: Vec::new(), chain };
    Arc::new(JobLayout {
        job: JobId(1),
        job_name: "job".to_string(),
        max_parallelism: 8,
        subtasks: ALL.iter().map(|id| (*id, format!("{} [{}]", id.chain, id.index))).collect::<BTreeMap<_, _>>(),
        operators: vec![operator("in", OperatorKind::Source, 0), operator("out", OperatorKind::TwoPhaseSink, 1)],
        fail_points: Default::default(),
    })
}

fn coordinator(config: CheckpointConfig) -> Coordinator {
    Coordinator::new(config, layout(), Attempt(3), CheckpointId(7), at(0))
}

/// A checkpoint every 100 ms, which may take 50 ms.
fn periodic() -> CheckpointConfig {
    CheckpointConfig::every(ms(100)).timeout(ms(50))
}

fn snapshot(finished: bool) -> SubtaskSnapshot {
    let state = OperatorSnapshot { state: vec![1], transactions: Vec::new() };
    let operators = vec![("in".to_string(), state)];
    SubtaskSnapshot { deltas: Vec::new(), operators, finished, stats: SnapshotStats::default() }
}

fn acknowledged(id: SubtaskId, checkpoint: u64, finished: bool) -> CoordinatorInput {
    let report = SubtaskReport::Acknowledged(CheckpointId(checkpoint), Box::new(snapshot(finished)));
    CoordinatorInput::Report(id, report)
}

fn declined(checkpoint: u64) -> CoordinatorInput {
    CoordinatorInput::Report(SINK, SubtaskReport::Declined(CheckpointId(checkpoint), "because".to_string()))
}

/// Effects in short, without the records of statistics.
fn short(effects: &[CoordinatorEffect]) -> Vec<String> {
    let name = |effect: &CoordinatorEffect| match effect {
        CoordinatorEffect::Trigger { checkpoint, halt: false } => Some(format!("trigger {checkpoint}")),
        CoordinatorEffect::Trigger { checkpoint, halt: true } => Some(format!("trigger {checkpoint} and halt")),
        CoordinatorEffect::EndInput => Some("end input".to_string()),
        CoordinatorEffect::Commit(commit) => Some(format!("commit {}", commit.metadata.checkpoint)),
        CoordinatorEffect::Completed(checkpoint) => Some(format!("completed {checkpoint}")),
        CoordinatorEffect::Aborted(checkpoint) => Some(format!("aborted {checkpoint}")),
        CoordinatorEffect::Record(_) => None,
        CoordinatorEffect::Done(end) => Some(format!("done {end:?}")),
    };
    effects.iter().filter_map(name).collect()
}

const NOTHING: [&str; 0] = [];

/// What a test does to a coordinator, answered in short.
trait Drive {
    fn does(&mut self, input: CoordinatorInput, now: ProcessingTime) -> Vec<CoordinatorEffect>;
    fn ticks(&mut self, now: ProcessingTime) -> Vec<String>;
    fn acknowledges(&mut self, id: SubtaskId, checkpoint: u64, finished: bool, now: ProcessingTime) -> Vec<String>;
    fn all_acknowledge(&mut self, checkpoint: u64, finished: bool, now: ProcessingTime) -> Vec<String>;
    fn commits(&mut self, checkpoint: u64, now: ProcessingTime) -> Vec<String>;
    fn declines(&mut self, checkpoint: u64, now: ProcessingTime) -> Vec<String>;
    fn all_finish(&mut self, now: ProcessingTime) -> Vec<String>;
    fn publishes(&mut self, checkpoint: u64) -> Vec<String>;
}

impl Drive for Coordinator {
    fn does(&mut self, input: CoordinatorInput, now: ProcessingTime) -> Vec<CoordinatorEffect> {
        self.step(input, now).unwrap()
    }

    fn ticks(&mut self, now: ProcessingTime) -> Vec<String> {
        short(&self.does(CoordinatorInput::Tick, now))
    }

    fn acknowledges(&mut self, id: SubtaskId, checkpoint: u64, finished: bool, now: ProcessingTime) -> Vec<String> {
        short(&self.does(acknowledged(id, checkpoint, finished), now))
    }

    fn all_acknowledge(&mut self, checkpoint: u64, finished: bool, now: ProcessingTime) -> Vec<String> {
        ALL.iter().flat_map(|id| self.acknowledges(*id, checkpoint, finished, now)).collect()
    }

    fn commits(&mut self, checkpoint: u64, now: ProcessingTime) -> Vec<String> {
        short(&self.does(CoordinatorInput::Committed(CheckpointId(checkpoint), CommitStats::default()), now))
    }

    fn declines(&mut self, checkpoint: u64, now: ProcessingTime) -> Vec<String> {
        short(&self.does(declined(checkpoint), now))
    }

    fn all_finish(&mut self, now: ProcessingTime) -> Vec<String> {
        ALL.iter()
            .flat_map(|id| short(&self.does(CoordinatorInput::Report(*id, SubtaskReport::Finished), now)))
            .collect()
    }

    fn publishes(&mut self, checkpoint: u64) -> Vec<String> {
        short(&self.does(CoordinatorInput::Report(SINK, SubtaskReport::Published(CheckpointId(checkpoint))), at(0)))
    }
}

/// One with checkpoint 7 pending since 100 ms.
fn pending() -> Coordinator {
    let mut coordinator = coordinator(periodic());
    assert_eq!(coordinator.ticks(at(100)), ["trigger 7"]);
    coordinator
}

/// One with checkpoint 7 handed to the store at 110 ms.
fn committing() -> Coordinator {
    let mut coordinator = pending();
    assert_eq!(coordinator.all_acknowledge(7, false, at(110)), ["commit 7"]);
    coordinator
}

#[test]
fn the_first_checkpoint_comes_an_interval_after_the_start_with_the_number_given() {
    let mut coordinator = coordinator(periodic());
    assert_eq!(coordinator.deadline(), Some(at(100)));
    assert_eq!(coordinator.ticks(at(99)), NOTHING);
    assert_eq!(coordinator.ticks(at(100)), ["trigger 7"]);
    assert_eq!(coordinator.next_checkpoint(), CheckpointId(8));
}

#[test]
fn a_checkpoint_completes_with_the_last_acknowledgement_and_not_before() {
    let mut coordinator = pending();
    assert_eq!(coordinator.acknowledges(SINK, 7, false, at(101)), NOTHING);
    assert_eq!(coordinator.acknowledges(SOURCES[0], 7, false, at(102)), NOTHING);
    assert_eq!(coordinator.acknowledges(SOURCES[0], 7, false, at(103)), NOTHING, "one subtask counts once");
    assert_eq!(coordinator.acknowledges(subtask(9, 9), 7, false, at(104)), NOTHING, "a stranger counts for nothing");
    assert_eq!(coordinator.acknowledges(SOURCES[1], 7, false, at(105)), ["commit 7"]);
}

#[test]
fn acknowledgements_of_other_checkpoints_are_ignored() {
    let mut coordinator = pending();
    assert_eq!(coordinator.ticks(at(150)), ["aborted 7"]);
    assert_eq!(coordinator.all_acknowledge(7, false, at(151)), NOTHING, "7 is over");
    assert_eq!(coordinator.ticks(at(200)), ["trigger 8"]);
    assert_eq!(coordinator.all_acknowledge(7, false, at(201)), NOTHING, "too old");
    assert_eq!(coordinator.all_acknowledge(9, false, at(201)), NOTHING, "never triggered");
    assert_eq!(coordinator.all_acknowledge(8, false, at(202)), ["commit 8"]);
}

#[test]
fn completed_is_announced_when_the_store_has_made_it_durable() {
    let mut coordinator = committing();
    assert_eq!(coordinator.commits(6, at(111)), NOTHING, "another one");
    assert_eq!(coordinator.commits(7, at(112)), ["completed 7"]);
    assert_eq!(coordinator.commits(7, at(113)), NOTHING, "once");
}

#[test]
fn a_commit_holds_every_operators_snapshots_and_names_the_attempt() {
    let mut coordinator = pending();
    let effects: Vec<_> = ALL.iter().flat_map(|id| coordinator.does(acknowledged(*id, 7, false), at(110))).collect();
    let [CoordinatorEffect::Commit(commit)] = &effects[..] else { panic!("{effects:?}") };
    let metadata = &commit.metadata;
    assert_eq!((metadata.attempt, metadata.checkpoint, metadata.finished), (Attempt(3), CheckpointId(7), false));
    let operators: Vec<_> = metadata.operators.iter().map(|one| (one.uid.as_str(), one.subtasks.len())).collect();
    assert_eq!(operators, [("in", 2), ("out", 1)]);
}

#[test]
fn a_checkpoint_that_takes_too_long_is_aborted_and_its_number_is_not_used_again() {
    let mut coordinator = pending();
    assert_eq!(coordinator.deadline(), Some(at(150)));
    assert_eq!(coordinator.ticks(at(149)), NOTHING);
    assert_eq!(coordinator.ticks(at(150)), ["aborted 7"]);
    assert_eq!(coordinator.deadline(), Some(at(200)));
    assert_eq!(coordinator.ticks(at(200)), ["trigger 8"]);
}

#[test]
fn a_checkpoint_that_is_being_committed_is_never_aborted() {
    let mut coordinator = committing();
    assert_eq!(coordinator.deadline(), None, "there is nothing to wait for but the store");
    assert_eq!(coordinator.ticks(at(100_000)), NOTHING);
    assert_eq!(coordinator.declines(7, at(100_000)), NOTHING);
    assert_eq!(coordinator.commits(7, at(100_000)), ["completed 7", "trigger 8"], "the next is long due");
}

#[test]
fn there_is_one_checkpoint_at_a_time() {
    let mut coordinator = coordinator(CheckpointConfig::every(ms(100)).timeout(ms(1000)));
    coordinator.does(CoordinatorInput::Tick, at(100));
    assert_eq!(coordinator.ticks(at(300)), NOTHING, "7 is pending");
    coordinator.all_acknowledge(7, false, at(300));
    assert_eq!(coordinator.ticks(at(400)), NOTHING, "7 is being committed");
}

#[test]
fn the_next_checkpoint_keeps_the_pause() {
    let mut coordinator = coordinator(CheckpointConfig::every(ms(100)).min_pause(ms(70)));
    coordinator.does(CoordinatorInput::Tick, at(100));
    coordinator.all_acknowledge(7, false, at(180));
    assert_eq!(coordinator.commits(7, at(190)), ["completed 7"]);
    assert_eq!(coordinator.deadline(), Some(at(260)));
    assert_eq!(coordinator.ticks(at(200)), NOTHING);
    assert_eq!(coordinator.ticks(at(260)), ["trigger 8"]);
}

#[test]
fn a_declined_checkpoint_is_aborted() {
    let mut coordinator = pending();
    assert_eq!(coordinator.declines(6, at(101)), NOTHING, "another one");
    assert_eq!(coordinator.declines(7, at(101)), ["aborted 7"]);
    assert_eq!(coordinator.declines(7, at(102)), NOTHING);
    assert_eq!(coordinator.ticks(at(200)), ["trigger 8"]);
}

#[test]
fn the_end_of_every_input_triggers_the_final_checkpoint_even_without_an_interval() {
    let mut coordinator = coordinator(CheckpointConfig::default());
    assert_eq!(coordinator.deadline(), None);
    assert_eq!(coordinator.all_finish(at(5)), ["trigger 7"]);
    assert_eq!(coordinator.all_acknowledge(7, true, at(6)), ["commit 7"]);
    assert_eq!(coordinator.commits(7, at(7)), ["completed 7"]);
    assert_eq!(coordinator.publishes(6), NOTHING, "not all of it");
    assert_eq!(coordinator.publishes(7), ["done Finished"]);
    assert_eq!(coordinator.publishes(7), NOTHING, "once");
    assert_eq!((coordinator.deadline(), coordinator.ticks(at(10_000)).len()), (None, 0));
}

#[test]
fn a_checkpoint_under_way_when_the_input_ends_is_followed_by_the_final_one() {
    let mut coordinator = pending();
    coordinator.does(acknowledged(SOURCES[0], 7, false), at(101));
    assert_eq!(coordinator.all_finish(at(102)), NOTHING);
    coordinator.does(acknowledged(SOURCES[1], 7, true), at(103));
    assert_eq!(coordinator.acknowledges(SINK, 7, true, at(104)), ["commit 7"]);
    assert_eq!(coordinator.commits(7, at(105)), ["completed 7", "trigger 8"], "7 was not final: one had not finished");
}

#[test]
fn a_final_checkpoint_that_fails_is_tried_again_after_a_pause() {
    for decline in [true, false] {
        let mut coordinator = coordinator(CheckpointConfig::default().timeout(ms(50)));
        coordinator.all_finish(at(0));
        for (number, began) in [(7, 0), (8, 300), (9, 600)] {
            let aborted = [format!("aborted {number}")];
            let now = if decline { at(began + 10) } else { at(began + 50) };
            assert_eq!(if decline { coordinator.declines(number, now) } else { coordinator.ticks(now) }, aborted);
            assert_eq!(coordinator.deadline(), Some(now.after(RETRY)), "not at once");
            assert_eq!(coordinator.ticks(now.after(ms(199))), NOTHING);
            assert_eq!(coordinator.ticks(at(began + 300)), [format!("trigger {}", number + 1)]);
        }
        coordinator.all_acknowledge(10, true, at(901));
        assert_eq!(coordinator.commits(10, at(902)), ["completed 10"]);
        assert_eq!(coordinator.publishes(10), ["done Finished"]);
    }
}

#[test]
fn the_last_completion_is_announced_until_every_sink_has_published() {
    let mut coordinator = coordinator(CheckpointConfig::default());
    coordinator.all_finish(at(0));
    coordinator.all_acknowledge(7, true, at(1));
    assert_eq!(coordinator.commits(7, at(2)), ["completed 7"]);
    assert_eq!(coordinator.deadline(), Some(at(202)));
    assert_eq!(coordinator.ticks(at(100)), NOTHING);
    assert_eq!(coordinator.ticks(at(202)), ["completed 7"]);
    assert_eq!(coordinator.ticks(at(402)), ["completed 7"]);
    assert_eq!(coordinator.publishes(7), ["done Finished"]);
    assert_eq!(coordinator.ticks(at(602)), NOTHING);
}

#[test]
fn stop_takes_a_last_checkpoint_behind_which_sources_halt() {
    let mut coordinator = coordinator(CheckpointConfig::default());
    assert_eq!(short(&coordinator.does(CoordinatorInput::Stop, at(5))), ["trigger 7 and halt"]);
    coordinator.all_acknowledge(7, false, at(6));
    assert_eq!(coordinator.commits(7, at(7)), ["completed 7"]);
    assert_eq!(coordinator.publishes(7), ["done Stopped"]);
}

#[test]
fn stop_waits_for_the_checkpoint_under_way_and_then_takes_its_own() {
    let mut pending = pending();
    assert_eq!(short(&pending.does(CoordinatorInput::Stop, at(101))), NOTHING);
    pending.all_acknowledge(7, false, at(102));
    assert_eq!(pending.commits(7, at(103)), ["completed 7", "trigger 8 and halt"]);
    let mut committing = committing();
    assert_eq!(short(&committing.does(CoordinatorInput::Stop, at(111))), NOTHING);
    assert_eq!(committing.commits(7, at(112)), ["completed 7", "trigger 8 and halt"]);
}

#[test]
fn a_stop_whose_checkpoint_fails_is_tried_again_with_halt() {
    let mut coordinator = pending();
    coordinator.does(CoordinatorInput::Stop, at(101));
    assert_eq!(coordinator.declines(7, at(102)), ["aborted 7"]);
    assert_eq!(coordinator.ticks(at(302)), ["trigger 8 and halt"]);
    assert_eq!(coordinator.declines(8, at(303)), ["aborted 8"]);
    assert_eq!(coordinator.ticks(at(503)), ["trigger 9 and halt"]);
}

#[test]
fn stopping_a_job_whose_input_has_ended_finishes_it() {
    let mut coordinator = coordinator(CheckpointConfig::default());
    coordinator.does(CoordinatorInput::Stop, at(0));
    coordinator.all_finish(at(1));
    coordinator.all_acknowledge(7, true, at(2));
    coordinator.commits(7, at(3));
    assert_eq!(coordinator.publishes(7), ["done Finished"]);
}

#[test]
fn drain_ends_the_input_and_marks_the_checkpoints_that_follow() {
    let mut coordinator = pending();
    assert_eq!(short(&coordinator.does(CoordinatorInput::Drain, at(0))), ["end input"]);
    let effects: Vec<_> = ALL.iter().flat_map(|id| coordinator.does(acknowledged(*id, 7, false), at(110))).collect();
    let [CoordinatorEffect::Commit(commit)] = &effects[..] else { panic!("{effects:?}") };
    assert!(commit.metadata.draining, "whoever goes on from it must go on draining");
}

#[test]
fn an_aborted_checkpoint_leaves_its_reason() {
    let mut coordinator = pending();
    let effects = coordinator.does(declined(7), at(120));
    let reasons: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            CoordinatorEffect::Record(stats) => Some(stats.aborted.as_ref()?.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["declined by 1 [0]: because"]);
}
