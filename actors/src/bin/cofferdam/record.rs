//! A checkpoint's record, without the types of the job.

use std::fmt::Write as _;

use cofferdam_engine::{
    checkpoint::snapshot::{CheckpointMetadata, InFlightRecord, OperatorRecord, OperatorSnapshot},
    codec,
};
use serde_json::{Value, json};

use crate::output::hex;

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

fn in_flight(record: &InFlightRecord) -> Value {
    json!({
        "edge": record.edge,
        "subtask": record.subtask,
        "channel": record.channel,
        "batches": record.batches.len(),
        "bytes": record.batches.iter().map(Vec::len).sum::<usize>(),
    })
}

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
    for record in &metadata.in_flight {
        let bytes: usize = record.batches.iter().map(Vec::len).sum();
        let (edge, subtask) = (&record.edge, record.subtask);
        let _ = writeln!(text, "\nin flight on {edge} to [{subtask}]: {bytes} bytes");
    }
    text
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::{ChannelIndex, SubtaskIndex};

    use super::*;

    #[test]
    fn records_in_flight_are_shown_with_their_numbers_and_bytes() {
        let record = InFlightRecord {
            edge: "a -> b".into(),
            subtask: SubtaskIndex(1),
            parallelism: 2,
            channels: 3,
            channel: ChannelIndex(2),
            batches: vec![vec![0; 3], vec![0; 4]],
        };
        let shown = json!({ "edge": "a -> b", "subtask": 1, "channel": 2, "batches": 2, "bytes": 7 });
        assert_eq!(in_flight(&record), shown);
        let metadata: CheckpointMetadata = CheckpointMetadata { in_flight: vec![record], ..metadata() };
        assert_eq!(json(&metadata)["in_flight"], json!([shown]));
        assert!(text(&metadata).contains("in flight on a -> b to [1]: 7 bytes"));
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
