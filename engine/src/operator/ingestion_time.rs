//! The time of each record is the moment when it comes by.

use std::sync::Arc;

use crate::{
    element::Watermark,
    error::{BoxError, Error},
    operator::{
        OpenContext, Operator, SnapshotBuilder, Stateful, Step,
        split_clock::{self, SplitTime, StoredClock},
    },
    slice::{Flow, Slice},
    time::Timestamp,
};

/// Stamps never fall, and none is at or below a watermark that was given, also if the wall clock is behind after a restart.
pub struct IngestionTime<U> {
    address: Arc<str>,
    upstream: U,
    /// Behind a source in the same chain the clock is stored with each split.
    by_split: bool,
    /// The last stamp, or a later look at the clock.
    last: Timestamp,
}

impl<U> IngestionTime<U> {
    pub(crate) fn new(address: Arc<str>, upstream: U, by_split: bool) -> Self {
        Self { address, upstream, by_split, last: Timestamp::MIN }
    }

    fn mark(&self) -> Timestamp {
        Timestamp(self.last.0.saturating_sub(1))
    }

    fn restore(&mut self, stored: &StoredClock) {
        self.last = self.last.max(Timestamp(stored.watermark.0.saturating_add(1)));
    }

    fn stored(&self) -> StoredClock {
        StoredClock { watermark: self.mark(), is_idle: false, state: Vec::new() }
    }

    #[inline]
    fn look(&mut self, slice: &Slice<'_>) -> Timestamp {
        self.last = self.last.max(slice.wall_time().into());
        self.last
    }
}

impl<U: Operator> Stateful for IngestionTime<U> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let highest = |all: Vec<StoredClock>| all.into_iter().max_by_key(|clock| clock.watermark);
        if !self.by_split
            && let Some(stored) = split_clock::restore(&self.address, context, highest)?
        {
            self.restore(&stored);
        }
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let clock = self.stored();
        if !self.by_split {
            return split_clock::save(&self.address, clock, snapshot);
        }
        self.upstream.splits(&mut |number, _| {
            let time = SplitTime { step: self.address.to_string(), clock: clock.clone() };
            snapshot.split_times.entry(number).or_default().push(time);
        });
        Ok(())
    }
}

impl<U: Operator> Step for IngestionTime<U> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn begin(&mut self, _: &OpenContext) -> Result<(), Error> {
        if self.by_split {
            self.upstream.restored_clocks(&self.address).iter().flatten().for_each(|stored| self.restore(stored));
        }
        Ok(())
    }

    fn watermark(&mut self, head: Watermark, slice: &Slice<'_>) -> Watermark {
        let input = self.upstream.watermark(head, slice);
        if input == Watermark::END {
            return input;
        }
        self.look(slice);
        Watermark { time: self.mark(), is_idle: false }
    }

    fn moves_time(&mut self) -> bool {
        true
    }
}

impl<U: Operator> Operator for IngestionTime<U> {
    type Out = U::Out;
    type Time = Timestamp;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, U::Out, Timestamp) -> Flow,
    {
        let Self { upstream, last, .. } = self;
        upstream.drive(slice, &mut |slice, record, _| {
            *last = (*last).max(slice.wall_time().into());
            sink(slice, record, *last)
        })
    }
}
