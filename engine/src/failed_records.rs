//! How often a record has failed: what a step that diverts records goes by. See `docs/decisions/0008`.
//!
//! The step that meets a failure names the record in its error, the supervisor counts, and the next attempt's steps are given the
//! counts. They live as long as the process.
//!
//! # Invariants
//! - Every attempt that ends with a record's failure raises that record's count, and no count falls while attempts end that way one after another: so every
//!   record that always fails is diverted in the end, however many there are and whichever fails first.
//! - A record that is known by its content alone is forgotten as soon as an attempt that failed otherwise has got past another checkpoint: then it
//!   may be another record that is meant.

use std::{collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::Xxh3;

use crate::id::CheckpointId;

/// The most records that are remembered; of more, those that failed last.
const REMEMBERED: usize = 10_000;

/// Which record failed at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordId {
    digest: u128,
    /// Known by its place in a source. Else by its content alone.
    has_position: bool,
}

impl RecordId {
    /// `position` is what the chain's source says of its place, if the chain has one; `record` is the record's encoding.
    pub(crate) fn new(step: &str, position: Option<&[u8]>, record: &[u8]) -> Self {
        let mut digest = Xxh3::new();
        for part in [step.as_bytes(), position.unwrap_or_default(), record] {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self { digest: digest.digest128(), has_position: position.is_some() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Count {
    times: u32,
    /// Grows with each failure.
    last: u64,
}

/// How often records have failed in this process, as one attempt is told.
#[derive(Clone, Debug, Default)]
pub struct FailedRecords {
    counts: HashMap<RecordId, Count>,
    failures: u64,
    /// Records known by their content alone count only in an attempt that goes on from here; `None`: from anywhere.
    only_from: Option<CheckpointId>,
}

impl FailedRecords {
    /// How often `record` has failed before, for an attempt that goes on from `restored`.
    pub(crate) fn times(&self, record: &RecordId, restored: CheckpointId) -> u32 {
        let counts = record.has_position || self.only_from.is_none_or(|checkpoint| checkpoint == restored);
        self.counts.get(record).filter(|_| counts).map_or(0, |count| count.times)
    }
}

/// Counts failures, attempt by attempt: the supervisor's part.
#[derive(Debug, Default)]
pub(crate) struct FailureCounter {
    failed: Arc<FailedRecords>,
    restored: CheckpointId,
}

impl FailureCounter {
    /// What the next attempt is told.
    pub(crate) fn failed(&self) -> Arc<FailedRecords> {
        self.failed.clone()
    }

    /// An attempt goes on from `restored`.
    pub(crate) fn opened(&mut self, restored: CheckpointId) {
        self.restored = restored;
        if self.failed.only_from.is_some_and(|checkpoint| checkpoint != restored) {
            Arc::make_mut(&mut self.failed).counts.retain(|record, _| record.has_position);
        }
    }

    /// The attempt failed: at this record, if it was one.
    pub(crate) fn attempt_failed(&mut self, record: Option<RecordId>) {
        let failed = Arc::make_mut(&mut self.failed);
        let Some(record) = record else {
            failed.only_from = Some(self.restored);
            return;
        };
        failed.only_from = None;
        failed.failures += 1;
        let last = failed.failures;
        let count = failed.counts.entry(record).or_insert(Count { times: 0, last });
        *count = Count { times: count.times.saturating_add(1), last };
        if failed.counts.len() > REMEMBERED
            && let Some(oldest) = failed.counts.iter().min_by_key(|(_, count)| count.last).map(|(record, _)| *record)
        {
            failed.counts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u8) -> RecordId {
        RecordId::new("step", Some(&[position]), b"record")
    }

    fn of(content: &[u8]) -> RecordId {
        RecordId::new("step", None, content)
    }

    #[test]
    fn step_position_and_content_tell_records_apart() {
        let all = [
            RecordId::new("a", Some(b"1"), b"x"),
            RecordId::new("b", Some(b"1"), b"x"),
            RecordId::new("a", Some(b"2"), b"x"),
            RecordId::new("a", Some(b"1"), b"y"),
            RecordId::new("a", Some(b""), b"1x"),
            RecordId::new("a", Some(b"1x"), b""),
            RecordId::new("a", Some(b""), b""),
            RecordId::new("a", None, b""),
            RecordId::new("a", None, b"1x"),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| one != other), "{i}");
        }
        assert_eq!(RecordId::new("a", Some(b"1"), b"x"), all[0]);
    }

    #[test]
    fn a_count_grows_with_each_failure_and_others_do_not_touch_it() {
        let mut counter = FailureCounter::default();
        for round in 1..4 {
            for (record, checkpoint) in [(at(1), 2 * round), (at(2), 2 * round + 1)] {
                counter.opened(CheckpointId(u64::from(checkpoint)));
                counter.attempt_failed(Some(record));
                assert_eq!(counter.failed().times(&record, CheckpointId(0)), round);
            }
            counter.attempt_failed(None);
        }
        assert_eq!(counter.failed().times(&at(3), CheckpointId(0)), 0);
    }

    #[test]
    fn a_count_by_content_is_kept_while_records_fail_in_a_row_or_nothing_new_was_stored() {
        let mut counter = FailureCounter::default();
        let fail = |counter: &mut FailureCounter, checkpoint, record| {
            counter.opened(CheckpointId(checkpoint));
            counter.attempt_failed(record);
        };
        fail(&mut counter, 1, Some(of(b"x")));
        fail(&mut counter, 2, Some(of(b"y")));
        fail(&mut counter, 3, Some(of(b"x")));
        fail(&mut counter, 4, None);
        assert_eq!(counter.failed().times(&of(b"x"), CheckpointId(4)), 2, "nothing new since");
        assert_eq!(counter.failed().times(&of(b"x"), CheckpointId(5)), 0, "it may be another one");
        fail(&mut counter, 4, Some(of(b"x")));
        assert_eq!(counter.failed().times(&of(b"x"), CheckpointId(5)), 3);
        fail(&mut counter, 5, None);
        fail(&mut counter, 6, Some(of(b"y")));
        assert_eq!(counter.failed().times(&of(b"x"), CheckpointId(6)), 0);
        assert_eq!(counter.failed().times(&of(b"y"), CheckpointId(6)), 1);
    }

    #[test]
    fn of_too_many_records_those_that_failed_last_are_remembered() {
        let mut counter = FailureCounter::default();
        let records: Vec<_> =
            (0..=REMEMBERED as u32).map(|n| RecordId::new("step", Some(&n.to_le_bytes()), b"")).collect();
        for record in &records[..REMEMBERED] {
            counter.attempt_failed(Some(*record));
        }
        counter.attempt_failed(Some(records[0]));
        counter.attempt_failed(Some(records[REMEMBERED]));
        let times = |record: &RecordId| counter.failed().times(record, CheckpointId(0));
        assert_eq!(counter.failed().counts.len(), REMEMBERED);
        assert_eq!([0, 1, 2, REMEMBERED].map(|n| times(&records[n])), [2, 0, 1, 1]);
    }
}
