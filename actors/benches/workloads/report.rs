//! The last line.

use std::time::Duration;

use cofferdam::prelude::CheckpointHistory;

use crate::{checksum_sink::Checksum, memory::Peak};

/// What a run came to.
pub struct Report {
    pub workload: String,
    pub variant: String,
    pub records: u64,
    pub seconds: f64,
    pub checksum: Checksum,
    pub checkpoints: Option<CheckpointFigures>,
    pub memory: Peak,
    /// What this run measured besides.
    pub fields: Vec<(&'static str, String)>,
}

/// Over all completed checkpoints.
#[derive(Default)]
pub struct CheckpointFigures {
    completed: u64,
    sync_p50: f64,
    sync_max: f64,
    async_p50: f64,
    end_to_end_p50: f64,
    end_to_end_max: f64,
    bytes_p50: u64,
}

impl CheckpointFigures {
    pub fn of(history: &CheckpointHistory) -> Self {
        let completed: Vec<_> = history.iter().filter(|stats| stats.aborted.is_none()).collect();
        let sorted_ms = |value: &dyn Fn(usize) -> Duration| {
            let mut all: Vec<_> = (0..completed.len()).map(|i| value(i).as_secs_f64() * 1000.0).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let sync = sorted_ms(&|i| completed[i].parts.sync);
        // Off the data path: the subtasks' asynchronous part, and the store's commit.
        let asynchronous = sorted_ms(&|i| completed[i].parts.r#async + completed[i].commit);
        let end_to_end = sorted_ms(&|i| completed[i].end_to_end);
        let mut bytes: Vec<_> = completed.iter().map(|stats| stats.bytes_written).collect();
        bytes.sort_unstable();
        let median = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(0.0);
        let max = |values: &[f64]| values.last().copied().unwrap_or(0.0);
        Self {
            completed: history.completed(),
            sync_p50: median(&sync),
            sync_max: max(&sync),
            async_p50: median(&asynchronous),
            end_to_end_p50: median(&end_to_end),
            end_to_end_max: max(&end_to_end),
            bytes_p50: bytes.get(bytes.len() / 2).copied().unwrap_or(0),
        }
    }
}

impl Report {
    /// Prints the line.
    pub fn print(&self) {
        let none = CheckpointFigures::default();
        let c = self.checkpoints.as_ref().unwrap_or(&none);
        print!(
            "workload={} variant={} records={} seconds={:.3} rate={:.0} checksum={:016x} rows={} checkpoints={} sync_ms_p50={:.3} sync_ms_max={:.3} \
             async_ms_p50={:.3} end_to_end_ms_p50={:.3} end_to_end_ms_max={:.3} bytes_p50={} rss_anon_mib={} rss_file_mib={}",
            self.workload,
            self.variant,
            self.records,
            self.seconds,
            self.records as f64 / self.seconds,
            self.checksum.sum,
            self.checksum.rows,
            c.completed,
            c.sync_p50,
            c.sync_max,
            c.async_p50,
            c.end_to_end_p50,
            c.end_to_end_max,
            c.bytes_p50,
            self.memory.rss_anon,
            self.memory.rss_file,
        );
        self.fields.iter().for_each(|(name, value)| print!(" {name}={value}"));
        println!();
    }
}
