//! Sessions: entries of a key that become one when a record comes between them.

use crate::{
    error::BoxError,
    key::Key,
    operator::process_timed::TimeRule,
    record::Record,
    time::{InTime, Timestamp},
    topology::{
        process_fn::{Fired, KeyedProcess},
        window::{
            contents::Joins,
            firing::{Cx, Firing, States, Tag},
            late::LateOf,
        },
    },
    window::{Joined, Session, SessionGap, Window, WindowTrigger, Windows},
};

/// The step of sessions.
#[derive(Debug)]
pub struct Sessions<P, C, G, L> {
    windows: Session<P>,
    firing: Firing<C, G>,
    late: L,
}

impl<P: Clone, C: Clone, G: Clone, L: Clone> Clone for Sessions<P, C, G, L> {
    fn clone(&self) -> Self {
        Self::new(self.windows.clone(), self.firing.clone(), self.late.clone())
    }
}

impl<P, C, G, L> Sessions<P, C, G, L> {
    pub(super) fn new(windows: Session<P>, firing: Firing<C, G>, late: L) -> Self {
        Self { windows, firing, late }
    }
}

impl<K, T, S, P, C, G, L> KeyedProcess<K, T, S> for Sessions<P, C, G, L>
where
    K: Key,
    T: Record,
    S: InTime,
    P: SessionGap<T>,
    Session<P>: Windows,
    C: Joins<K, T>,
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
        let time = cx.moment();
        let new = self.windows.window(time, &record);
        let entries = &mut cx.states().0;
        let before = || {
            let entries = entries.range(..=(new.end, Timestamp::MAX));
            entries.rev().map(|((start, _), entry)| Window::new(*start, entry.end))
        };
        let Joined { count, window } = Joined::of(new, before());
        let is_known = count == 1 && before().next() == Some(window);
        let joined: Vec<_> = if is_known { Vec::new() } else { before().take(count).collect() };
        if self.firing.expires_at(window) <= cx.clock_before() {
            self.late.add(record, cx);
            return Ok(());
        }
        let mut one = None;
        for session in joined.into_iter().rev() {
            let Some(entry) = self.firing.take_session(cx, session) else { continue };
            match &mut one {
                None => one = Some(entry),
                Some(one) => self.firing.join(one, entry),
            }
        }
        let missing = |firing: &Firing<C, G>| {
            let mut entry = one.unwrap_or_else(|| firing.empty(window));
            entry.end = window.end;
            entry
        };
        self.firing.put(cx, ((window.start, window.start), window), missing, (record, time));
        Ok(())
    }

    fn on_timer(&mut self, timer: Fired<Tag>, cx: &mut Cx<'_, K, T, C, G, S>) -> Result<(), BoxError> {
        self.firing.fire(timer, cx);
        Ok(())
    }

    fn rule(&self) -> TimeRule {
        let behind = self.firing.behind();
        TimeRule { of: self.firing.of::<T>(&self.windows), is_by_clock: S::BY_CLOCK, behind, is_in_order: false }
    }

    fn take_late(&mut self) -> u64 {
        self.late.take()
    }
}
