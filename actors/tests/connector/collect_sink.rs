//! The collecting sink keeps the same contract as the file sink, in memory.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

use cofferdam::connector::{CollectSink, CollectTransaction, StdoutSink};
use cofferdam_engine::{
    Attempt, CheckpointId, JobId, Ownership, Sink, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink,
};

fn context(attempt: u64, restored: u64) -> SinkContext {
    SinkContext {
        job: JobId(7),
        job_name: "job".to_string(),
        operator: "rows".to_string(),
        attempt: Attempt(attempt),
        restored: CheckpointId(restored),
        state_place: "memory".to_string(),
    }
}

fn transaction(sink: &CollectSink<u64>, attempt: u64, checkpoint: u64, rows: &[u64]) -> CollectTransaction {
    let mut writer = sink.open(&context(attempt, 0), SubtaskIndex(0), vec![]).unwrap();
    rows.iter().for_each(|row| writer.write(*row).unwrap());
    let (frozen, ()) = writer.freeze(CheckpointId(checkpoint), false).unwrap();
    let transaction = sink.pre_commit(frozen).unwrap().unwrap();
    // As a checkpoint keeps it.
    postcard::from_bytes(&postcard::to_stdvec(&transaction).unwrap()).unwrap()
}

#[test]
fn rows_appear_with_the_commit_and_once() {
    let (sink, rows) = CollectSink::new();
    let first = transaction(&sink, 1, 1, &[1, 2]);
    assert!(rows.snapshot().is_empty());
    sink.commit(&first).unwrap();
    sink.commit(&first).unwrap();
    assert_eq!(rows.snapshot(), [1, 2]);
    assert_eq!(rows.take(), [1, 2]);
    sink.commit(&first).unwrap();
    sink.commit(&transaction(&sink, 1, 2, &[3])).unwrap();
    assert_eq!(rows.take(), [3]);
}

#[test]
fn the_same_checkpoint_of_another_attempt_is_another_transaction() {
    let (sink, rows) = CollectSink::new();
    sink.commit(&transaction(&sink, 1, 5, &[1])).unwrap();
    sink.commit(&transaction(&sink, 2, 5, &[1])).unwrap();
    assert_eq!(rows.snapshot(), [1, 1]);
}

#[test]
fn recovery_publishes_transactions_and_refuses_a_state_that_went_back() {
    let (sink, rows) = CollectSink::new();
    sink.claim(&context(1, 0)).unwrap();
    let (first, second) = (transaction(&sink, 1, 1, &[1]), transaction(&sink, 1, 2, &[2]));
    sink.commit(&first).unwrap();
    // A clone is the same place: a restart in the same process.
    sink.clone().recover(&context(2, 2), vec![second], &[]).unwrap();
    assert_eq!(rows.snapshot(), [1, 2]);
    let error = sink.recover(&context(3, 1), vec![], &[]).unwrap_err().to_string();
    assert!(error.contains("back in time"), "{error}");
}

#[test]
fn an_interval_without_rows_has_no_transaction() {
    let (sink, _rows) = CollectSink::<u64>::new();
    let mut writer = sink.open(&context(1, 0), SubtaskIndex(0), vec![]).unwrap();
    let (frozen, ()) = writer.freeze(CheckpointId(1), true).unwrap();
    assert!(sink.pre_commit(frozen).unwrap().is_none());
}

#[test]
fn rows_belong_to_the_job_that_claimed_them() {
    let (sink, _rows) = CollectSink::<u64>::new();
    assert_eq!(sink.owner().unwrap(), Ownership::Untracked);
    sink.claim(&context(1, 0)).unwrap();
    sink.claim(&context(2, 0)).unwrap();
    assert_eq!(sink.owner().unwrap(), Ownership::Claimed(JobId(7)));
    let other = SinkContext { job: JobId(8), ..context(1, 0) };
    assert!(sink.claim(&other).is_err());
    assert!(sink.recover(&other, vec![], &[]).is_err());
}

#[test]
fn standard_output_takes_anything_that_can_be_displayed() {
    let print = Sink::<u64>::open(&StdoutSink::new(), SubtaskIndex(0)).unwrap();
    print(1).unwrap();
}
