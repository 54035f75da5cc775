//! Who waits for whom among sources that are aligned: the coordinator's side, driven by hand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use cofferdam_engine::{
    AlignmentGroup, Attempt, CheckpointId, JobId, SubtaskIndex, Timestamp, Watermark,
    checkpoint::{
        config::CheckpointConfig,
        coordinator::{Coordinator, CoordinatorEffect, CoordinatorInput, SubtaskReport},
        layout::JobLayout,
        snapshot::SubtaskId,
        source_alignment::SourceAlignment,
    },
};

use crate::support::at;

const GROUP: AlignmentGroup = AlignmentGroup(0);
const OTHER: AlignmentGroup = AlignmentGroup(1);

/// Two subtasks of one source and one of another are a group; the latter and a third source, another.
const A: SubtaskId = subtask(0, 0);
const B: SubtaskId = subtask(0, 1);
const C: SubtaskId = subtask(1, 0);
const D: SubtaskId = subtask(2, 0);

const fn subtask(chain: u32, index: u32) -> SubtaskId {
    SubtaskId { chain, index: SubtaskIndex(index) }
}

fn layout() -> JobLayout {
    let chains: BTreeSet<u32> = [0, 1, 2].into();
    JobLayout {
        job: JobId(1),
        job_name: "job".to_string(),
        max_parallelism: 8,
        subtasks: [A, B, C, D].into_iter().map(|id| (id, "".into())).collect(),
        operators: Vec::new(),
        edges: Vec::new(),
        sources: chains,
        loops: Default::default(),
        alignment: vec![[0, 1].into(), [1, 2].into()],
        fail_points: Default::default(),
    }
}

fn active(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: false }
}

fn idle(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: true }
}

/// A group that is driven by hand.
struct Rig(SourceAlignment);

impl Rig {
    fn new() -> Self {
        Self(SourceAlignment::new(&layout()))
    }

    /// Who is told what.
    fn heard(&mut self, subtask: SubtaskId, mark: Watermark) -> Vec<(SubtaskId, i64)> {
        let limits = self.0.heard(subtask, GROUP, mark);
        assert!(limits.iter().all(|limit| limit.group == GROUP));
        limits.into_iter().map(|limit| (limit.subtask, limit.slowest.0)).collect()
    }

    /// All three have spoken.
    fn begun(marks: [i64; 3]) -> Self {
        let mut rig = Self::new();
        for (subtask, mark) in [A, B, C].into_iter().zip(marks) {
            rig.heard(subtask, active(mark));
        }
        rig
    }
}

const NOTHING: i64 = i64::MIN;
const NO_LIMIT: i64 = i64::MAX;

#[test]
fn nobody_goes_on_before_all_have_said_where_they_are() {
    let mut rig = Rig::new();
    assert_eq!(rig.heard(A, active(100)), [(A, NOTHING)]);
    assert_eq!(rig.heard(B, active(90)), [(B, NOTHING), (C, 90)], "C alone has heard of all others");
    assert_eq!(rig.heard(C, active(70)), [(A, 70), (B, 70), (C, 90)], "each hears of the others only");
}

#[test]
fn who_speaks_is_answered_and_others_when_it_changes_something_for_them() {
    let mut rig = Rig::begun([100, 90, 70]);
    assert_eq!(rig.heard(A, active(120)), [(A, 70)]);
    assert_eq!(rig.heard(A, active(120)), [(A, 70)], "the answer may have been lost");
    assert_eq!(rig.heard(B, active(95)), [(B, 70), (C, 95)]);
    assert_eq!(rig.heard(C, active(300)), [(A, 95), (B, 120), (C, 95)], "B is the slowest now");
}

#[test]
fn what_is_idle_is_not_waited_for_until_it_wakes() {
    let mut rig = Rig::begun([100, 90, 70]);
    assert_eq!(rig.heard(C, idle(70)), [(A, 90), (B, 100), (C, 90)]);
    assert_eq!(rig.heard(B, idle(90)), [(A, NO_LIMIT), (B, 100), (C, 100)]);
    assert_eq!(rig.heard(C, active(75)), [(A, 75), (B, 75), (C, 100)]);
}

#[test]
fn what_has_finished_is_not_waited_for_whatever_it_says_later() {
    let mut rig = Rig::begun([100, 90, 70]);
    let told: Vec<_> = rig.0.finished(C).into_iter().map(|limit| (limit.group, limit.subtask, limit.slowest)).collect();
    let expected = [(GROUP, A, Timestamp(90)), (GROUP, B, Timestamp(100)), (OTHER, D, Timestamp::MAX)];
    assert_eq!(told, expected, "D is alone now");
    assert_eq!(rig.heard(C, active(10)), []);
    assert_eq!(rig.0.finished(C), []);
    assert_eq!(rig.0.heard(D, OTHER, active(5))[0].slowest, Timestamp::MAX);
}

#[test]
fn groups_know_nothing_of_each_other_and_no_stranger_is_answered() {
    let mut rig = Rig::begun([100, 90, 70]);
    let told: Vec<_> = rig.0.heard(D, OTHER, active(5)).iter().map(|limit| (limit.subtask, limit.slowest)).collect();
    assert_eq!(told, [(C, Timestamp(5)), (D, Timestamp::MIN)], "C has not spoken there");
    assert_eq!(rig.heard(C, active(71)), [(A, 71), (B, 71), (C, 90)]);
    assert_eq!(rig.heard(D, active(1)), []);
    assert_eq!(rig.0.heard(A, AlignmentGroup(7), active(1)), []);
}

#[test]
fn the_coordinator_passes_on_what_is_said_and_takes_the_finished_out() {
    let config = CheckpointConfig { interval: None, ..CheckpointConfig::default() };
    let mut coordinator = Coordinator::new(config, layout().into(), Attempt(1), CheckpointId(1), at(0));
    let mut report = |subtask, report| {
        let effects = coordinator.step(CoordinatorInput::Report(subtask, report), at(0)).unwrap();
        let limits = effects.into_iter().filter_map(|effect| match effect {
            CoordinatorEffect::Limit(limit) => Some((limit.subtask, limit.slowest.0)),
            _ => None,
        });
        limits.collect::<Vec<_>>()
    };
    for subtask in [A, B] {
        report(subtask, SubtaskReport::SourceTime(GROUP, active(50)));
    }
    assert_eq!(report(C, SubtaskReport::SourceTime(GROUP, active(9))), [(A, 9), (B, 9), (C, 50)]);
    assert_eq!(report(C, SubtaskReport::Finished), [(A, 50), (B, 50), (D, NO_LIMIT)]);
    assert_eq!(report(C, SubtaskReport::Finished), []);
}
