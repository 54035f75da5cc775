//! The numbers of a run.

use std::time::Duration;

use cofferdam_engine::{
    RestartStrategy,
    checkpoint::config::{CheckpointConfig, CheckpointMode},
    topology::plan::Settings,
};

/// How a job is run. All small, so that few records meet many interleavings.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The job's.
    pub settings: Settings,
    /// Elements per input channel.
    pub channel_capacity: usize,
    /// Records of a subtask's turn, at most.
    pub slice_records: u64,
    /// Batches on each feedback channel of a loop that stay in memory.
    pub loop_mark: usize,
    /// The longest that a step of the simulation takes.
    pub step_time: Duration,
}

impl Setup {
    /// Numbers drawn from `seed`.
    pub fn drawn(seed: u64) -> Self {
        // Not the run's own stream, which begins with the same seed.
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5e70);
        let step_time = Duration::from_micros(random.u64(2..100));
        let checkpoints = CheckpointConfig {
            min_pause: step_time * random.u32(0..20),
            // Long enough for any checkpoint that nothing holds up.
            timeout: step_time * 1_000,
            alignment_buffer: random.usize(0..5),
            ..CheckpointConfig::every(step_time * random.u32(5..80))
        };
        let checkpoints = match random.u32(0..4) {
            0 => checkpoints.min_pause(Duration::ZERO).max_concurrent(random.u32(2..4)),
            _ => checkpoints,
        };
        let checkpoints = match random.u32(0..6) {
            0 => checkpoints.unaligned(Duration::ZERO),
            1 => checkpoints.unaligned(step_time * random.u32(1..40)),
            _ => checkpoints,
        };
        // Now and then none but the last.
        let checkpoints =
            if random.u32(0..10) == 0 { CheckpointConfig { interval: None, ..checkpoints } } else { checkpoints };
        Self {
            settings: Settings {
                fail_points: Default::default(),
                parallelism: random.u32(1..4),
                max_parallelism: 8,
                batch_size: random.usize(1..5),
                checkpoints,
                restart: RestartStrategy::FixedDelay { attempts: u32::MAX, delay: Duration::from_millis(1) },
                is_durable: true,
                heap_limit: None,
            },
            channel_capacity: random.usize(1..5),
            slice_records: random.u64(1..12),
            step_time,
            loop_mark: random.usize(0..10),
        }
    }

    /// The same, so that much happens in a short run: checkpoints follow each other closely, and there is something to align and to stash.
    pub(crate) fn eventful(self) -> Self {
        let interval = Some(self.step_time * 20);
        let is_alone = self.settings.checkpoints.max_concurrent.get() == 1;
        let min_pause = if is_alone { self.step_time } else { Duration::ZERO };
        let settings = Settings { batch_size: self.settings.batch_size.max(3), ..self.settings };
        Self { settings, ..self }.parallelism(2).checkpoints(|checkpoints| CheckpointConfig {
            interval,
            min_pause,
            alignment_buffer: checkpoints.alignment_buffer.max(2),
            unaligned: false,
            aligned_timeout: Duration::ZERO,
            ..checkpoints
        })
    }

    /// Another parallelism.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.settings.parallelism = parallelism;
        self
    }

    /// A limit for live state on the heap, in bytes; the backend must have it, too.
    pub fn heap_limit(mut self, bytes: u64) -> Self {
        self.settings.heap_limit = Some(bytes);
        self
    }

    /// Another number of batches that stay in memory on each feedback channel of a loop; with 0 all that circulates is spilled.
    pub fn loop_mark(self, batches: usize) -> Self {
        Self { loop_mark: batches, ..self }
    }

    /// Another mode; barriers overtake in none but exactly-once mode.
    pub fn mode(self, mode: CheckpointMode) -> Self {
        self.checkpoints(|checkpoints| match mode {
            CheckpointMode::ExactlyOnce => checkpoints.mode(mode),
            CheckpointMode::AtLeastOnce => {
                CheckpointConfig { unaligned: false, aligned_timeout: Duration::ZERO, ..checkpoints }.mode(mode)
            }
        })
    }

    /// Another checkpoint configuration.
    pub fn checkpoints(mut self, change: impl FnOnce(CheckpointConfig) -> CheckpointConfig) -> Self {
        self.settings.checkpoints = change(self.settings.checkpoints);
        self
    }
}
