//! The participant, driven by hand: pre-commits are named by a letter.

use std::time::Duration;

use cofferdam_engine::{
    Attempt, ChannelIndex, CheckpointBarrier, CheckpointId,
    checkpoint::{
        participant::{Boundary, Participant, ParticipantEffect},
        snapshot::{InFlightBatch, OperatorSnapshot, SnapshotStats, SubtaskSnapshot},
    },
};

fn snapshot() -> SubtaskSnapshot {
    let operators = vec![("out".to_string(), OperatorSnapshot::default())];
    SubtaskSnapshot {
        deltas: Vec::new(),
        operators,
        in_flight: Vec::new(),
        time: Default::default(),
        finished: false,
        is_quiet: false,
        is_pending: false,
        stats: SnapshotStats::default(),
    }
}

fn barrier(checkpoint: u64, halt: bool) -> CheckpointBarrier {
    let (checkpoint, attempt) = (CheckpointId(checkpoint), Attempt(1));
    CheckpointBarrier { checkpoint, attempt, triggered: at(0), overtakes: None, halt }
}

/// Effects in short: transactions by their bytes, as letters.
fn short(effects: Vec<ParticipantEffect<char>>) -> Vec<String> {
    let letters = |transactions: Vec<_>| -> String {
        let bytes = |transaction: cofferdam_engine::checkpoint::snapshot::PreparedTransaction| transaction.bytes;
        transactions.into_iter().flat_map(bytes).map(char::from).collect()
    };
    let name = |effect| match effect {
        ParticipantEffect::PreCommit(checkpoint, letter) => format!("pre-commit {checkpoint} {letter}"),
        ParticipantEffect::Publish(checkpoint, due, pause) if pause.is_zero() => {
            format!("publish {checkpoint} {}", letters(due))
        }
        ParticipantEffect::Publish(checkpoint, due, pause) => {
            format!("publish {checkpoint} {} after {pause:?}", letters(due))
        }
        ParticipantEffect::Acknowledge(checkpoint, snapshot) => {
            let carried = snapshot.operators.into_iter().flat_map(|(_, operator)| operator.transactions).collect();
            format!("acknowledge {checkpoint} {}", letters(carried))
        }
        ParticipantEffect::Published(checkpoint) => format!("published {checkpoint}"),
    };
    effects.into_iter().map(name).collect()
}

use crate::support::at;

struct Sink(Participant<char>);

impl Sink {
    fn new() -> Self {
        Self(Participant::new(Some("out".to_string())))
    }

    fn frozen(&mut self, checkpoint: u64, letter: char) -> Vec<String> {
        short(self.0.frozen(CheckpointId(checkpoint), snapshot(), Some(letter), false))
    }

    fn pre_committed(&mut self, checkpoint: u64, letter: char) -> Vec<String> {
        short(self.0.pre_committed(CheckpointId(checkpoint), Some(vec![letter as u8]), Duration::ZERO))
    }

    fn completed(&mut self, checkpoint: u64) -> Vec<String> {
        short(self.0.completed(CheckpointId(checkpoint)))
    }

    fn published(&mut self, checkpoint: u64) -> Vec<String> {
        short(self.0.published(CheckpointId(checkpoint)))
    }
}

#[test]
fn a_pre_commit_waits_for_the_one_before_and_a_snapshot_without_one_for_both() {
    let mut sink = Sink::new();
    assert_eq!(sink.frozen(1, 'a'), ["pre-commit 1 a"]);
    assert_eq!(sink.frozen(2, 'b'), [""; 0]);
    assert_eq!(short(sink.0.frozen(CheckpointId(3), snapshot(), None, false)), [""; 0]);
    assert_eq!(sink.pre_committed(1, 'a'), ["acknowledge 1 a", "pre-commit 2 b"]);
    assert_eq!(sink.pre_committed(2, 'b'), ["acknowledge 2 ab", "acknowledge 3 ab"]);
}

#[test]
fn a_transaction_is_carried_until_it_is_published() {
    let mut sink = Sink::new();
    sink.frozen(1, 'a');
    sink.pre_committed(1, 'a');
    sink.frozen(2, 'b');
    assert_eq!(sink.completed(1), ["publish 1 a"]);
    assert_eq!(sink.pre_committed(2, 'b'), ["acknowledge 2 ab"], "the publication is still running");
    assert_eq!(sink.published(1), ["published 1"]);
    sink.frozen(3, 'c');
    assert_eq!(sink.pre_committed(3, 'c'), ["acknowledge 3 bc"]);
}

#[test]
fn a_publication_waits_for_the_one_before_and_takes_all_that_is_due() {
    let mut sink = Sink::new();
    for (checkpoint, letter) in [(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')] {
        sink.frozen(checkpoint, letter);
        sink.pre_committed(checkpoint, letter);
    }
    assert_eq!(sink.completed(1), ["publish 1 a"]);
    assert_eq!(sink.completed(2), [""; 0]);
    assert_eq!(sink.completed(3), [""; 0]);
    assert_eq!(sink.published(1), ["published 1", "publish 3 bc"]);
}

#[test]
fn a_completion_told_again_is_answered_again() {
    let mut sink = Sink::new();
    assert_eq!(sink.completed(1), ["published 1"], "nothing was written");
    assert_eq!(sink.completed(1), ["published 1"]);
}

#[test]
fn who_has_no_two_phase_sink_answers_no_completion() {
    let mut participant = Participant::<char>::new(None);
    assert_eq!(participant.completed(CheckpointId(1)), []);
}

#[test]
fn what_waits_for_a_place_between_records_comes_in_its_order() {
    let mut source = Participant::<char>::new(None);
    source.trigger(barrier(1, false), at(0));
    source.end_of_input();
    source.trigger(barrier(2, false), at(0));
    assert_eq!(boundaries(&mut source), [(1, false), (0, true), (2, true)]);
}

fn boundaries(source: &mut Participant<char>) -> Vec<(u64, bool)> {
    let mut seen = Vec::new();
    while let Some(boundary) = source.next_boundary() {
        seen.push(match boundary {
            Boundary::Checkpoint(aligned) => (aligned.barrier.checkpoint.0, source.is_finished()),
            Boundary::Finish => (0, source.is_finished()),
        });
    }
    seen
}

#[test]
fn barriers_pass_an_end_that_has_to_wait_one_at_a_time() {
    let mut source = Participant::<char>::new(None);
    source.end_of_input();
    source.let_pass();
    assert!(source.is_finishing(), "there is none");
    source.trigger(barrier(1, false), at(0));
    source.trigger(barrier(2, false), at(0));
    source.let_pass();
    assert_eq!(boundaries(&mut source), [(1, false), (0, true), (2, true)]);
}

#[test]
fn behind_a_halting_barrier_that_has_passed_it_there_is_no_end() {
    let mut source = Participant::<char>::new(None);
    source.end_of_input();
    source.trigger(barrier(1, true), at(0));
    source.let_pass();
    source.trigger(barrier(2, true), at(0));
    assert_eq!(boundaries(&mut source), [(1, false), (2, false)]);
    assert!(source.is_halted() && !source.is_finished());
}

#[test]
fn no_record_follows_a_barrier_that_halts() {
    let mut source = Participant::<char>::new(None);
    source.trigger(barrier(1, true), at(0));
    assert!(!source.is_halted(), "the barrier is still to be sent");
    source.next_boundary();
    assert!(source.is_halted() && !source.is_finished());
}

#[test]
fn a_checkpoint_is_acknowledged_only_when_all_that_was_in_flight_is_known() {
    let mut subtask = Participant::<char>::new(None);
    assert_eq!(short(subtask.frozen(CheckpointId(1), snapshot(), None, true)), [""; 0]);
    assert_eq!(short(subtask.frozen(CheckpointId(2), snapshot(), None, false)), [""; 0], "they go in order");
    let batches = vec![InFlightBatch { channel: ChannelIndex(0), bytes: vec![7] }];
    let effects = subtask.recorded(CheckpointId(1), batches, false);
    let ParticipantEffect::Acknowledge(_, first) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((first.in_flight.len(), first.stats.bytes_in_flight), (1, 1));
    assert_eq!(short(effects), ["acknowledge 1 ", "acknowledge 2 "]);
}

#[test]
fn what_was_recorded_before_the_snapshot_could_be_taken_is_kept_for_it() {
    let mut subtask = Participant::<char>::new(None);
    assert_eq!(short(subtask.recorded(CheckpointId(1), Vec::new(), true)), [""; 0]);
    let effects = subtask.frozen(CheckpointId(1), snapshot(), None, true);
    assert!(matches!(&effects[..], [ParticipantEffect::Acknowledge(_, snapshot)] if snapshot.is_quiet));
}

#[test]
fn an_aborted_checkpoint_is_not_waited_for_and_its_transaction_is_carried_on() {
    let mut sink = Sink::new();
    assert_eq!(short(sink.0.frozen(CheckpointId(1), snapshot(), Some('a'), true)), ["pre-commit 1 a"]);
    assert_eq!(sink.frozen(2, 'b'), [""; 0]);
    assert_eq!(sink.pre_committed(1, 'a'), ["pre-commit 2 b"], "what is in flight for 1 is not known");
    assert_eq!(short(sink.0.give_up(CheckpointId(1))), [""; 0]);
    assert_eq!(sink.pre_committed(2, 'b'), ["acknowledge 2 ab"]);
}

#[test]
fn a_publication_that_fails_is_tried_again_after_growing_pauses_and_with_all_that_is_owed() {
    let mut sink = Sink::new();
    sink.frozen(1, 'a');
    sink.pre_committed(1, 'a');
    assert_eq!(sink.completed(1), ["publish 1 a"]);
    let mut fails = || sink.0.publication_failed(CheckpointId(1)).map(|again| short(vec![again]).concat());
    let tries: Vec<_> = std::iter::from_fn(&mut fails).collect();
    let pauses = ["100ms", "200ms", "400ms", "800ms", "1.6s"];
    assert_eq!(tries, pauses.map(|pause| format!("publish 1 a after {pause}")));
}
