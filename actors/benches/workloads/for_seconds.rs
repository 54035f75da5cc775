//! A generator that ends after a time instead of after a number of records, and says how many it gave.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cofferdam::prelude::*;

/// How many records each source instance gave; instance *s* of *p* gave the numbers *s*, *s + p*, *s + 2p*, ...
#[derive(Clone, Default)]
pub struct Released(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Released {
    /// To be called when an instance ends; after a replay again.
    pub fn note(&self, split: &EveryNth, next: u64) {
        self.0.lock().unwrap().insert(split.first, (next - split.first) / split.step);
    }

    /// By instance. Call after the job.
    pub fn counts(&self) -> Vec<u64> {
        self.0.lock().unwrap().values().copied().collect()
    }
}

/// See the module. Each instance's time begins with its first read.
pub struct ForSeconds<F> {
    pub numbers: Generator<F>,
    pub limit: Duration,
    pub released: Released,
}

pub struct Reader<F> {
    numbers: GeneratorReader<F>,
    split: EveryNth,
    limit: Duration,
    until: Option<ProcessingTime>,
    released: Released,
}

impl<T: 'static, F: Fn(u64) -> T + Clone + Send + Sync + 'static> Source for ForSeconds<F> {
    type Record = T;
    type Split = EveryNth;
    type Position = NextNumber;
    type Reader = Reader<F>;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<EveryNth>, BoxError> {
        self.numbers.splits(parallelism)
    }

    fn open(&self, split: &EveryNth, position: Option<&NextNumber>) -> Result<Reader<F>, BoxError> {
        Ok(Reader {
            numbers: self.numbers.open(split, position)?,
            split: *split,
            limit: self.limit,
            until: None,
            released: self.released.clone(),
        })
    }
}

impl<T, F: Fn(u64) -> T + Send + 'static> SplitReader for Reader<F> {
    type Record = T;
    type Position = NextNumber;

    #[inline]
    fn read(&mut self, now: ProcessingTime) -> Result<Read<T>, BoxError> {
        let limit = self.limit;
        if now < *self.until.get_or_insert_with(|| now.after(limit)) {
            return self.numbers.read(now);
        }
        self.released.note(&self.split, self.numbers.position()?.0);
        Ok(Read::End)
    }

    fn position(&mut self) -> Result<NextNumber, BoxError> {
        self.numbers.position()
    }
}
