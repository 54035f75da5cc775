//! A checkpoint with times, and with watermarks on their way, is shown, verified and turned into a savepoint as any other.

use std::{num::NonZeroU32, path::Path};

use cofferdam::{SavepointWriter, StoredCheckpoint, prelude::*};
use cofferdam_engine::{
    ChannelIndex, JobId, SubtaskIndex, Timestamp, Watermark,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata, EdgeTime, InFlightRecord},
        store::StateBackend,
    },
};
use serde_json::json;

use crate::{command::run, support::Places};

/// One checkpoint, without operators; written to a savepoint too.
fn commit(backend: &dyn StateBackend, savepoint: &Path) {
    let said = Watermark { time: Timestamp(1_436_918_400_000), is_idle: true };
    let (edge, subtask) = ("a -> b".to_string(), SubtaskIndex(0));
    let batches = vec![said.to_bytes(), vec![0x91, 5], Watermark::END.to_bytes()];
    let (channel, event_time) = (ChannelIndex(1), said.time);
    let time =
        EdgeTime { edge: edge.clone(), subtask, parallelism: 1, event_time, channels: vec![said, Watermark::NONE] };
    let mut store = backend.open().unwrap();
    let metadata = CheckpointMetadata {
        job: JobId(7),
        job_name: "timed".to_string(),
        checkpoint: CheckpointId(3),
        attempt: store.begin_attempt().unwrap(),
        max_parallelism: 8,
        finished: false,
        draining: false,
        operators: vec![],
        in_flight: vec![InFlightRecord { edge, subtask, parallelism: 1, channels: 2, channel, batches }],
        times: vec![time],
        origin: None,
    };
    let commit =
        CheckpointCommit { metadata, deltas: vec![], num_retained: NonZeroU32::MIN, fail_points: Default::default() };
    store.commit(&commit).unwrap();
    let stored = StoredCheckpoint::new(backend.place(), commit.metadata, store.reader().unwrap());
    SavepointWriter::of(&stored).write(savepoint).unwrap();
}

#[test]
fn are_shown_and_verified() {
    let places = Places::new();
    let (lmdb, files) = (places.at("lmdb"), places.at("files"));
    let savepoints = [places.at("of lmdb"), places.at("of files")];
    commit(&Lmdb::at(&lmdb), &savepoints[0]);
    commit(&FileSystem::at(&files), &savepoints[1]);
    let channels = json!([
        { "channel": 0, "watermark": 1_436_918_400_000_i64, "idle": true },
        { "channel": 1, "watermark": null, "idle": false },
    ]);
    let times = json!([{ "edge": "a -> b", "subtask": 0, "event_time": 1_436_918_400_000_i64, "channels": channels }]);
    let in_flight =
        json!([{ "edge": "a -> b", "subtask": 0, "channel": 1, "batches": 1, "watermarks": 2, "bytes": 2 }]);
    for place in [lmdb, files] {
        let shown = run(&[&"--json", &"checkpoints", &"show", &place]).json();
        assert_eq!((&shown["times"], &shown["in_flight"]), (&times, &in_flight));
        let shown = run(&[&"checkpoints", &"show", &place]).said();
        assert!(shown.contains("event time on a -> b: 2015-07-15T00:00:00.000Z\n"), "{shown}");
        assert!(shown.contains("in flight on a -> b to [0]: 2 bytes\n"), "{shown}");
        assert_eq!(run(&[&"--json", &"checkpoints", &"verify", &place]).json()["whole"], true);
        assert_eq!(run(&[&"--json", &"checkpoints", &"list", &place]).json()["checkpoints"][0]["checkpoint"], 3);
    }
    for savepoint in savepoints {
        let shown = run(&[&"--json", &"savepoint", &"show", &savepoint]).json();
        assert_eq!((&shown["record"]["times"], &shown["record"]["in_flight"]), (&times, &in_flight));
        assert_eq!(run(&[&"--json", &"savepoint", &"verify", &savepoint]).json()["whole"], true);
    }
}
