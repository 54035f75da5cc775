//! Windows that a record's time says at once: each is an entry, with what its trigger keeps.

use crate::{
    error::BoxError,
    key::Key,
    operator::process_timed::TimeRule,
    record::Record,
    time::{InTime, Timestamp},
    topology::{
        process_fn::{Fired, KeyedProcess},
        window::{
            contents::Contents,
            firing::{Cx, Firing, States, Tag},
            late::LateOf,
        },
    },
    window::{Global, Sliding, Tumbling, Window, WindowTrigger, Windows},
};

/// Windows that the time of a record `T` says.
pub trait Assign<T>: Windows {
    /// The last one that `time` lies in, if it lies in any.
    fn last(&self, time: Timestamp) -> Option<Window>;

    /// Gives the record to each window that its time lies in, the first one first.
    fn each(&self, time: Timestamp, record: T, give: impl FnMut(Window, T));
}

impl<T> Assign<T> for Tumbling {
    #[inline]
    fn last(&self, time: Timestamp) -> Option<Window> {
        Some(self.window(time))
    }

    #[inline]
    fn each(&self, time: Timestamp, record: T, mut give: impl FnMut(Window, T)) {
        give(self.window(time), record);
    }
}

impl<T> Assign<T> for Global {
    fn last(&self, _: Timestamp) -> Option<Window> {
        Some(Self::WINDOW)
    }

    fn each(&self, _: Timestamp, record: T, mut give: impl FnMut(Window, T)) {
        give(Self::WINDOW, record);
    }
}

impl<T: Clone> Assign<T> for Sliding {
    fn last(&self, time: Timestamp) -> Option<Window> {
        self.windows(time).next_back()
    }

    fn each(&self, time: Timestamp, record: T, mut give: impl FnMut(Window, T)) {
        for window in self.windows(time) {
            give(window, record.clone());
        }
    }
}

/// The step of such windows.
#[derive(Debug)]
pub struct Fixed<W, C, G, L> {
    windows: W,
    firing: Firing<C, G>,
    late: L,
}

impl<W: Clone, C: Clone, G: Clone, L: Clone> Clone for Fixed<W, C, G, L> {
    fn clone(&self) -> Self {
        Self::new(self.windows.clone(), self.firing.clone(), self.late.clone())
    }
}

impl<W, C, G, L> Fixed<W, C, G, L> {
    pub(super) fn new(windows: W, firing: Firing<C, G>, late: L) -> Self {
        Self { windows, firing, late }
    }
}

impl<K, T, S, W, C, G, L> KeyedProcess<K, T, S> for Fixed<W, C, G, L>
where
    K: Key,
    T: Record,
    S: InTime,
    W: Assign<T>,
    C: Contents<K, T>,
    G: WindowTrigger<T>,
    L: LateOf<T, S>,
{
    type States = States<K, T, C, G>;
    type Timer = Tag;
    type Out = C::Row;

    fn states(&self) -> Self::States {
        self.firing.states()
    }

    fn on_record(&mut self, record: T, cx: &mut Cx<'_, K, T, C, G, S>) -> Result<(), BoxError> {
        let (time, clock) = (cx.moment(), cx.clock_before());
        let Self { windows, firing, late } = self;
        // Between two windows nothing is late.
        let Some(last) = windows.last(time) else { return Ok(()) };
        if firing.expires_at(last) <= clock {
            late.add(record, cx);
            return Ok(());
        }
        windows.each(time, record, |window, record| {
            if firing.expires_at(window) > clock {
                let of = ((window.start, window.end), window);
                firing.put(cx, of, |firing| firing.empty(window), (record, time));
            }
        });
        Ok(())
    }

    fn on_timer(&mut self, timer: Fired<Tag>, cx: &mut Cx<'_, K, T, C, G, S>) -> Result<(), BoxError> {
        self.firing.fire(timer, cx);
        Ok(())
    }

    fn rule(&self) -> TimeRule {
        TimeRule {
            of: self.firing.of::<T>(&self.windows),
            is_by_clock: S::BY_CLOCK,
            behind: self.firing.behind(),
            is_in_order: true,
        }
    }

    fn take_late(&mut self) -> u64 {
        self.late.take()
    }
}
