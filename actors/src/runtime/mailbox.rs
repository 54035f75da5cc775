//! One input channel: a bounded FIFO between two subtasks, the only way data travels. One that comes round in a loop has no bound, and spills.
//!
//! # Invariants
//! - One sender, one receiver. What the sender saw room for, it can push.
//! - A side that finds nothing to do leaves its waker under the same lock, so no wake-up is lost.
//! - A sender that waits is woken when half of the room is free, not for every element: fewer switches of threads.
//! - A barrier that may overtake needs no room, and wakes its receiver whatever that is waiting for.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use cofferdam_engine::{BoxError, ChannelQueue, CheckpointBarrier, Circulating, Copied, ProcessingTime, StreamElement};
use parking_lot::Mutex;

struct Shared {
    queue: ChannelQueue,
    capacity: usize,
    /// A barrier or an end finds room in any case, and so does what is in front of it.
    admits_lines: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
    /// The receiver's task, if barriers may overtake.
    watcher: Option<Waker>,
    gauge: Option<LoopGauge>,
}

/// Shows what circulates through a channel: what it last was, once the channel is gone.
pub(crate) type LoopGauge = Arc<Mutex<Circulating>>;

/// Puts elements in.
pub(crate) struct Sender(Arc<Mutex<Shared>>);

/// Takes elements out.
pub(crate) struct Receiver(Arc<Mutex<Shared>>);

/// A channel for `capacity` elements. If it `admits_lines`, a barrier or an end finds room in any case, and so does what is in front of it.
pub(crate) fn mailbox(capacity: usize, admits_lines: bool) -> (Sender, Receiver) {
    Shared::ends(ChannelQueue::new(), capacity, admits_lines, None)
}

/// A channel that comes round, for any number of elements.
pub(crate) fn feedback_mailbox(queue: ChannelQueue, gauge: LoopGauge) -> (Sender, Receiver) {
    Shared::ends(queue, usize::MAX, true, Some(gauge))
}

impl Shared {
    fn ends(queue: ChannelQueue, capacity: usize, admits_lines: bool, gauge: Option<LoopGauge>) -> (Sender, Receiver) {
        let shared = Self { queue, capacity, admits_lines, receiver: None, sender: None, watcher: None, gauge };
        let shared = Arc::new(Mutex::new(shared));
        (Sender(shared.clone()), Receiver(shared))
    }

    fn show(&self) {
        if let (Some(gauge), Some(circulating)) = (&self.gauge, self.queue.circulating()) {
            *gauge.lock() = circulating;
        }
    }
}

impl Sender {
    /// Whether an element can be pushed, with a barrier or an end (`is_line`) among those that wait; if not, the task is woken when there is room.
    pub(crate) fn has_room(&self, is_line: bool, task: &Context<'_>) -> bool {
        let mut shared = self.0.lock();
        let has_room = shared.queue.len() < shared.capacity || (is_line && shared.admits_lines);
        if !has_room {
            shared.sender = Some(task.waker().clone());
        }
        has_room
    }

    /// Adds an element, for which there must be room. Fails if it must be spilled and cannot be.
    pub(crate) fn push(&self, element: StreamElement) -> Result<(), BoxError> {
        let mut shared = self.0.lock();
        let is_admitted = shared.queue.len() < shared.capacity || shared.admits_lines;
        debug_assert!(is_admitted, "only the sender adds elements, and it asked for room");
        shared.queue.push(element)?;
        shared.show();
        let receiver = shared.receiver.take();
        drop(shared);
        if let Some(waker) = receiver {
            waker.wake();
        }
        Ok(())
    }

    /// Adds a barrier that may overtake, now or later.
    pub(crate) fn push_overtaking(&self, barrier: StreamElement) -> Result<(), BoxError> {
        let mut shared = self.0.lock();
        shared.queue.push(barrier)?;
        let wakers = [shared.receiver.take(), shared.watcher.clone()];
        drop(shared);
        wakers.into_iter().flatten().for_each(Waker::wake);
        Ok(())
    }
}

impl Receiver {
    /// From now on the task is woken for each barrier that may overtake.
    pub(crate) fn watch(&self, task: &Context<'_>) {
        let mut shared = self.0.lock();
        if !shared.watcher.as_ref().is_some_and(|watcher| watcher.will_wake(task.waker())) {
            shared.watcher = Some(task.waker().clone());
        }
    }

    /// Takes a barrier that may overtake now, with copies of what is in front of it.
    pub(crate) fn overtake(
        &self,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        self.0.lock().queue.overtake(now)
    }

    /// When the first barrier that waits may overtake.
    pub(crate) fn overtakes_at(&self) -> Option<ProcessingTime> {
        self.0.lock().queue.overtakes_at()
    }

    /// Whether a barrier or an end waits.
    pub(crate) fn has_line(&self) -> bool {
        self.0.lock().queue.has_line()
    }

    /// Elements that wait.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().queue.len()
    }

    /// Takes the oldest element, unless it is a batch and none is wanted; if there is none, the task is woken when one comes. Fails if it was spilled and cannot be read.
    pub(crate) fn pop(&self, wants_batch: bool, task: &Context<'_>) -> Result<Option<StreamElement>, BoxError> {
        let mut shared = self.0.lock();
        if !wants_batch && shared.queue.has_batch_next() {
            return Ok(None);
        }
        let element = shared.queue.pop()?;
        shared.show();
        if element.is_none() {
            shared.receiver = Some(task.waker().clone());
        }
        let sender = if shared.queue.len() <= shared.capacity / 2 { shared.sender.take() } else { None };
        drop(shared);
        if let Some(waker) = sender {
            waker.wake();
        }
        Ok(element)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone(), count.into())
    }

    #[test]
    fn a_full_mailbox_has_no_room_and_wakes_its_sender_once_half_empty() {
        let (sender, receiver) = mailbox(4, false);
        let (woken, waker) = waker();
        let task = Context::from_waker(&waker);
        for _ in 0..4 {
            assert!(sender.has_room(false, &task));
            sender.push(StreamElement::EndOfInput).unwrap();
        }
        assert!(!sender.has_room(false, &task));
        assert!(receiver.pop(true, &task).unwrap().is_some());
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        assert!(receiver.pop(true, &task).unwrap().is_some());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_empty_mailbox_wakes_its_receiver_when_an_element_comes() {
        let (sender, receiver) = mailbox(1, false);
        let (woken, waker) = waker();
        let task = Context::from_waker(&waker);
        assert!(receiver.pop(true, &task).unwrap().is_none());
        sender.push(StreamElement::EndOfInput).unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(matches!(receiver.pop(true, &task).unwrap(), Some(StreamElement::EndOfInput)));
    }
}
