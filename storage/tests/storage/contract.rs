//! Every backend keeps the contract of `CheckpointStore`.

use std::sync::Arc;

use cofferdam_engine::{
    Attempt, ChannelIndex, JobId, KeyGroupRange, SubtaskIndex, Timestamp, Watermark,
    checkpoint::{
        snapshot::{CheckpointMetadata, EdgeTime, InFlightRecord},
        store::StoreErrorKind,
    },
};

use crate::support::*;

#[test]
fn a_place_never_used_has_no_checkpoint_and_counts_attempts() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        assert_eq!(store.newest().unwrap(), None);
        assert_eq!(read(&mut *store, "total"), []);
        drop(store);
        for attempt in 1..4 {
            let mut store = backend.open().unwrap();
            assert_eq!(store.begin_attempt().unwrap(), Attempt(attempt));
            assert_eq!(store.newest().unwrap(), None);
        }
    });
}

#[test]
fn attempts_go_on_above_those_that_were_elsewhere() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        assert_eq!(store.begin_attempt_after(Attempt(41)).unwrap(), Attempt(42));
        assert_eq!(store.begin_attempt_after(Attempt(7)).unwrap(), Attempt(43));
        drop(store);
        let mut store = backend.open().unwrap();
        assert_eq!(store.begin_attempt().unwrap(), Attempt(44));
        commit(&mut *store, Attempt(44), 1, Vec::new());
        assert_eq!(store.newest().unwrap(), Some(metadata(Attempt(44), 1)));
    });
}

#[test]
fn the_newest_checkpoint_is_the_last_one_committed() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        for number in [0, 1, 5] {
            let stats = commit(&mut *store, attempt, number, vec![delta(number, "total", vec![full(0, b"state")])]);
            assert!(stats.bytes >= 5);
            assert_eq!(store.newest().unwrap(), Some(metadata(attempt, number)));
        }
        drop(store);
        assert_eq!(backend.open().unwrap().newest().unwrap(), Some(metadata(attempt, 5)));
    });
}

/// Between two timed chains, with a batch and watermarks on their way.
fn timed(attempt: Attempt, number: u64) -> CheckpointMetadata {
    let (edge, said) = ("a -> b".to_string(), Watermark { time: Timestamp(-7), is_idle: true });
    let event_time = |subtask| if subtask == 0 { Timestamp::MIN } else { Timestamp(1_436_918_400_000) };
    let time = |subtask| EdgeTime {
        edge: edge.clone(),
        subtask: SubtaskIndex(subtask),
        parallelism: 2,
        event_time: event_time(subtask),
        channels: vec![said, Watermark::NONE, Watermark::END],
    };
    let in_flight = InFlightRecord {
        edge: edge.clone(),
        subtask: SubtaskIndex(1),
        parallelism: 2,
        channels: 3,
        channel: ChannelIndex(2),
        batches: vec![said.to_bytes(), vec![0x91, 5], Watermark::END.to_bytes()],
    };
    CheckpointMetadata { times: vec![time(0), time(1)], in_flight: vec![in_flight], ..metadata(attempt, number) }
}

#[test]
fn times_and_watermarks_in_flight_come_back_beside_checkpoints_without() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let expected = [metadata(attempt, 0), timed(attempt, 1), metadata(attempt, 2), timed(attempt, 3)];
        for metadata in &expected {
            let number = metadata.checkpoint.0;
            let mut commit = retaining(4, attempt, number, vec![delta(number, "total", vec![full(1, b"state")])]);
            commit.metadata = metadata.clone();
            store.commit(&commit).unwrap();
            assert_eq!(store.newest().unwrap().as_ref(), Some(metadata));
        }
        drop(store);
        let mut store = backend.open().unwrap();
        let kept = store.retained().unwrap().into_iter().map(|kept| kept.metadata.unwrap());
        assert!(kept.eq(expected.iter().cloned()));
        for metadata in expected.into_iter().rev().skip(1) {
            assert_eq!(store.go_back(metadata.checkpoint).unwrap(), metadata);
            assert_eq!(store.newest().unwrap(), Some(metadata));
        }
    });
}

#[test]
fn a_full_block_supersedes_what_its_group_had_and_changes_keep_their_order() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(1, b"a"), full(2, b"b")])]);
        commit(&mut *store, attempt, 1, vec![delta(1, "total", vec![changes(1, b"c"), changes(7, b"d")])]);
        commit(&mut *store, attempt, 2, vec![delta(2, "total", vec![changes(1, b"e"), full(2, b"f")])]);
        let expected = [full(1, b"a"), changes(1, b"c"), changes(1, b"e"), full(2, b"f"), changes(7, b"d")];
        assert_eq!(read(&mut *store, "total"), expected.iter().map(seen).collect::<Vec<_>>());
        let reader = store.reader().unwrap();
        let some = read_from(&*reader, "total", KeyGroupRange { start: 2, end: 7 }).unwrap();
        assert_eq!(some, [seen(&full(2, b"f"))]);
        assert_eq!(read_from(&*reader, "total", KeyGroupRange { start: 3, end: 3 }).unwrap(), []);
        assert_eq!(read_from(&*reader, "other", ALL).unwrap(), []);
    });
}

#[test]
fn an_empty_full_block_is_a_block() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(1, b"a"), changes(2, b"")])]);
        commit(&mut *store, attempt, 1, vec![delta(1, "total", vec![full(1, b"")])]);
        assert_eq!(read(&mut *store, "total"), [seen(&full(1, b"")), seen(&changes(2, b""))]);
    });
}

#[test]
fn deltas_owed_from_aborted_checkpoints_are_stored_once() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let (first, second) = (delta(1, "total", vec![changes(1, b"a")]), delta(2, "total", vec![changes(1, b"b")]));
        let third = delta(3, "total", vec![changes(1, b"c")]);
        commit(&mut *store, attempt, 0, vec![]);
        // Checkpoint 1 was aborted.
        commit(&mut *store, attempt, 2, vec![first.clone(), second.clone()]);
        // The completion of 2 was lost.
        commit(&mut *store, attempt, 3, vec![first, second, third]);
        let expected = [changes(1, b"a"), changes(1, b"b"), changes(1, b"c")];
        assert_eq!(read(&mut *store, "total"), expected.iter().map(seen).collect::<Vec<_>>());
    });
}

#[test]
fn within_one_commit_a_full_block_supersedes_the_deltas_before() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(3, b"old")])]);
        let deltas = vec![
            delta(1, "total", vec![full(3, b"never written")]),
            delta(2, "total", vec![changes(3, b"never written either")]),
            delta(3, "total", vec![full(3, b"a")]),
            delta(4, "total", vec![changes(3, b"b")]),
        ];
        commit(&mut *store, attempt, 4, deltas);
        assert_eq!(read(&mut *store, "total"), [seen(&full(3, b"a")), seen(&changes(3, b"b"))]);
    });
}

#[test]
fn states_do_not_mix() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let deltas = vec![delta(0, "b", vec![full(1, b"of b")]), delta(0, "a", vec![full(1, b"of a")])];
        commit(&mut *store, attempt, 0, deltas);
        commit(
            &mut *store,
            attempt,
            1,
            vec![delta(1, "0", vec![full(1, b"of 0")]), delta(1, "a", vec![full(1, b"x")])],
        );
        assert_eq!(read(&mut *store, "a"), [seen(&full(1, b"x"))]);
        assert_eq!(read(&mut *store, "b"), [seen(&full(1, b"of b"))]);
        assert_eq!(read(&mut *store, "0"), [seen(&full(1, b"of 0"))]);
    });
}

#[test]
fn an_older_attempt_and_an_older_checkpoint_are_fenced_off() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let old = store.begin_attempt().unwrap();
        commit(&mut *store, old, 3, vec![delta(3, "total", vec![full(1, b"a")])]);
        let new = store.begin_attempt().unwrap();
        for (attempt, number) in [(old, 4), (new, 3), (new, 2), (Attempt(9), 4)] {
            let (kind, message) = refusal(store.commit(&checkpoint(attempt, number, vec![])));
            assert_eq!(kind, StoreErrorKind::Fenced, "{message}");
        }
        assert_eq!(newest(&mut *store), Some(3));
        commit(&mut *store, new, 4, vec![]);
        assert_eq!(read(&mut *store, "total"), [seen(&full(1, b"a"))]);
    });
}

#[test]
fn another_job_is_refused() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![]);
        let mut other = checkpoint(attempt, 1, vec![]);
        other.metadata.job = JobId(1);
        assert_eq!(refusal(store.commit(&other)).0, StoreErrorKind::Foreign);
        assert_eq!(newest(&mut *store), Some(0));
    });
}

#[test]
fn a_reader_shows_its_checkpoint_or_nothing() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(1, b"a")])]);
        let reader = store.reader().unwrap();
        assert_eq!(read_from(&*reader, "total", ALL).unwrap().len(), 1);
        commit(&mut *store, attempt, 1, vec![delta(1, "total", vec![full(1, b"b")])]);
        assert!(read_from(&*reader, "total", ALL).is_err());
    });
}

#[test]
fn what_a_visitor_says_is_the_cause_of_the_error() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(1, b"a")])]);
        let reader = store.reader().unwrap();
        let error = reader.read(&address("total"), ALL, &mut |_, _, _, _| Err("no such key".into())).unwrap_err();
        assert_eq!(error.cause.unwrap().to_string(), "no such key");
        assert!(error.message.contains("count/total"), "{}", error.message);
    });
}

#[test]
fn deltas_that_break_the_contract_are_refused_and_change_nothing() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![]);
        let twice = delta(1, "total", vec![changes(1, b"a")]);
        for deltas in [
            vec![twice.clone(), twice],
            vec![delta(2, "total", vec![full(1, b"from the future")])],
            vec![delta(1, "total", vec![full(GROUPS, b"beyond")])],
        ] {
            assert!(store.commit(&checkpoint(attempt, 1, deltas)).is_err());
        }
        assert_eq!(newest(&mut *store), Some(0));
        assert_eq!(read(&mut *store, "total"), []);
    });
}

#[test]
fn a_place_is_open_once_and_free_once_the_store_is_gone_even_if_a_reader_stays() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let reader = store.reader().unwrap();
        let (kind, message) = refusal(backend.open());
        assert_eq!(kind, StoreErrorKind::InUse);
        assert!(message.contains("open already"), "{message}");
        drop(store);
        let store = backend.open().unwrap();
        drop((reader, store));
        backend.open().unwrap();
    });
}

#[test]
fn a_deleted_place_is_as_good_as_new() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(1, b"a")])]);
        store.delete().unwrap();
        let mut store = backend.open().unwrap();
        assert_eq!(store.newest().unwrap(), None);
        assert_eq!(store.begin_attempt().unwrap(), Attempt(1));
        assert_eq!(read(&mut *store, "total"), []);
    });
}

#[test]
fn large_blocks_of_any_length_come_back() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let lengths = (0..40).map(|step| 409 * step).chain(16_000..16_400).chain([32_736, 65_536, 1_000_003]);
        for (number, length) in lengths.enumerate() {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
            let block = full(1, &bytes);
            let deltas = vec![Arc::clone(&delta(number as u64, "total", vec![block.clone()]))];
            if number % 20 == 0 || length > 16_390 {
                commit(&mut *store, attempt, number as u64, deltas);
                assert_eq!(read(&mut *store, "total"), [seen(&block)], "{length}");
            }
        }
    });
}
