//! Which records wait for answers, in order: which of them may be asked, which may leave, and what is said of time behind them.
//!
//! ```text
//!   under way: at most `capacity`         not asked yet
//! | 7 | 8 | 10 |   12 | 13 |   14 | 15 | 17 | 18 |
//!             ^ mark      ^ mark                   a mark leaves when no record in front of it is left
//! ```
//! # Invariants
//! - Records leave in order; or, unordered, none from behind a mark that has not left.
//! - Whoever has asked has a place under way until its answer has left.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
};

use crate::{
    element::Watermark,
    id::ProcessingTime,
    mutation::{self, Mutation},
};

/// Records of `A`, their answers of `R`.
pub(crate) struct Requests<A, R> {
    is_ordered: bool,
    capacity: usize,
    all: BTreeMap<u64, Waiting<A, R>>,
    /// The number of the next record.
    next: u64,
    /// The first that has not been asked: none behind it has.
    unasked: u64,
    /// Asked, and not left.
    under_way: usize,
    /// Answered, and not left.
    answered: BinaryHeap<Reverse<u64>>,
    /// When something is to be done about which.
    alarms: BTreeSet<(ProcessingTime, u64)>,
    /// Marks that are held, each with the number of the first record behind it.
    held: VecDeque<(u64, Watermark)>,
    heard: Watermark,
    /// What is said of time behind what has left.
    said: Watermark,
}

struct Waiting<A, R> {
    record: A,
    tries: u32,
    state: State<R>,
}

enum State<R> {
    New,
    /// Up to the alarm, if there is one.
    Asked(Option<ProcessingTime>),
    /// Failed, and to be asked again.
    Resting,
    Answered(R),
}

/// What time has made due of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// It has had no answer for too long; the number of tries.
    TimedOut(u64, u32),
    /// It is to be asked again.
    Rested(u64),
}

impl<A, R> Requests<A, R> {
    pub(crate) fn new(is_ordered: bool, capacity: usize) -> Self {
        Self {
            is_ordered,
            capacity,
            all: BTreeMap::new(),
            next: 0,
            unasked: 0,
            under_way: 0,
            answered: BinaryHeap::new(),
            alarms: BTreeSet::new(),
            held: VecDeque::new(),
            heard: Watermark::NONE,
            said: Watermark::NONE,
        }
    }

    /// Adds a record, behind all others.
    pub(crate) fn push(&mut self, record: A) {
        self.all.insert(self.next, Waiting { record, tries: 0, state: State::New });
        self.next += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there are as many records as may be under way.
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= self.capacity
    }

    /// The records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &A> {
        self.all.values().map(|waiting| &waiting.record)
    }

    /// The next one that may be asked for the first time.
    pub(crate) fn to_ask(&self) -> Option<u64> {
        (self.under_way < self.capacity && self.unasked < self.next).then_some(self.unasked)
    }

    /// One is being asked, `until` then at most. Its record, and the how manieth time it is.
    pub(crate) fn ask(&mut self, number: u64, until: Option<ProcessingTime>) -> Option<(&A, u32)> {
        if number == self.unasked {
            self.unasked += 1;
            self.under_way += 1;
        }
        let waiting = self.all.get_mut(&number)?;
        waiting.tries += 1;
        waiting.state = State::Asked(until);
        self.alarms.extend(until.map(|until| (until, number)));
        Some((&waiting.record, waiting.tries))
    }

    /// Whether a try is the one under way.
    pub(crate) fn is_asked(&self, number: u64, tries: u32) -> bool {
        let is_that = |waiting: &Waiting<A, R>| waiting.tries == tries && matches!(waiting.state, State::Asked(_));
        self.all.get(&number).is_some_and(is_that)
    }

    /// The try under way has come to this.
    pub(crate) fn answer(&mut self, number: u64, answer: R) {
        if self.turn(number, State::Answered(answer)) {
            self.answered.push(Reverse(number));
        }
    }

    /// The try under way has failed; there is another one at `until`.
    pub(crate) fn rest(&mut self, number: u64, until: ProcessingTime) {
        if self.turn(number, State::Resting) {
            self.alarms.insert((until, number));
        }
    }

    fn turn(&mut self, number: u64, state: State<R>) -> bool {
        let Some(waiting) = self.all.get_mut(&number) else { return false };
        if let State::Asked(Some(until)) = std::mem::replace(&mut waiting.state, state) {
            self.alarms.remove(&(until, number));
        }
        true
    }

    /// When the first alarm is due.
    pub(crate) fn first_alarm(&self) -> Option<ProcessingTime> {
        self.alarms.first().map(|(time, _)| *time)
    }

    /// Takes an alarm that is due.
    pub(crate) fn take_alarm(&mut self, now: ProcessingTime) -> Option<Alarm> {
        let (_, number) = self.alarms.first().filter(|(time, _)| *time <= now).copied()?;
        self.alarms.pop_first();
        let waiting = self.all.get_mut(&number)?;
        match waiting.state {
            State::Asked(_) => {
                waiting.state = State::Asked(None);
                Some(Alarm::TimedOut(number, waiting.tries))
            }
            State::Resting => Some(Alarm::Rested(number)),
            State::New | State::Answered(_) => unreachable!("nothing waits for an alarm but what it was set for"),
        }
    }

    /// Which may leave next.
    pub(crate) fn to_leave(&self) -> Option<u64> {
        let Reverse(first) = self.answered.peek()?;
        let may_leave = match self.is_ordered {
            true => self.all.first_key_value().is_some_and(|(number, _)| number == first),
            false => self.held.front().is_none_or(|(bound, _)| first < bound),
        };
        may_leave.then_some(*first)
    }

    /// Takes the one that may leave next, with the number of tries and the answer.
    pub(crate) fn leave(&mut self) -> Option<(A, u32, R)> {
        let number = self.to_leave()?;
        self.answered.pop();
        let Waiting { record, tries, state } = self.all.remove(&number)?;
        let State::Answered(answer) = state else { unreachable!("only what is answered leaves") };
        self.under_way -= 1;
        self.let_marks_go();
        Some((record, tries, answer))
    }

    /// Takes what the input says of time, and gives what is to be said behind: not idle while a record is here.
    pub(crate) fn watermark(&mut self, input: Watermark) -> Watermark {
        if input != self.heard {
            self.heard = input;
            match self.held.back_mut().filter(|(bound, _)| *bound == self.next) {
                Some((_, mark)) => *mark = input,
                None => self.held.push_back((self.next, input)),
            }
            self.let_marks_go();
        }
        Watermark { is_idle: self.said.is_idle && self.is_empty(), ..self.said }
    }

    fn let_marks_go(&mut self) {
        let first = match self.all.first_key_value() {
            Some((number, _)) if !mutation::is(Mutation::AnswerOvertakenByMark) => *number,
            _ => self.next,
        };
        while let Some((_, mark)) = self.held.pop_front_if(|(bound, _)| *bound <= first) {
            self.said = mark;
        }
    }
}
