//! How regularly checkpoints completed, beside what the disk allowed.

use std::time::Duration;

use cofferdam::prelude::{CheckpointHistory, ProcessingTime};

/// See the fields' names on the report's line.
pub struct Cadence {
    /// Of the interval asked for.
    pub interval: Duration,
    /// From the job's start to its end.
    pub ran: Duration,
    /// The median of an empty commit; zero where the disk was not asked.
    pub disk_sync: Duration,
}

impl Cadence {
    pub fn fields(&self, history: &CheckpointHistory) -> Vec<(&'static str, String)> {
        let allowed = self.ran.as_secs_f64() / self.interval.max(2 * self.disk_sync).as_secs_f64();
        let ms = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1000.0);
        vec![
            ("disk_sync_ms_p50", ms(self.disk_sync)),
            ("completed_share", format!("{:.3}", history.completed() as f64 / allowed)),
            ("gap_ms_max", ms(longest_gap(history))),
            ("skipped", history.skipped().to_string()),
            ("aborted", history.aborted().to_string()),
        ]
    }
}

/// From the job's start to the first completion, and from one completion to the next, at most.
fn longest_gap(history: &CheckpointHistory) -> Duration {
    let completed = history.iter().filter(|stats| stats.aborted.is_none());
    let mut before = ProcessingTime::default();
    let gaps = completed.map(|stats| {
        let time = stats.triggered.after(stats.end_to_end);
        time.since(std::mem::replace(&mut before, time))
    });
    gaps.max().unwrap_or_default()
}
