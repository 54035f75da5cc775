//! A keyed step that follows time: it has records, and what time makes due.
//!
//! ```text
//! watermark --> a round: group after group does what is due | nothing is due: the clocks jump
//! drive     --> what was given leaves | the wall clock's turn, some calls at most | the round goes on | records
//! snapshot  --> the logic's tables, and the clock of each key group: in the midst of a round, too
//! ```
//! What is due, and what it means, is for the [`TimedLogic`] to know. See `docs/decisions/0020`.
//!
//! # Invariants
//! - The watermark behind the step is in front of all that is due and has not left. In a round it goes no further than the round before.
//! - No record is handled during a round.
//! - What the wall clock makes due takes turns with rounds and with records, as it may set itself anew for ever.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    checkpoint::snapshot::OperatorSnapshot,
    codec::{decode, encode},
    element::Watermark,
    error::{BoxError, Error, ErrorKind},
    id::{CheckpointId, ProcessingTime, WallTime},
    key::Key,
    key_group::KeyGroup,
    operator::{OpenContext, Operator, SnapshotBuilder, Stateful, Step, StepError, aside::Aside, input::Input},
    output::sides::SideTag,
    panic_site::running,
    record::{Batch, Record},
    slice::{Flow, Slice, Stop},
    time::{
        Stamp, Stamped, Timestamp,
        group_clocks::{GroupClocks, StepTime},
    },
    topology::graph::{BuildContext, StepIndex},
};

/// What a keyed step does with its records, and with time. Its tables are its own.
pub trait TimedLogic<K: Key>: Send + 'static {
    type Record: Record;
    type Time: Stamp;
    type Out: Send + 'static;
    type OutTime: Stamp;
    /// Where a record's state is.
    type Slot: Copy + Default;

    /// What it does by its clocks: checkpoints of another one cannot be continued from.
    fn of(&self) -> String;

    /// Where the state of a record's key probably is; meanwhile it is fetched from memory.
    fn hint(&self, key: &K, time: Self::Time) -> Self::Slot;

    fn record(
        &mut self,
        at: &Moment<'_>,
        hint: Self::Slot,
        key: K,
        record: Stamped<Self::Record, Self::Time>,
        out: &mut Out<Self::Out, Self::OutTime>,
    ) -> Result<(), BoxError>;

    /// Nothing is due before this, in no group; `None`: nothing at all. Asked with each record, and each watermark.
    fn next_due(&mut self) -> Option<Timestamp>;

    /// How far all groups go at once on their way to `to`.
    fn stride(&self, to: Timestamp) -> Timestamp {
        to
    }

    /// What is due becomes so by the clock, not by watermarks.
    fn goes_by_clock(&self) -> bool {
        false
    }

    /// By how many milliseconds the watermark behind the step is held back: what it gives may be so much older than what makes it due.
    fn behind(&self) -> i64 {
        0
    }

    /// Does some of what is due up to `to` in a key group, the earliest first, and removes it from the state together with giving it.
    fn fire(
        &mut self,
        group: KeyGroup,
        to: Timestamp,
        at: &Moment<'_>,
        out: &mut Out<Self::Out, Self::OutTime>,
    ) -> Result<Done, BoxError>;

    /// Nothing is due by the wall clock before this. `None`: nothing at all.
    fn next_wake(&mut self) -> Option<WallTime>;

    /// Does some of what is due by the wall clock up to `to`, the earliest first.
    fn wake(&mut self, to: WallTime, at: &Moment<'_>, out: &mut Out<Self::Out, Self::OutTime>) -> Result<(), BoxError>;

    /// What takes records that come aside, if any do.
    fn aside(&mut self) -> Option<&mut dyn Aside> {
        None
    }

    /// See [`KeyedTables`](crate::state::keyed_states::KeyedTables).
    fn batch_came(&mut self);
    fn is_loaded(&self) -> bool;
    fn load(&mut self, keys: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError>;
    fn heap_is_spent(&self) -> bool;
    /// Records dropped as late since the last call.
    fn take_late(&mut self) -> u64 {
        0
    }
    fn restore(&mut self, context: &OpenContext) -> Result<(), Error>;
    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError>;
    fn completed(&mut self, checkpoint: CheckpointId);
}

/// What a logic has given, with its stamps, until the next step has taken it.
pub type Out<T, S> = VecDeque<Stamped<T, S>>;

/// Whether a group is through with what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    All,
    /// It is to be asked again.
    Some,
}

/// What a logic may ask of the moment.
pub struct Moment<'a> {
    clocks: &'a GroupClocks,
    pub(crate) slice: &'a Slice<'a>,
    step: StepIndex,
    /// The input has ended: nothing may become due any more.
    pub(crate) is_end: bool,
}

impl Moment<'_> {
    /// How far time has come for `key`: the clock of its group, and what the round goes to if it is that group's turn.
    #[inline]
    pub(crate) fn clock<K: Key>(&self, key: &K) -> Timestamp {
        self.clocks.shown_of_key(key)
    }

    /// How far time had come for `key` in front of the round at hand; without a round, how far it has come.
    #[inline]
    pub(crate) fn clock_before<K: Key>(&self, key: &K) -> Timestamp {
        self.clocks.of_key(key)
    }

    /// Gives a record to a side output of the step's chain. If that is full, the step gets no more input for now, but for the few records that it has taken already.
    #[inline]
    pub(crate) fn emit_to<X: Record, S: Stamp>(&self, tag: &SideTag<X, S>, record: X, time: S) {
        self.slice.give_aside(self.step, tag, record, time);
    }
}

/// The last moment of which no record can come any more, by a clock that shows `now`.
fn passed(now: WallTime) -> Timestamp {
    Timestamp(Timestamp::from(now).0 - 1)
}

/// Records whose state is fetched while as many are handled, and what fires between two looks at the slice.
pub(crate) const AHEAD: usize = 16;

/// Calls by the wall clock in a row, before a round, records or other input have their turn.
const WAKES: u32 = 4;

/// See the module.
pub struct Timed<K: Key, L: TimedLogic<K>> {
    step: StepIndex,
    uid: Arc<str>,
    input: Input<(K, L::Record), L::Time>,
    logic: L,
    out: Out<L::Out, L::OutTime>,
    clocks: GroupClocks,
    /// What the inputs have said of time.
    head: Watermark,
    /// The watermark behind the step.
    settled: Timestamp,
    /// When the wall clock makes something due, and whether it has.
    wake_at: Option<ProcessingTime>,
    is_woken: bool,
    /// Calls by the wall clock since something else had its turn.
    wakes: u32,
    /// The round at hand began at the end of the input. If the end has come during a round, what is set in that fires in the next one.
    is_last: bool,
}

impl<K: Key, L: TimedLogic<K>> Timed<K, L> {
    /// The tables are empty; they get their content when the chain is opened.
    pub(crate) fn new(
        step: StepIndex,
        input: Input<(K, L::Record), L::Time>,
        logic: L,
        context: &BuildContext<'_>,
    ) -> Self {
        Self {
            step,
            uid: context.address(step),
            input,
            logic,
            out: VecDeque::new(),
            clocks: GroupClocks::new(context.key_groups(), context.max_parallelism),
            head: Watermark::NONE,
            settled: Timestamp::MIN,
            wake_at: None,
            is_woken: false,
            wakes: 0,
            is_last: false,
        }
    }

    fn is_end(&self) -> bool {
        self.head.time == Timestamp::MAX
    }

    fn is_due(&mut self, to: Timestamp) -> bool {
        self.logic.next_due().is_some_and(|due| due <= to)
    }

    /// Goes where the inputs are, or the clock is: by a round if something is due until then.
    fn follow(&mut self, slice: &Slice<'_>) {
        if self.clocks.is_in_round() {
            return;
        }
        let to = self.head.time.max(self.clocks.even());
        let due_to = if self.logic.goes_by_clock() { to.max(passed(slice.wall_time())) } else { to };
        if self.is_due(due_to) {
            self.is_last = self.is_end();
            self.clocks.begin(self.logic.stride(due_to));
        } else {
            self.clocks.jump(to);
        }
    }

    /// When the wall clock makes something due, beside the round at hand.
    fn next_wake(&mut self) -> Option<WallTime> {
        let begins_rounds = self.logic.goes_by_clock() && !self.clocks.is_in_round();
        let due = if begins_rounds { self.logic.next_due() } else { None };
        let due = due.map(|due| WallTime(u64::try_from(due.0.saturating_add(1)).unwrap_or(0)));
        self.logic.next_wake().into_iter().chain(due).min()
    }

    /// Nothing to come is earlier, when what was given has left.
    fn reached(&mut self) -> Timestamp {
        // Groups that were restored ahead of the inputs say nothing of the records to come.
        let reached = self.head.time.min(self.clocks.even());
        let due = self.logic.next_due().filter(|_| self.clocks.is_in_round());
        let woken = self.logic.next_wake().filter(|_| self.is_woken).map(Timestamp::from);
        let reached =
            due.into_iter().chain(woken).fold(reached, |reached, due| reached.min(Timestamp(due.0.saturating_sub(1))));
        let behind = if reached == Timestamp::MAX { 0 } else { self.logic.behind() };
        Timestamp(reached.0.saturating_sub(behind))
    }

    /// Finds out when the wall clock makes something due: at the end all that is left, behind the last round.
    fn look(&mut self, slice: &Slice<'_>) {
        let next = self.next_wake();
        let is_due = |time| if self.is_end() { !self.clocks.is_in_round() } else { time <= slice.wall_time() };
        self.is_woken = next.is_some_and(is_due);
        self.wake_at = next.map(|time| if self.is_woken { ProcessingTime::default() } else { slice.when(time) });
    }

    /// Calls the logic.
    fn call<R>(
        &mut self,
        slice: &Slice<'_>,
        code: impl FnOnce(&mut L, &Moment<'_>, &mut Out<L::Out, L::OutTime>) -> Result<R, BoxError>,
    ) -> Result<R, Stop> {
        let turn = self.clocks.turn();
        let is_end = turn.map_or(self.is_end(), |(_, to)| self.is_last || to == Timestamp::MAX);
        let Self { step, logic, clocks, out, .. } = self;
        let moment = Moment { clocks, slice, step: *step, is_end };
        running(*step, || code(logic, &moment, out)).map_err(|cause| StepError::stop(*step, cause))
    }

    fn hand_out(
        &mut self,
        slice: &mut Slice<'_>,
        sink: &mut impl FnMut(&mut Slice<'_>, L::Out, L::OutTime) -> Flow,
    ) -> Flow {
        while let Some(Stamped { record, time }) = self.out.pop_front() {
            sink(slice, record, time)?;
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        slice: &mut Slice<'_>,
        sink: &mut impl FnMut(&mut Slice<'_>, L::Out, L::OutTime) -> Flow,
    ) -> Flow {
        loop {
            self.hand_out(slice, sink)?;
            self.look(slice);
            if self.is_woken && self.wakes < WAKES {
                slice.take(1)?;
                self.wakes += 1;
                let to = if self.is_end() { WallTime(u64::MAX) } else { slice.wall_time() };
                self.call(slice, |logic, at, out| logic.wake(to, at, out))?;
                self.follow(slice);
                continue;
            }
            if let Some((group, to)) = self.clocks.turn() {
                slice.take(1)?;
                self.wakes = 0;
                if self.call(slice, |logic, at, out| logic.fire(group, to, at, out))? == Done::All {
                    self.clocks.group_is_through();
                    self.follow(slice);
                }
                continue;
            }
            if let Some(aside) = self.logic.aside() {
                aside.handle(slice)?;
            }
            if self.input.ahead().is_empty() {
                self.wakes = 0;
                return Ok(());
            }
            self.records(slice, sink)?;
        }
    }

    /// Handles records, until there is none, or one has made something due.
    fn records(
        &mut self,
        slice: &mut Slice<'_>,
        sink: &mut impl FnMut(&mut Slice<'_>, L::Out, L::OutTime) -> Flow,
    ) -> Flow {
        if !self.logic.is_loaded() {
            self.logic.load(&mut self.input.ahead().iter().map(|stamped| &stamped.record.0))?;
        }
        let mut hints = &mut [L::Slot::default(); AHEAD];
        let mut next = &mut [L::Slot::default(); AHEAD];
        self.ask(0, hints);
        while !self.input.ahead().is_empty() {
            let taken = slice.take(AHEAD.min(self.input.ahead().len()))?;
            self.wakes = 0;
            self.ask(taken, next);
            for (used, hint) in (1..).zip(&hints[..taken]) {
                let Some(Stamped { record: (key, record), time }) = self.input.next() else { break };
                let clock = self.clocks.of_key(&key);
                let record = Stamped { record, time };
                self.call(slice, |logic, at, out| logic.record(at, *hint, key, record, out))?;
                let flow = if self.out.is_empty() { Ok(()) } else { self.hand_out(slice, sink) };
                if self.is_due(clock) {
                    self.is_last = false;
                    self.clocks.begin(self.clocks.even());
                    slice.give_back(taken - used);
                    return flow;
                }
                if let Err(stop) = flow {
                    slice.give_back(taken - used);
                    return Err(stop);
                }
            }
            std::mem::swap(&mut hints, &mut next);
        }
        Ok(())
    }

    /// Asks where the states of the next few records, behind `after` others, probably are.
    #[inline]
    fn ask(&self, after: usize, hints: &mut [L::Slot; AHEAD]) {
        for (hint, stamped) in hints.iter_mut().zip(&self.input.ahead()[after..]) {
            *hint = self.logic.hint(&stamped.record.0, stamped.time);
        }
    }

    /// Takes the clocks of the key groups that are this subtask's now.
    fn restore_clocks(&mut self, context: &OpenContext) -> Result<(), Error> {
        let stored = context.operator_snapshots(&self.uid).iter().filter(|stored| !stored.state.is_empty());
        let stored: Vec<StepTime> =
            stored.map(|stored| decode(&stored.state)).collect::<Result<_, _>>().map_err(|cause| {
                self.not_continued(context, "cannot be read: start the program that wrote it", Some(cause))
            })?;
        let of = self.logic.of();
        if let Some(other) = stored.iter().find(|stored| stored.of != of) {
            let what = format!(
                "is that of '{}', and the step is '{of}' now: give it another name or `uid`, and it begins anew, or make it what it was",
                other.of
            );
            return Err(self.not_continued(context, &what, None));
        }
        self.clocks.restore(&stored);
        Ok(())
    }

    fn not_continued(&self, context: &OpenContext, what: &str, cause: Option<BoxError>) -> Error {
        let OpenContext { job_name, subtask, restored, state_place, .. } = context;
        let message = format!(
            "the time of step '{}' of job '{job_name}', subtask {subtask}, in checkpoint {} in {state_place} {what}",
            self.uid, restored.checkpoint
        );
        Error::new(ErrorKind::Refused, message, cause)
    }
}

impl<K: Key, L: TimedLogic<K>> Stateful for Timed<K, L> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.restore_clocks(context)?;
        self.logic.restore(context)?;
        if let Some(aside) = self.logic.aside() {
            aside.open(context)?;
        }
        // What was set for a time already past, in front of the checkpoint, may not have fired.
        if self.is_due(self.clocks.furthest()) {
            self.clocks.begin(self.clocks.even());
        }
        // Only a slice has a clock: the first one looks at it.
        self.is_woken = self.next_wake().is_some();
        self.wake_at = self.is_woken.then(ProcessingTime::default);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        self.logic.snapshot(snapshot)?;
        if let Some(aside) = self.logic.aside() {
            aside.snapshot(snapshot)?;
        }
        let state = encode(&self.clocks.save(&self.logic.of()))?;
        snapshot.operators.push((self.uid.to_string(), OperatorSnapshot { state, transactions: Vec::new() }));
        Ok(())
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.logic.completed(checkpoint);
    }
}

impl<K: Key, L: TimedLogic<K>> Step for Timed<K, L> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.input)
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        let keyed = match self.logic.aside() {
            Some(aside) => aside.take(batch),
            None => Err(batch),
        };
        if let Err(batch) = keyed {
            self.input.feed(batch);
            self.logic.batch_came();
        }
    }

    fn has_leftover(&mut self) -> bool {
        !self.out.is_empty() || self.input.has_leftover() || self.logic.aside().is_some_and(|aside| aside.has_records())
    }

    fn rest_of_batch(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        let aside = self.logic.aside().map_or(Ok(None), |aside| aside.rest())?;
        if aside.is_some() { Ok(aside) } else { self.input.rest_of_batch() }
    }

    fn take_records_in(&mut self) -> u64 {
        let aside = self.logic.aside().map_or(0, |aside| aside.take_records_in());
        aside + self.input.take_records_in()
    }

    fn is_within_record(&mut self) -> bool {
        !self.out.is_empty()
    }

    fn heap_is_spent(&mut self) -> bool {
        self.logic.heap_is_spent()
    }

    fn watermark(&mut self, head: Watermark, slice: &Slice<'_>) -> Watermark {
        self.head = head;
        self.follow(slice);
        self.look(slice);
        if self.out.is_empty() {
            self.settled = self.settled.max(self.reached());
        }
        Watermark { time: self.settled, is_idle: head.is_idle && !self.has_due() && self.out.is_empty() }
    }

    fn moves_time(&mut self) -> bool {
        true
    }

    fn has_due(&mut self) -> bool {
        self.clocks.is_in_round() || self.is_woken
    }

    fn holds_records(&mut self) -> bool {
        self.clocks.is_in_round()
    }

    fn wake_at(&mut self) -> Option<ProcessingTime> {
        self.wake_at
    }

    fn take_late(&mut self) -> u64 {
        self.logic.take_late()
    }
}

impl<K: Key, L: TimedLogic<K>> Operator for Timed<K, L> {
    type Out = L::Out;
    type Time = L::OutTime;

    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, L::Out, L::OutTime) -> Flow,
    {
        let flow = self.go_on(slice, sink);
        self.look(slice);
        flow
    }
}
