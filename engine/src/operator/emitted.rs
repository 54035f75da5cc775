//! What a function has emitted for one record, until the next step has taken it.

use std::collections::VecDeque;

use crate::{
    operator::process::Collector,
    slice::{Flow, Slice},
};

/// All of it is of one record, and bears its stamp: the next record comes only once nothing is left.
pub(crate) struct Emitted<T, S> {
    records: VecDeque<T>,
    /// The stamp of what is left from an earlier turn.
    time: Option<S>,
}

impl<T, S: Copy> Emitted<T, S> {
    pub(crate) fn nothing() -> Self {
        Self { records: VecDeque::new(), time: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes what a function emits.
    #[inline]
    pub(crate) fn collector(&mut self) -> Collector<'_, T> {
        Collector::of(&mut self.records)
    }

    /// Gives to `sink` what was emitted for a record with this stamp.
    #[inline]
    pub(crate) fn hand_out(
        &mut self,
        time: S,
        slice: &mut Slice<'_>,
        sink: &mut impl FnMut(&mut Slice<'_>, T, S) -> Flow,
    ) -> Flow {
        while let Some(record) = self.records.pop_front() {
            if let Err(stop) = sink(slice, record, time) {
                self.time = Some(time);
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Gives to `sink` what is left from an earlier turn.
    #[inline]
    pub(crate) fn resume(
        &mut self,
        slice: &mut Slice<'_>,
        sink: &mut impl FnMut(&mut Slice<'_>, T, S) -> Flow,
    ) -> Flow {
        match self.time.take() {
            Some(time) => self.hand_out(time, slice, sink),
            None => Ok(()),
        }
    }
}
