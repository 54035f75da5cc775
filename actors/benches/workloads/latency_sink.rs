//! A two-phase sink that takes the time of each row: as it is written, or as it is published.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cofferdam::prelude::*;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    checksum_sink::{Checksum, Transaction},
    ticks::Timetable,
};

/// Where a row's time ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The sink's writer has it.
    Written,
    /// The checkpoint that holds it is durable, and the sink was told to make it visible.
    Published,
}

/// How late rows came, in microseconds.
pub struct Latencies {
    timetable: Timetable,
    /// What was due up to this tick is not counted.
    warm: u64,
    histogram: Mutex<Histogram<u64>>,
}

impl Latencies {
    pub fn new(timetable: Timetable, warm: Duration) -> Self {
        let histogram = Mutex::new(Histogram::new(3).unwrap());
        Self { timetable, warm: warm.as_millis() as u64, histogram }
    }

    /// `rows` that were due at `tick` are there now.
    fn note(&self, tick: u64, rows: u64) {
        if tick > self.warm {
            let late = self.timetable.late(tick).as_micros() as u64;
            self.histogram.lock().unwrap().record_n(late, rows).unwrap();
        }
    }

    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let histogram = self.histogram.lock().unwrap();
        let ms = |micros: u64| format!("{:.3}", micros as f64 / 1000.0);
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        vec![
            ("p50_ms", at(0.5)),
            ("p99_ms", at(0.99)),
            ("p999_ms", at(0.999)),
            ("max_ms", ms(histogram.max())),
            ("timed_rows", histogram.len().to_string()),
        ]
    }
}

/// Takes `((key, count), tick)`. `F` is a row's share in the checksum.
pub struct LatencySink<F> {
    pub share: F,
    pub until: Until,
    pub latencies: Arc<Latencies>,
    pub published: Arc<Mutex<BTreeMap<(u32, u64), Checksum>>>,
}

/// What one subtask wrote for one checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub struct Timed {
    transaction: Transaction,
    /// Ticks, and how many of the rows were due at each.
    due: Vec<(u64, u64)>,
}

pub struct Writer<F> {
    share: F,
    until: Until,
    latencies: Arc<Latencies>,
    subtask: u32,
    checksum: Checksum,
    due: Vec<(u64, u64)>,
}

impl<T: 'static, F> TwoPhaseSink<(T, u64)> for LatencySink<F>
where
    F: Fn(&T) -> u64 + Clone + Send + Sync + 'static,
{
    type Writer = Writer<F>;
    type Frozen = Timed;
    type Transaction = Timed;
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(Ownership::Untracked)
    }

    fn place(&self) -> String {
        "memory".to_string()
    }

    fn claim(&self, _context: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn recover(&self, _context: &SinkContext, transactions: Vec<Timed>, _writers: &[()]) -> Result<(), BoxError> {
        transactions.iter().try_for_each(|timed| TwoPhaseSink::<(T, u64)>::commit(self, timed))
    }

    fn open(&self, _context: &SinkContext, subtask: SubtaskIndex, _restored: Vec<()>) -> Result<Writer<F>, BoxError> {
        Ok(Writer {
            share: self.share.clone(),
            until: self.until,
            latencies: self.latencies.clone(),
            subtask: subtask.0,
            checksum: Checksum::default(),
            due: Vec::new(),
        })
    }

    fn pre_commit(&self, frozen: Timed) -> Result<Option<Timed>, BoxError> {
        Ok((frozen.transaction.checksum.rows > 0).then_some(frozen))
    }

    fn commit(&self, timed: &Timed) -> Result<(), BoxError> {
        let Transaction { subtask, checkpoint, checksum } = timed.transaction;
        let is_new = self.published.lock().unwrap().insert((subtask, checkpoint), checksum).is_none();
        if is_new && self.until == Until::Published {
            timed.due.iter().for_each(|(tick, rows)| self.latencies.note(*tick, *rows));
        }
        Ok(())
    }
}

impl<F> Writer<F> {
    fn count_due(&mut self, tick: u64) {
        // The newest ticks are last, so the search is short.
        match self.due.iter_mut().rev().find(|(due, _)| *due == tick) {
            Some((_, rows)) => *rows += 1,
            None => self.due.push((tick, 1)),
        }
    }
}

impl<T: 'static, F> SinkWriter<(T, u64)> for Writer<F>
where
    F: Fn(&T) -> u64 + Clone + Send + Sync + 'static,
{
    type Frozen = Timed;
    type State = ();

    fn write(&mut self, (row, tick): (T, u64)) -> Result<(), BoxError> {
        self.checksum.add((self.share)(&row));
        match self.until {
            Until::Written => self.latencies.note(tick, 1),
            Until::Published => self.count_due(tick),
        }
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, _last: bool) -> Result<(Timed, ()), BoxError> {
        let checksum = std::mem::take(&mut self.checksum);
        let transaction = Transaction { subtask: self.subtask, checkpoint: checkpoint.0, checksum };
        Ok((Timed { transaction, due: std::mem::take(&mut self.due) }, ()))
    }
}
