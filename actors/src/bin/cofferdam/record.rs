//! A checkpoint's record, without the types of the job.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use cofferdam_engine::{
    Timestamp, Watermark,
    checkpoint::snapshot::{CheckpointMetadata, EdgeTime, InFlightRecord, OperatorRecord, OperatorSnapshot},
    codec,
};
use serde_json::{Value, json};

use crate::output::{self, hex};

/// All of it.
pub fn json(metadata: &CheckpointMetadata) -> Value {
    let origin = metadata.origin.as_ref();
    json!({
        "job": metadata.job.to_string(),
        "job_name": metadata.job_name,
        "checkpoint": metadata.checkpoint,
        "attempt": metadata.attempt,
        "max_parallelism": metadata.max_parallelism,
        "finished": metadata.finished,
        "draining": metadata.draining,
        "started_from_savepoint": origin.map(|origin| origin.savepoint.to_string()),
        "operators": metadata.operators.iter().map(operator).collect::<Vec<_>>(),
        "in_flight": metadata.in_flight.iter().map(in_flight).collect::<Vec<_>>(),
        "times": metadata.times.iter().map(time).collect::<Vec<_>>(),
    })
}

fn operator(record: &OperatorRecord) -> Value {
    let state = |state: &cofferdam_engine::checkpoint::snapshot::StateRecord| {
        json!({
            "state": state.name,
            "kind": state.kind.to_string(),
            "key": state.key.to_string(),
            "version": state.version,
        })
    };
    json!({
        "operator": record.uid,
        "kind": record.kind.to_string(),
        "states": record.states.iter().map(state).collect::<Vec<_>>(),
        "subtasks": record.subtasks.iter().enumerate().map(subtask).collect::<Vec<_>>(),
    })
}

fn subtask((index, snapshot): (usize, &OperatorSnapshot)) -> Value {
    let transactions = snapshot.transactions.iter().map(
        |transaction| json!({ "checkpoint": transaction.checkpoint, "transaction": described(&transaction.bytes) }),
    );
    json!({
        "subtask": index,
        "state": described(&snapshot.state),
        "prepared_transactions": transactions.collect::<Vec<_>>(),
    })
}

/// Batches; watermarks between them count apart.
fn in_flight(record: &InFlightRecord) -> Value {
    let watermarks = watermarks(record);
    json!({
        "edge": record.edge,
        "subtask": record.subtask,
        "channel": record.channel,
        "batches": record.batches.len() - watermarks,
        "watermarks": watermarks,
        "bytes": bytes(record),
    })
}

fn watermarks(record: &InFlightRecord) -> usize {
    record.batches.iter().filter(|bytes| Watermark::of_bytes(bytes).is_some()).count()
}

/// Of the batches.
fn bytes(record: &InFlightRecord) -> usize {
    record.batches.iter().filter(|bytes| Watermark::of_bytes(bytes).is_none()).map(Vec::len).sum()
}

fn time(time: &EdgeTime) -> Value {
    let channel = |(index, said): (usize, &Watermark)| json!({ "channel": index, "watermark": millis(said.time), "idle": said.is_idle });
    json!({
        "edge": time.edge,
        "subtask": time.subtask,
        "event_time": millis(time.event_time),
        "channels": time.channels.iter().enumerate().map(channel).collect::<Vec<_>>(),
    })
}

/// Milliseconds since 1970; null if nothing is known yet, "end" if nothing will come.
fn millis(time: Timestamp) -> Value {
    match time {
        Timestamp::MIN => Value::Null,
        Timestamp::MAX => json!("end"),
        Timestamp(millis) => json!(millis),
    }
}

/// For people; as a date if it is one of our era.
fn moment(time: Timestamp) -> String {
    match time {
        Timestamp::MIN => "not known yet".into(),
        Timestamp::MAX => "the end".into(),
        Timestamp(millis @ 0..YEAR_10000) => output::time(UNIX_EPOCH + Duration::from_millis(millis as u64)),
        Timestamp(millis) => format!("{millis} ms"),
    }
}

const YEAR_10000: i64 = 253_402_300_800_000;

/// What an operator has written: as JSON if it can be, else in hexadecimal; nothing as null.
fn described(bytes: &[u8]) -> Value {
    match bytes {
        [] => Value::Null,
        bytes => codec::decode_json(bytes).unwrap_or_else(|| json!({ "hex": hex(bytes) })),
    }
}

/// For people.
pub fn text(metadata: &CheckpointMetadata) -> String {
    let mut text = format!(
        "job              {} ({})\ncheckpoint       {}, taken by attempt {}\nmax_parallelism  {}\n",
        metadata.job_name, metadata.job, metadata.checkpoint, metadata.attempt, metadata.max_parallelism
    );
    if let Some(origin) = &metadata.origin {
        let _ = writeln!(text, "started from     savepoint {}", origin.savepoint);
    }
    if metadata.finished {
        text.push_str("                 the job has finished\n");
    }
    for operator in &metadata.operators {
        let _ = writeln!(text, "\n{} '{}'", operator.kind, operator.uid);
        for state in &operator.states {
            let (name, kind, key, version) = (&state.name, state.kind, &state.key, state.version);
            let _ = writeln!(text, "  state '{name}': {kind}, keys of type {key}, version {version}");
        }
        for (index, snapshot) in operator.subtasks.iter().enumerate() {
            if !snapshot.state.is_empty() {
                let _ = writeln!(text, "  [{index}] {}", described(&snapshot.state));
            }
            for transaction in &snapshot.transactions {
                let (checkpoint, bytes) = (transaction.checkpoint, &transaction.bytes);
                let _ = writeln!(text, "  [{index}] prepared, of checkpoint {checkpoint}: {}", described(bytes));
            }
        }
    }
    for record in metadata.in_flight.iter().filter(|record| record.has_records()) {
        let (edge, subtask, bytes) = (&record.edge, record.subtask, bytes(record));
        let _ = writeln!(text, "\nin flight on {edge} to [{subtask}]: {bytes} bytes");
    }
    for times in metadata.times.chunk_by(|one, next| one.edge == next.edge) {
        let of = || times.iter().map(|time| time.event_time);
        if let (Some(first), Some(last)) = (of().min(), of().max()) {
            let until = if first == last { String::new() } else { format!(" to {}", moment(last)) };
            let _ = writeln!(text, "\nevent time on {}: {}{until}", times[0].edge, moment(first));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::{ChannelIndex, SubtaskIndex};

    use super::*;

    #[test]
    fn records_in_flight_are_shown_with_their_numbers_and_bytes() {
        let record = record(vec![vec![0; 3], vec![0; 4]]);
        let shown = json!({ "edge": "a -> b", "subtask": 1, "channel": 2, "batches": 2, "watermarks": 0, "bytes": 7 });
        assert_eq!(in_flight(&record), shown);
        let metadata: CheckpointMetadata = CheckpointMetadata { in_flight: vec![record], ..metadata() };
        assert_eq!(json(&metadata)["in_flight"], json!([shown]));
        assert!(text(&metadata).contains("in flight on a -> b to [1]: 7 bytes"));
    }

    #[test]
    fn watermarks_in_flight_are_no_batches() {
        let mark = || Watermark { time: Timestamp(9), is_idle: false }.to_bytes();
        let shown = in_flight(&record(vec![mark(), vec![0; 3], mark()]));
        assert_eq!(
            shown,
            json!({ "edge": "a -> b", "subtask": 1, "channel": 2, "batches": 1, "watermarks": 2, "bytes": 3 })
        );
        let metadata = CheckpointMetadata { in_flight: vec![record(vec![mark()])], ..metadata() };
        assert_eq!(json(&metadata)["in_flight"][0]["batches"], 0);
        assert!(!text(&metadata).contains("in flight"), "nothing that has to be drained");
    }

    #[test]
    fn event_time_is_shown_by_edge() {
        let channels = vec![Watermark { time: Timestamp(-5), is_idle: true }, Watermark::NONE, Watermark::END];
        let time = |edge: &str, subtask, event_time| EdgeTime {
            edge: edge.into(),
            subtask: SubtaskIndex(subtask),
            parallelism: 2,
            event_time,
            channels: channels.clone(),
        };
        let hour = Timestamp(1_436_918_400_000);
        let times = [
            ("a -> b", 0, hour),
            ("a -> b", 1, Timestamp::MAX),
            ("b -> c", 0, Timestamp(-5)),
            ("c -> d", 0, Timestamp::MIN),
        ];
        let times = times.map(|(edge, subtask, event_time)| time(edge, subtask, event_time)).to_vec();
        let metadata = CheckpointMetadata { times, ..metadata() };
        let shown = &json(&metadata)["times"];
        let channels = json!([
            { "channel": 0, "watermark": -5, "idle": true },
            { "channel": 1, "watermark": null, "idle": false },
            { "channel": 2, "watermark": "end", "idle": false },
        ]);
        let first =
            json!({ "edge": "a -> b", "subtask": 0, "event_time": 1_436_918_400_000_i64, "channels": channels });
        assert_eq!(shown[0], first);
        assert_eq!((&shown[1]["event_time"], &shown[3]["event_time"]), (&json!("end"), &Value::Null));
        let shown = text(&metadata);
        for line in [
            "event time on a -> b: 2015-07-15T00:00:00.000Z to the end",
            "event time on b -> c: -5 ms",
            "event time on c -> d: not known yet",
        ] {
            assert!(shown.lines().any(|one| one == line), "{line} is not in\n{shown}");
        }
    }

    fn record(batches: Vec<Vec<u8>>) -> InFlightRecord {
        InFlightRecord {
            edge: "a -> b".into(),
            subtask: SubtaskIndex(1),
            parallelism: 2,
            channels: 3,
            channel: ChannelIndex(2),
            batches,
        }
    }

    fn metadata() -> CheckpointMetadata {
        CheckpointMetadata {
            job: cofferdam_engine::JobId(1),
            job_name: "job".into(),
            checkpoint: cofferdam_engine::CheckpointId(3),
            attempt: cofferdam_engine::Attempt(1),
            max_parallelism: 128,
            finished: false,
            draining: false,
            in_flight: Vec::new(),
            times: Vec::new(),
            origin: None,
            operators: Vec::new(),
        }
    }
}
