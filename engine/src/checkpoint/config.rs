//! When checkpoints are taken, and how.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::topology::fault::TopologyFault;

/// What a restart means for records that were on their way when a checkpoint was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CheckpointMode {
    /// State counts each record once: channels are aligned on the barrier.
    #[default]
    ExactlyOnce,
    /// State counts each record once or more: nothing waits for a barrier, so records behind it may be in the snapshot, and come again.
    AtLeastOnce,
}

/// When checkpoints are taken, and how. A plain value.
///
/// ```
/// # use std::time::Duration;
/// # use cofferdam_engine::checkpoint::config::CheckpointConfig;
/// let checkpoints = CheckpointConfig::every(Duration::from_secs(1)).timeout(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// From trigger to trigger. `None`: only the last checkpoint of a bounded job is taken, and a crash starts the job from the beginning.
    pub interval: Option<Duration>,
    /// What a restart means for state.
    pub mode: CheckpointMode,
    /// From the completion of one to the trigger of the next, at least.
    pub min_pause: Duration,
    /// A checkpoint that is not complete after this long is aborted. 10 minutes unless set, as in Flink.
    pub timeout: Duration,
    /// The most elements that one subtask stashes behind barriers; then the channel is left unread.
    pub alignment_buffer: usize,
}

impl Default for CheckpointConfig {
    /// No periodic checkpoints.
    fn default() -> Self {
        Self {
            interval: None,
            mode: CheckpointMode::ExactlyOnce,
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            alignment_buffer: 64,
        }
    }
}

impl CheckpointConfig {
    /// A checkpoint every `interval`, exactly once.
    pub fn every(interval: Duration) -> Self {
        Self { interval: Some(interval), ..Self::default() }
    }

    /// Sets the mode.
    pub fn mode(mut self, mode: CheckpointMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the pause between completion and trigger.
    pub fn min_pause(mut self, pause: Duration) -> Self {
        self.min_pause = pause;
        self
    }

    /// Sets the time after which a checkpoint is aborted.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the bound of the alignment buffer, in elements (batches, mostly) per subtask.
    pub fn alignment_buffer(mut self, elements: usize) -> Self {
        self.alignment_buffer = elements;
        self
    }

    /// What cannot be.
    pub(crate) fn faults(&self) -> Vec<TopologyFault> {
        let mut faults = Vec::new();
        let mut fault = |message: &str| faults.push(TopologyFault::Setting { message: message.to_string() });
        if self.interval == Some(Duration::ZERO) {
            fault("the checkpoint interval is 0: leave it out for no periodic checkpoints");
        }
        if self.timeout.is_zero() {
            fault("the checkpoint timeout is 0: every checkpoint would be aborted");
        }
        faults
    }
}
