//! The coordinator, driven by hand: two subtasks of a source and one two-phase sink.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup, ProcessingTime, SavepointId, SubtaskIndex,
    checkpoint::{
        config::CheckpointConfig,
        coordinator::{Coordinator, CoordinatorEffect, CoordinatorInput, SavepointTicket, SubtaskReport},
        inherited::Inherited,
        layout::{JobLayout, OperatorLayout},
        snapshot::{
            BlockKind, OperatorKind, OperatorSnapshot, Origin, SnapshotStats, StateAddress, StateBlock, StateDelta,
            SubtaskId, SubtaskSnapshot,
        },
        stats::CheckpointFailureReason,
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
        subtasks: ALL.iter().map(|id| (*id, format!("{} [{}]", id.chain, id.index).into())).collect::<BTreeMap<_, _>>(),
        operators: vec![operator("in", OperatorKind::Source, 0), operator("out", OperatorKind::TwoPhaseSink, 1)],
        edges: Vec::new(),
        sources: [0].into(),
        loops: Default::default(),
        alignment: Vec::new(),
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
    SubtaskSnapshot {
        deltas: Vec::new(),
        operators,
        in_flight: Vec::new(),
        time: Default::default(),
        finished,
        is_quiet: false,
        is_pending: false,
        stats: SnapshotStats::default(),
    }
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
        CoordinatorEffect::Trigger(barrier) if barrier.halt => Some(format!("trigger {} and halt", barrier.checkpoint)),
        CoordinatorEffect::Trigger(barrier) => Some(format!("trigger {}", barrier.checkpoint)),
        CoordinatorEffect::EndLoop(chain) => Some(format!("end loop {chain}")),
        CoordinatorEffect::EndInput => Some("end input".to_string()),
        CoordinatorEffect::Commit(commit) => Some(format!("commit {}", commit.metadata.checkpoint)),
        CoordinatorEffect::CommitSavepoint(commit, tickets) => {
            Some(format!("commit {} for {}", commit.metadata.checkpoint, numbers(tickets)))
        }
        CoordinatorEffect::SavepointFailed(tickets, why) => Some(format!("no savepoint {}: {why}", numbers(tickets))),
        CoordinatorEffect::Completed(checkpoint) => Some(format!("completed {checkpoint}")),
        CoordinatorEffect::Aborted(checkpoint) => Some(format!("aborted {checkpoint}")),
        CoordinatorEffect::Limit(limit) => {
            Some(format!("limit {}.{}: {}", limit.subtask.chain, limit.subtask.index, limit.slowest))
        }
        CoordinatorEffect::Record(_) => None,
        CoordinatorEffect::Done(end) => Some(format!("done {end:?}")),
    };
    effects.iter().filter_map(name).collect()
}

fn numbers(tickets: &[SavepointTicket]) -> String {
    tickets.iter().map(|ticket| ticket.0.to_string()).collect::<Vec<_>>().join(" and ")
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

/// Two at once.
fn overlapping() -> Coordinator {
    let mut coordinator = coordinator(CheckpointConfig::every(ms(100)).timeout(ms(1000)).max_concurrent(2));
    assert_eq!(coordinator.ticks(at(100)), ["trigger 7"]);
    assert_eq!(coordinator.ticks(at(200)), ["trigger 8"]);
    assert_eq!(coordinator.ticks(at(300)), NOTHING, "no third one");
    coordinator
}

#[test]
fn overlapping_checkpoints_complete_in_order_and_one_at_a_time() {
    let mut coordinator = overlapping();
    assert_eq!(coordinator.all_acknowledge(7, false, at(310)), ["commit 7"]);
    assert_eq!(coordinator.all_acknowledge(8, false, at(320)), NOTHING, "the store is busy");
    assert_eq!(coordinator.commits(7, at(330)), ["completed 7", "commit 8", "trigger 9"]);
    assert_eq!(coordinator.commits(8, at(340)), ["completed 8"]);
}

#[test]
fn a_checkpoint_that_lost_an_acknowledgement_is_subsumed_by_the_next_and_is_no_failure() {
    let mut coordinator = overlapping();
    coordinator.acknowledges(SINK, 7, false, at(310));
    let effects: Vec<_> = ALL.iter().flat_map(|id| coordinator.does(acknowledged(*id, 8, false), at(320))).collect();
    assert_eq!(short(&effects), ["aborted 7", "commit 8"]);
    let CoordinatorEffect::Record(stats) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(stats.aborted, Some(CheckpointFailureReason::Subsumed(CheckpointId(8))));
    assert!(!stats.aborted.as_ref().unwrap().is_failure());
}

#[test]
fn more_failures_in_a_row_than_tolerable_end_the_attempt() {
    for tolerable in [0, 2] {
        let config = CheckpointConfig::every(ms(100)).timeout(ms(50)).tolerable_failures(tolerable);
        let mut coordinator = coordinator(config);
        let fails = |coordinator: &mut Coordinator, now| {
            coordinator.step(CoordinatorInput::Tick, at(now)).unwrap();
            coordinator.step(CoordinatorInput::Tick, at(now + 50))
        };
        for failure in 0..u64::from(tolerable) {
            assert!(fails(&mut coordinator, 100 + failure * 100).is_ok());
        }
        // One that completes begins the count anew.
        coordinator.ticks(at(1000));
        let next = coordinator.next_checkpoint().0 - 1;
        coordinator.all_acknowledge(next, false, at(1001));
        coordinator.commits(next, at(1002));
        for failure in 0..u64::from(tolerable) {
            assert!(fails(&mut coordinator, 2000 + failure * 100).is_ok());
        }
        let error = fails(&mut coordinator, 3000).unwrap_err().to_string();
        assert!(error.contains("not complete within 50ms"), "{error}");
        assert!(error.contains(&format!("{tolerable} failed checkpoints in a row are tolerable")), "{error}");
        assert_eq!(coordinator.abandon(at(3050)).len(), 1, "it is told of all the same");
    }
}

#[test]
fn beats_that_go_by_unused_are_counted_and_the_beat_is_kept() {
    let mut coordinator = coordinator(CheckpointConfig::every(ms(100)));
    coordinator.ticks(at(103));
    coordinator.all_acknowledge(7, false, at(110));
    coordinator.commits(7, at(120));
    assert_eq!(coordinator.deadline(), Some(at(200)), "not 203");
    coordinator.ticks(at(200));
    coordinator.all_acknowledge(8, false, at(560));
    assert_eq!(coordinator.commits(8, at(570)), ["completed 8", "trigger 9"]);
    let effects: Vec<_> = ALL.iter().flat_map(|id| coordinator.does(acknowledged(*id, 9, false), at(571))).collect();
    assert_eq!(short(&effects), ["commit 9"]);
    let effects = coordinator.does(CoordinatorInput::Committed(CheckpointId(9), CommitStats::default()), at(572));
    let CoordinatorEffect::Record(stats) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((stats.skipped, stats.triggered, stats.subtasks.len()), (2, at(570), 3), "400 and 500 went by");
    assert_eq!(coordinator.deadline(), Some(at(600)));
}

#[test]
fn what_was_under_way_when_the_attempt_ended_is_told() {
    let mut coordinator = pending();
    let abandoned = coordinator.abandon(at(130));
    assert_eq!((abandoned[0].checkpoint, abandoned[0].end_to_end), (CheckpointId(7), ms(30)));
    assert_eq!(abandoned[0].aborted, Some(CheckpointFailureReason::AttemptEnded));
}

#[test]
fn a_loop_ends_when_its_heads_are_quiet_in_one_checkpoint_after_every_source_has_finished() {
    let layout = JobLayout { loops: [(1, [0].into())].into(), ..JobLayout::clone(&layout()) };
    let config = CheckpointConfig::default();
    let mut coordinator = Coordinator::new(config, Arc::new(layout), Attempt(3), CheckpointId(7), at(0));
    let acknowledge = |coordinator: &mut Coordinator, n, is_quiet, now| -> Vec<String> {
        let one = |id: &SubtaskId| {
            let finished = SOURCES.contains(id);
            let snapshot = SubtaskSnapshot { is_quiet: is_quiet && !finished, ..snapshot(finished) };
            let report = SubtaskReport::Acknowledged(CheckpointId(n), Box::new(snapshot));
            short(&coordinator.does(CoordinatorInput::Report(*id, report), now))
        };
        ALL.iter().flat_map(one).collect()
    };
    let finished = |id: SubtaskId| CoordinatorInput::Report(id, SubtaskReport::Finished);
    assert_eq!(short(&coordinator.does(finished(SOURCES[0]), at(1))), NOTHING);
    assert_eq!(short(&coordinator.does(finished(SOURCES[1]), at(2))), ["trigger 7"], "to look whether it is empty");
    assert_eq!(acknowledge(&mut coordinator, 7, false, at(3)), ["commit 7"]);
    assert_eq!(coordinator.commits(7, at(4)), ["completed 7"]);
    assert_eq!(coordinator.ticks(at(14)), ["trigger 8"], "after a short pause");
    assert_eq!(acknowledge(&mut coordinator, 8, true, at(15)), ["end loop 1", "commit 8"]);
    assert_eq!(coordinator.commits(8, at(16)), ["completed 8"]);
    assert_eq!(short(&coordinator.does(finished(SINK), at(17))), ["trigger 9"], "the last one");
}

#[test]
fn what_ends_the_job_does_not_wait_for_the_pause() {
    let config = CheckpointConfig::every(ms(100)).min_pause(ms(10_000));
    let mut coordinator = coordinator(config);
    coordinator.ticks(at(100));
    coordinator.all_acknowledge(7, false, at(110));
    assert_eq!(coordinator.commits(7, at(120)), ["completed 7"]);
    assert_eq!(coordinator.ticks(at(200)), NOTHING, "the beat waits");
    assert_eq!(short(&coordinator.does(CoordinatorInput::Stop, at(210))), ["trigger 8 and halt"]);
}

#[test]
fn a_stop_that_fails_is_tried_again_as_often_as_is_tolerable_and_then_ends_the_job_with_its_cause() {
    let config = CheckpointConfig::default().timeout(ms(50)).tolerable_failures(1);
    let mut coordinator = coordinator(config);
    assert_eq!(short(&coordinator.does(CoordinatorInput::Stop, at(0))), ["trigger 7 and halt"]);
    assert_eq!(coordinator.ticks(at(50)), ["aborted 7"]);
    assert_eq!(coordinator.ticks(at(250)), ["trigger 8 and halt"]);
    let error = coordinator.step(CoordinatorInput::Tick, at(300)).unwrap_err();
    assert!(!error.is_retryable(), "another attempt would only stop again");
    let error = error.to_string();
    assert!(error.contains("checkpoint 8 was not complete within 50ms"), "{error}");
    assert!(error.contains("1 failed checkpoints in a row are tolerable"), "{error}");
    assert_eq!(coordinator.abandon(at(301)).len(), 1, "it is told of all the same");
}

#[test]
fn a_stop_that_fails_is_tried_again_for_as_long_as_nothing_else_was_said() {
    let mut coordinator = coordinator(CheckpointConfig::default().timeout(ms(50)));
    assert_eq!(short(&coordinator.does(CoordinatorInput::Stop, at(0))), ["trigger 7 and halt"]);
    for number in 7..50 {
        let began = (number - 7) * 250;
        assert_eq!(coordinator.ticks(at(began + 50)), [format!("aborted {number}")]);
        assert_eq!(coordinator.ticks(at(began + 250)), [format!("trigger {} and halt", number + 1)]);
    }
}

#[test]
fn a_checkpoint_that_is_too_late_names_who_is_missing() {
    let mut coordinator = pending();
    coordinator.acknowledges(SINK, 7, false, at(110));
    let effects = coordinator.does(CoordinatorInput::Tick, at(150));
    let CoordinatorEffect::Record(stats) = &effects[0] else { panic!("{effects:?}") };
    let reason = stats.aborted.as_ref().unwrap().to_string();
    assert_eq!(reason, "not complete within 50ms: not acknowledged by 0 [0], 0 [1]");
}

fn wants(ticket: u64) -> CoordinatorInput {
    CoordinatorInput::Savepoint(SavepointTicket(ticket))
}

#[test]
fn a_savepoint_is_taken_at_once_without_an_interval_too_and_the_interval_begins_anew() {
    let mut without = coordinator(CheckpointConfig::default());
    assert_eq!(short(&without.does(wants(1), at(3))), ["trigger 7"]);
    assert_eq!(without.all_acknowledge(7, false, at(4)), ["commit 7 for 1"]);
    assert_eq!(without.commits(7, at(5)), ["completed 7"]);

    let mut periodic = coordinator(periodic());
    assert_eq!(short(&periodic.does(wants(1), at(60))), ["trigger 7"]);
    periodic.all_acknowledge(7, false, at(61));
    assert_eq!(periodic.commits(7, at(62)), ["completed 7"]);
    assert_eq!(periodic.ticks(at(159)), NOTHING);
    assert_eq!(periodic.ticks(at(160)), ["trigger 8"]);
    assert_eq!(periodic.all_acknowledge(8, false, at(161)), ["commit 8"]);
}

#[test]
fn a_savepoint_waits_for_room_and_those_that_wait_share_a_checkpoint() {
    let mut coordinator = coordinator(periodic());
    assert_eq!(coordinator.ticks(at(100)), ["trigger 7"]);
    assert_eq!(short(&coordinator.does(wants(1), at(101))), NOTHING);
    assert_eq!(short(&coordinator.does(wants(2), at(102))), NOTHING);
    assert_eq!(coordinator.all_acknowledge(7, false, at(103)), ["commit 7"]);
    assert_eq!(short(&coordinator.does(wants(3), at(104))), NOTHING);
    assert_eq!(coordinator.commits(7, at(105)), ["completed 7", "trigger 8"]);
    assert_eq!(short(&coordinator.does(wants(4), at(106))), NOTHING);
    assert_eq!(coordinator.all_acknowledge(8, false, at(107)), ["commit 8 for 1 and 2 and 3"]);
    assert_eq!(coordinator.commits(8, at(108)), ["completed 8", "trigger 9"]);
    assert_eq!(coordinator.all_acknowledge(9, false, at(109)), ["commit 9 for 4"]);
}

#[test]
fn a_savepoint_whose_checkpoint_fails_is_told_so_once_and_counts_against_nothing() {
    let mut coordinator = coordinator(periodic().tolerable_failures(0));
    coordinator.does(wants(1), at(10));
    let why = "no savepoint 1: its checkpoint, 7, was declined by 1 [0]: because";
    assert_eq!(coordinator.declines(7, at(11)), [why, "aborted 7"]);
    coordinator.does(wants(2), at(12));
    let late = coordinator.ticks(at(62));
    assert!(late[0].starts_with("no savepoint 2: its checkpoint, 8, was not complete within 50ms"), "{late:?}");
    assert_eq!(late[1..], ["aborted 8"]);
    assert_eq!(coordinator.ticks(at(112)), ["trigger 9"], "the beat goes on");
    assert_eq!(coordinator.all_acknowledge(9, false, at(113)), ["commit 9"], "nothing is tried again");
}

#[test]
fn a_savepoint_never_overtakes_and_nothing_overtakes_it() {
    let mut coordinator = coordinator(CheckpointConfig::every(ms(100)).unaligned(ms(0)).max_concurrent(3));
    let overtakes = |effects: Vec<CoordinatorEffect>| match &effects[..] {
        [CoordinatorEffect::Trigger(barrier)] => barrier.overtakes.is_some(),
        _ => panic!("{effects:?}"),
    };
    assert!(overtakes(coordinator.does(CoordinatorInput::Tick, at(100))));
    assert!(!overtakes(coordinator.does(wants(1), at(150))));
    assert!(!overtakes(coordinator.does(CoordinatorInput::Tick, at(250))), "no barrier passes one that may not");
}

#[test]
fn a_savepoint_of_a_job_that_ends_is_that_of_its_end_or_is_refused() {
    let mut coordinator = coordinator(periodic());
    assert_eq!(coordinator.ticks(at(100)), ["trigger 7"]);
    assert_eq!(short(&coordinator.does(wants(1), at(101))), NOTHING);
    assert_eq!(short(&coordinator.does(CoordinatorInput::Stop, at(102))), NOTHING);
    coordinator.all_acknowledge(7, false, at(103));
    assert_eq!(coordinator.commits(7, at(104)), ["completed 7", "trigger 8 and halt"]);
    assert_eq!(short(&coordinator.does(wants(2), at(105))), NOTHING);
    assert_eq!(coordinator.all_acknowledge(8, false, at(106)), ["commit 8 for 1"]);
    let refused = "no savepoint 2: the job has taken its last checkpoint";
    assert_eq!(coordinator.commits(8, at(107)), ["completed 8", refused]);
    let refused = "no savepoint 3: the job has taken its last checkpoint";
    assert_eq!(short(&coordinator.does(wants(3), at(108))), [refused]);
}

#[test]
fn every_checkpoint_names_the_savepoint_that_the_job_came_from_and_the_first_to_complete_drops_what_is_given_up() {
    let origin = Some(Origin { savepoint: SavepointId(5), checkpoint: CheckpointId(6) });
    let address = StateAddress { operator: "gone".to_string(), state: "state".to_string() };
    let blocks = vec![StateBlock { group: KeyGroup(3), kind: BlockKind::Full, entries: 0, bytes: Vec::new() }];
    let dropped = vec![StateDelta { checkpoint: CheckpointId(6), address, blocks }];
    let mut coordinator = coordinator(periodic()).inheriting(Inherited { origin, dropped });
    let mut deltas_of = |number: u64| {
        let time = number * 1_000;
        coordinator.ticks(at(time));
        let mut effects = Vec::new();
        for id in ALL {
            effects.extend(coordinator.does(acknowledged(id, number, false), at(time + 1)));
        }
        let [CoordinatorEffect::Commit(commit)] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(commit.metadata.origin, origin);
        let deltas: Vec<_> = commit.deltas.iter().map(|delta| (delta.checkpoint.0, delta.blocks.len())).collect();
        coordinator.commits(number, at(time + 2));
        deltas
    };
    assert_eq!(deltas_of(7), [(7, 1)]);
    assert_eq!(deltas_of(8), []);
}

fn not_stored(coordinator: &mut Coordinator, checkpoint: u64, now: ProcessingTime) -> Vec<String> {
    short(&coordinator.does(CoordinatorInput::NotStored(CheckpointId(checkpoint), "there is no room".to_string()), now))
}

#[test]
fn a_checkpoint_for_which_there_was_no_room_is_aborted_and_the_next_one_comes() {
    let mut coordinator = committing();
    let effects =
        coordinator.does(CoordinatorInput::NotStored(CheckpointId(7), "there is no room".to_string()), at(120));
    assert_eq!(short(&effects), ["aborted 7"]);
    let CoordinatorEffect::Record(stats) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(stats.aborted, Some(CheckpointFailureReason::NotStored("there is no room".to_string())));
    assert_eq!(not_stored(&mut coordinator, 7, at(121)), NOTHING, "only once");
    assert_eq!(coordinator.ticks(at(200)), ["trigger 8"]);
    assert_eq!(coordinator.all_acknowledge(8, false, at(201)), ["commit 8"]);
    assert_eq!(coordinator.commits(8, at(202)), ["completed 8"]);
}

#[test]
fn no_room_counts_against_the_tolerable_failures() {
    let mut coordinator = coordinator(periodic().tolerable_failures(0));
    coordinator.ticks(at(100));
    coordinator.all_acknowledge(7, false, at(110));
    let input = CoordinatorInput::NotStored(CheckpointId(7), "there is no room".to_string());
    let error = coordinator.step(input, at(120)).unwrap_err().to_string();
    assert!(error.contains("not stored: there is no room"), "{error}");
}

#[test]
fn a_last_checkpoint_for_which_there_was_no_room_is_tried_again() {
    let mut coordinator = coordinator(periodic());
    assert_eq!(short(&coordinator.does(CoordinatorInput::Stop, at(0))), ["trigger 7 and halt"]);
    assert_eq!(coordinator.all_acknowledge(7, false, at(1)), ["commit 7"]);
    assert_eq!(not_stored(&mut coordinator, 7, at(2)), ["aborted 7"]);
    assert_eq!(coordinator.ticks(at(2).after(RETRY)), ["trigger 8 and halt"]);
    coordinator.all_acknowledge(8, false, at(300));
    coordinator.commits(8, at(301));
    assert_eq!(coordinator.publishes(8), ["done Stopped"]);
}

#[test]
fn a_savepoint_for_which_there_was_no_room_is_told_so() {
    let mut coordinator = coordinator(periodic());
    coordinator.does(wants(1), at(10));
    assert_eq!(coordinator.all_acknowledge(7, false, at(11)), ["commit 7 for 1"]);
    let why = "no savepoint 1: its checkpoint, 7, was not stored: there is no room";
    assert_eq!(not_stored(&mut coordinator, 7, at(12)), [why, "aborted 7"]);
}

#[test]
fn a_subtask_whose_heap_is_spent_has_a_checkpoint_as_soon_as_there_is_room() {
    let spent = || CoordinatorInput::Report(SINK, SubtaskReport::HeapSpent);
    let mut coordinator = coordinator(periodic().min_pause(ms(10)));
    assert_eq!(short(&coordinator.does(spent(), at(20))), ["trigger 7"]);
    assert_eq!(short(&coordinator.does(spent(), at(21))), NOTHING, "one at a time");
    assert_eq!(coordinator.all_acknowledge(7, false, at(30)), ["commit 7"]);
    assert_eq!(coordinator.commits(7, at(31)), ["completed 7"], "the pause is kept");
    assert_eq!(coordinator.deadline(), Some(at(41)));
    assert_eq!(coordinator.ticks(at(41)), ["trigger 8"]);
    coordinator.all_acknowledge(8, false, at(50));
    assert_eq!(coordinator.commits(8, at(51)), ["completed 8"]);
    assert_eq!(coordinator.ticks(at(140)), NOTHING, "the interval begins anew");
    assert_eq!(coordinator.ticks(at(141)), ["trigger 9"]);
}

#[test]
fn a_subtask_whose_heap_is_spent_waits_after_a_failure_and_the_interval_does_not() {
    let spent = || CoordinatorInput::Report(SINK, SubtaskReport::HeapSpent);
    let mut coordinator = coordinator(periodic());
    assert_eq!(short(&coordinator.does(spent(), at(1))), ["trigger 7"]);
    assert_eq!(short(&coordinator.does(spent(), at(2))), NOTHING);
    coordinator.all_acknowledge(7, false, at(3));
    assert_eq!(not_stored(&mut coordinator, 7, at(4)), ["aborted 7"], "not at once");
    assert_eq!(coordinator.ticks(at(101)), ["trigger 8"], "the beat");
    assert_eq!(short(&coordinator.does(spent(), at(102))), NOTHING);
    coordinator.all_acknowledge(8, false, at(103));
    assert_eq!(coordinator.commits(8, at(150)), ["completed 8"]);
    assert_eq!(coordinator.ticks(at(201)), ["trigger 9"]);
}
