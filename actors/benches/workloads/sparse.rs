//! W1 with much state of which little changes: every key once, as fast as it goes, then random keys by a timetable.

use std::path::Path;

use cofferdam::prelude::*;

use crate::{
    Args,
    for_seconds::Released,
    ticks::{Ticks, Timetable},
    topologies::{Prepared, keyed_count},
    workload::key,
};

/// As many records as the checkpoints asked for have between them.
pub fn topology(args: &Args) -> Prepared {
    let (keys, interval) = (args.keys(), args.checkpoint_ms().unwrap_or(100));
    let released = Released::default();
    let source = Ticks {
        f: move |i| key(i, keys, Some(keys)),
        at_once: keys,
        rate: args.changes * 1000 / interval,
        ticks: args.checkpoints * interval,
        timetable: Timetable::default(),
        released: released.clone(),
    };
    keyed_count(source, |(key, _)| *key, Box::new(move || released.counts()))
}

/// Of the checkpoints after the first that took everything: what they took, and what was written for what had changed.
pub fn fields(args: &Args, history: &CheckpointHistory, state: &Path) -> Vec<(&'static str, String)> {
    let completed: Vec<_> = history.iter().filter(|stats| stats.aborted.is_none()).collect();
    let sparse = &completed[completed.len().saturating_sub(args.checkpoints as usize)..];
    let mut end_to_end: Vec<_> = sparse.iter().map(|stats| stats.end_to_end.as_secs_f64() * 1000.0).collect();
    end_to_end.sort_by(f64::total_cmp);
    let at = |share: f64| end_to_end[((end_to_end.len() - 1) as f64 * share) as usize];
    let written: u64 = sparse.iter().map(|stats| stats.bytes_written).sum();
    // An entry is a key of 8 bytes, its length, a count of one byte, its length.
    let entry = 11;
    let changed = args.changes * sparse.len() as u64 * entry;
    let stored = std::fs::metadata(state.join("data.mdb")).map_or(0, |data| data.len());
    vec![
        ("sparse_checkpoints", sparse.len().to_string()),
        ("sparse_end_to_end_ms_p50", format!("{:.3}", at(0.5))),
        ("sparse_end_to_end_ms_p99", format!("{:.3}", at(0.99))),
        ("written_per_changed", format!("{:.3}", written as f64 / changed as f64)),
        ("stored_per_full", format!("{:.3}", stored as f64 / (args.keys() * entry) as f64)),
    ]
}
