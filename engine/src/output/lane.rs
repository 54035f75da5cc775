//! One output channel's elements on their way out.

use std::collections::VecDeque;

use crate::{
    element::StreamElement,
    record::Record,
    slice::{Flow, Stop},
};

pub(crate) struct Lane<T> {
    filling: Vec<T>,
    ready: VecDeque<StreamElement>,
    batch_size: usize,
}

impl<T: Record> Lane<T> {
    pub(crate) fn new(batch_size: usize) -> Self {
        Self { filling: Vec::new(), ready: VecDeque::new(), batch_size }
    }

    #[inline]
    pub(crate) fn push(&mut self, record: T) -> Flow {
        if self.filling.len() == self.filling.capacity() {
            self.filling.reserve_exact(self.batch_size - self.filling.len());
        }
        self.filling.push(record);
        if self.filling.len() < self.batch_size {
            return Ok(());
        }
        self.flush();
        Err(Stop::Yield)
    }

    pub(crate) fn flush(&mut self) -> bool {
        if self.filling.is_empty() {
            return false;
        }
        self.ready.push_back(StreamElement::Batch(Box::new(std::mem::take(&mut self.filling))));
        true
    }

    pub(crate) fn send(&mut self, element: StreamElement) {
        self.flush();
        self.ready.push_back(element);
    }

    pub(crate) fn take_ready(&mut self) -> Option<StreamElement> {
        self.ready.pop_front()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        !self.ready.is_empty()
    }
}
