//! How long a job takes from a failure to its next row, and where that time goes.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_engine::{KeyGroup, KeyGroupRange};

/// How often the instance looks whether a checkpoint has completed, once it is time to fail.
const EVERY: u64 = 1024;
/// Key groups, as [`Engine::builder`] sets them.
const KEY_GROUPS: u16 = 128;

/// What happened when.
#[derive(Default)]
pub struct Recovery {
    /// Something was published, so a checkpoint has completed.
    has_published: AtomicBool,
    failed: OnceLock<Instant>,
    first_row: OnceLock<Instant>,
    /// The sink was asked whose its place is: everything of the last attempt has stopped.
    stopped: Mutex<Option<Instant>>,
    /// The sink was told to recover: the attempt is begun.
    begun: Mutex<Option<Instant>>,
    /// The last of the sink's writers was opened: the tables are restored.
    opened: Mutex<Option<Instant>>,
}

impl Recovery {
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let failed = *self.failed.get().expect("nothing failed: too few --records for a checkpoint to complete first");
        let first_row = *self.first_row.get().unwrap();
        let at = |moment: &Mutex<Option<Instant>>| moment.lock().unwrap().unwrap();
        let (stopped, begun, opened) = (at(&self.stopped), at(&self.begun), at(&self.opened));
        let ms = |from: Instant, to: Instant| format!("{:.3}", (to - from).as_secs_f64() * 1000.0);
        vec![
            ("recovery_ms", ms(failed, first_row)),
            ("stop_ms", ms(failed, stopped)),
            ("begin_ms", ms(stopped, begun)),
            ("restore_ms", ms(begun, opened)),
            ("first_row_ms", ms(opened, first_row)),
        ]
    }

    fn row_after_failure(&self) {
        if self.failed.get().is_some() {
            self.first_row.get_or_init(Instant::now);
        }
    }

    fn is_due(&self, key: u64, parallelism: u32) -> bool {
        let range = KeyGroupRange::of_subtask(SubtaskIndex(0), parallelism, KEY_GROUPS);
        self.failed.get().is_none()
            && self.has_published.load(Ordering::Relaxed)
            && range.contains(KeyGroup::of_hash(key.hash64(), KEY_GROUPS))
    }
}

/// Lets rows pass, and fails once: in keyed instance 0, which has seen `after` records by then, with a checkpoint completed.
pub fn fail_once(
    recovery: Arc<Recovery>,
    after: u64,
    parallelism: u32,
) -> impl FnMut((u64, u64)) -> Result<(u64, u64), BoxError> + Clone + Send + 'static {
    let mut seen = 0u64;
    let mut next_look = 1;
    move |row| {
        seen += 1;
        if seen >= next_look {
            if seen == 1 {
                recovery.row_after_failure();
            }
            next_look = (seen + EVERY).max(after);
            if seen >= after && recovery.is_due(row.0, parallelism) {
                recovery.failed.get_or_init(Instant::now);
                return Err("injected: the one failure of this run".into());
            }
        }
        Ok(row)
    }
}

/// A two-phase sink that tells [`Recovery`] what it is asked to do.
pub struct Observed<S> {
    pub sink: S,
    pub recovery: Arc<Recovery>,
}

fn note(moment: &Mutex<Option<Instant>>) {
    *moment.lock().unwrap() = Some(Instant::now());
}

impl<T: 'static, S: TwoPhaseSink<T>> TwoPhaseSink<T> for Observed<S> {
    type Writer = S::Writer;
    type Frozen = S::Frozen;
    type Transaction = S::Transaction;
    type WriterState = S::WriterState;

    fn owner(&self) -> Result<Ownership, BoxError> {
        note(&self.recovery.stopped);
        self.sink.owner()
    }

    fn place(&self) -> String {
        self.sink.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.sink.claim(context)
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<S::Transaction>,
        writers: &[S::WriterState],
    ) -> Result<(), BoxError> {
        note(&self.recovery.begun);
        self.sink.recover(context, transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<S::WriterState>,
    ) -> Result<S::Writer, BoxError> {
        let writer = self.sink.open(context, subtask, restored);
        note(&self.recovery.opened);
        writer
    }

    fn pre_commit(&self, frozen: S::Frozen) -> Result<Option<S::Transaction>, BoxError> {
        self.sink.pre_commit(frozen)
    }

    fn commit(&self, transaction: &S::Transaction) -> Result<(), BoxError> {
        self.recovery.has_published.store(true, Ordering::Relaxed);
        self.sink.commit(transaction)
    }
}

/// One restart, without a pause before it.
pub fn at_once() -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts: 1, delay: Duration::ZERO }
}
