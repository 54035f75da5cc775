//! When checkpoints are taken, and how.

use std::{num::NonZeroU32, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    duration,
    error::{BoxError, Error, ErrorKind},
    topology::fault::TopologyFault,
};

/// What a restart means for records that were on their way when a checkpoint was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CheckpointMode {
    /// State counts each record once: channels are aligned on the barrier.
    #[default]
    ExactlyOnce,
    /// State counts each record once or more: nothing waits for a barrier, so records behind it may be in the snapshot, and come again.
    AtLeastOnce,
}

/// What becomes of the checkpoints of a job that its host cancels. Those of a job that fails or is stopped are kept whatever is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Retention {
    /// Checkpoints serve recovery only, and go with a cancelled job.
    #[default]
    RecoveryOnly,
    /// The same, said on purpose: needs a backend that outlives the process.
    DeleteOnCancellation,
    /// A cancelled job's checkpoints stay, and its next start goes on from them. Needs a backend that outlives the process.
    RetainOnCancellation,
}

/// When checkpoints are taken, and how. A plain value; names and defaults are Flink's, but for [`tolerable_failures`](Self::tolerable_failures).
///
/// ```
/// # use std::time::Duration;
/// # use cofferdam_engine::checkpoint::config::CheckpointConfig;
/// let checkpoints = CheckpointConfig::every(Duration::from_secs(1)).timeout(Duration::from_secs(60));
/// assert_eq!(CheckpointConfig::from_json(r#"{ "interval": "1s", "timeout": "1m" }"#)?, checkpoints);
///
/// let misspelt = CheckpointConfig::from_json(r#"{ "intervall": "1s" }"#).unwrap_err();
/// assert!(misspelt.to_string().contains("unknown field `intervall`"));
/// # Ok::<(), cofferdam_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// From trigger to trigger. `None`: only the last checkpoint of a bounded job is taken, and a crash starts the job from the beginning.
    #[serde(with = "duration::optional")]
    pub interval: Option<Duration>,
    /// What a restart means for state.
    pub mode: CheckpointMode,
    /// From the completion of one to the trigger of the next, at least.
    #[serde(with = "duration")]
    pub min_pause: Duration,
    /// A checkpoint that is not complete after this long is aborted. 10 minutes unless set.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How many checkpoints may be under way at once. They complete in order.
    pub max_concurrent: NonZeroU32,
    /// How many checkpoints in a row may fail before the attempt does; `None`, the default, for any number. (In Flink it is 0.) If the host stops the job meanwhile, the job ends.
    pub tolerable_failures: Option<u32>,
    /// What becomes of the checkpoints when the job is cancelled.
    pub retention: Retention,
    /// How many completed checkpoints are kept, the newest among them: a start may name an older one to go back to.
    pub num_retained: NonZeroU32,
    /// The most elements that one subtask stashes behind barriers; then the channel is left unread.
    pub alignment_buffer: usize,
    /// Barriers overtake the records that wait in front of them, which become part of the checkpoint.
    pub unaligned: bool,
    /// With [`unaligned`](Self::unaligned): how long after its trigger a barrier waits its turn before it overtakes. 0 unless set.
    #[serde(with = "duration")]
    pub aligned_timeout: Duration,
}

impl Default for CheckpointConfig {
    /// No periodic checkpoints.
    fn default() -> Self {
        Self {
            interval: None,
            mode: CheckpointMode::ExactlyOnce,
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            max_concurrent: NonZeroU32::MIN,
            tolerable_failures: None,
            retention: Retention::RecoveryOnly,
            num_retained: NonZeroU32::MIN,
            alignment_buffer: 64,
            unaligned: false,
            aligned_timeout: Duration::ZERO,
        }
    }
}

impl CheckpointConfig {
    /// A checkpoint every `interval`, exactly once.
    pub fn every(interval: Duration) -> Self {
        Self { interval: Some(interval), ..Self::default() }
    }

    /// Reads a configuration as JSON. What is left out has its default; durations are written as in `"1m 30s"`. An error names the field that is
    /// unknown or makes no sense, and its line.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        Self::parse(json, "the checkpoint configuration")
    }

    /// [`from_json`](Self::from_json) for a file's content. Blocks.
    pub fn from_json_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let what = format!("the checkpoint configuration {}", path.display());
        let json = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::InvalidTopology, format!("{what} cannot be read"), Some(Box::new(error)))
        })?;
        Self::parse(&json, &what)
    }

    fn parse(json: &str, what: &str) -> Result<Self, Error> {
        let refused = |why: String, error: Option<serde_json::Error>| {
            let cause = error.map(|error| Box::new(error) as BoxError);
            Error::new(ErrorKind::InvalidTopology, format!("{what} makes no sense{why}"), cause)
        };
        if !json.trim_start().starts_with('{') {
            return Err(refused(": it is no JSON object".to_string(), None));
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let field = Some(error.path().to_string()).filter(|path| path != "." && path != "?");
            refused(field.map_or_else(String::new, |field| format!(" at '{field}'")), Some(error.into_inner()))
        })?;
        deserializer.end().map_err(|error| refused(String::new(), Some(error)))?;
        Ok(config)
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

    /// Sets how many checkpoints may be under way at once; 0 is taken for 1.
    pub fn max_concurrent(mut self, checkpoints: u32) -> Self {
        self.max_concurrent = NonZeroU32::new(checkpoints).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// Sets how many checkpoints in a row may fail before the attempt does.
    pub fn tolerable_failures(mut self, checkpoints: u32) -> Self {
        self.tolerable_failures = Some(checkpoints);
        self
    }

    /// Keeps the checkpoints of a cancelled job: its next start goes on from them.
    pub fn retain_on_cancellation(mut self) -> Self {
        self.retention = Retention::RetainOnCancellation;
        self
    }

    /// Deletes the checkpoints of a cancelled job.
    pub fn delete_on_cancellation(mut self) -> Self {
        self.retention = Retention::DeleteOnCancellation;
        self
    }

    /// Sets how many completed checkpoints are kept; 0 is taken for 1.
    pub fn num_retained(mut self, checkpoints: u32) -> Self {
        self.num_retained = NonZeroU32::new(checkpoints).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// Sets the bound of the alignment buffer, in elements (batches, mostly) per subtask.
    pub fn alignment_buffer(mut self, elements: usize) -> Self {
        self.alignment_buffer = elements;
        self
    }

    /// Lets barriers overtake, `aligned_timeout` after their trigger (zero: at once).
    pub fn unaligned(mut self, aligned_timeout: Duration) -> Self {
        self.unaligned = true;
        self.aligned_timeout = aligned_timeout;
        self
    }

    /// What cannot be. `is_durable` says whether the backend outlives the process.
    pub(crate) fn faults(&self, is_durable: bool) -> Vec<TopologyFault> {
        let rules = [
            (
                self.interval == Some(Duration::ZERO),
                "the checkpoint interval is 0: leave it out for no periodic checkpoints",
            ),
            (self.timeout.is_zero(), "the checkpoint timeout is 0: every checkpoint would be aborted"),
            (
                self.unaligned && self.mode == CheckpointMode::AtLeastOnce,
                "unaligned checkpoints with mode AtLeastOnce: nothing is aligned in that mode, so leave out one of the two",
            ),
            (
                !self.unaligned && !self.aligned_timeout.is_zero(),
                "aligned_timeout is set, and unaligned is not: say after how long barriers overtake only where they may",
            ),
            (
                !self.min_pause.is_zero() && self.max_concurrent > NonZeroU32::MIN,
                "min_pause with max_concurrent above 1: a pause after each checkpoint leaves no two at once, so leave out one of the two",
            ),
            (
                self.retention != Retention::RecoveryOnly && !is_durable,
                "retention is set, and checkpoints are kept in memory, which ends with the process: choose a backend that outlives it",
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, message)| TopologyFault::Setting { message: message.to_string() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_comes_back_from_its_json_as_it_was() {
        let all = CheckpointConfig::every(Duration::from_millis(1500))
            .mode(CheckpointMode::AtLeastOnce)
            .min_pause(Duration::from_micros(7))
            .timeout(Duration::from_secs(61))
            .max_concurrent(3)
            .tolerable_failures(0)
            .retain_on_cancellation()
            .num_retained(5)
            .alignment_buffer(9)
            .unaligned(Duration::from_secs(2));
        for config in [CheckpointConfig::default(), all] {
            let json = serde_json::to_string(&config).map_err(|error| error.to_string());
            assert_eq!(
                json.and_then(|json| CheckpointConfig::from_json(&json).map_err(|error| error.to_string())),
                Ok(config)
            );
        }
    }

    #[test]
    fn a_field_that_makes_no_sense_is_named() {
        let wrong = [
            (r#"{ "intervall": "1s" }"#, "unknown field `intervall`"),
            (r#"{ "tolerable_failures": -1 }"#, "'tolerable_failures'"),
            (r#"{ "timeout": "soon" }"#, "'timeout'"),
            (r#"{ "max_concurrent": 0 }"#, "'max_concurrent'"),
            (r#"{ "mode": "Twice" }"#, "'mode'"),
            (r#"["1s"]"#, "no JSON object"),
            (r#"{} {}"#, "trailing characters"),
        ];
        for (json, named) in wrong {
            let error = CheckpointConfig::from_json(json).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(named)), "{json}: {error:?}");
        }
        let directory = std::env::temp_dir().join(format!("cofferdam-config-{}.json", std::process::id()));
        let written = std::fs::write(&directory, r#"{ "interval": "1s", "num_retained": 3 }"#);
        let read = CheckpointConfig::from_json_file(&directory);
        assert!(written.is_ok() && std::fs::remove_file(&directory).is_ok());
        let expected = CheckpointConfig::every(Duration::from_secs(1)).num_retained(3);
        assert_eq!(read.map_err(|error| error.to_string()), Ok(expected));
        let missing = CheckpointConfig::from_json_file(&directory).err().map(|error| error.to_string());
        assert!(missing.is_some_and(|error| error.contains(&directory.display().to_string())));
    }

    #[test]
    fn the_defaults_are_flinks_but_for_tolerable_failures() {
        let config = CheckpointConfig::default();
        assert_eq!((config.interval, config.timeout), (None, Duration::from_secs(600)));
        assert_eq!((config.max_concurrent.get(), config.num_retained.get(), config.tolerable_failures), (1, 1, None));
        assert_eq!((config.mode, config.unaligned), (CheckpointMode::ExactlyOnce, false));
        let late = CheckpointConfig { aligned_timeout: Duration::from_secs(1), ..config };
        assert_eq!(late.faults(true).len(), 1, "aligned_timeout without unaligned");
    }

    #[test]
    fn combinations_that_make_no_sense_are_refused_all_at_once() {
        let config =
            CheckpointConfig { interval: Some(Duration::ZERO), timeout: Duration::ZERO, ..CheckpointConfig::default() };
        let config = config
            .mode(CheckpointMode::AtLeastOnce)
            .unaligned(Duration::ZERO)
            .min_pause(Duration::from_secs(1))
            .max_concurrent(2)
            .retain_on_cancellation();
        assert_eq!(config.faults(false).len(), 5);
        assert_eq!(config.faults(true).len(), 4);
        assert!(CheckpointConfig::every(Duration::from_secs(1)).faults(false).is_empty());
    }
}
