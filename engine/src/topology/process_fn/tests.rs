//! Timers, on steps that are driven by hand, as a subtask drives them: a snapshot may fall between any two things that fire.

#![allow(clippy::unwrap_used)]

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    chain::FusedChain,
    checkpoint::{config::CheckpointConfig, coordinator::SubtaskReport, layout::EdgeLayout, snapshot::SubtaskId},
    element::{CheckpointBarrier, StreamElement, Watermark},
    id::{Attempt, ChannelIndex, CheckpointId, ProcessingTime, SubtaskIndex, WallTime},
    key_group::{KeyGroup, KeyGroupRange},
    operator::{Operator, Stateful, Step},
    output::exchange::{Exchange, InTurn},
    slice::{Clock, Slice, Stop},
    state::{
        self,
        descriptor::{OneValue, StateDescriptor},
        tests::job::GROUPS,
    },
    subtask::{InputEdge, Need, Subtask, SubtaskEffect, SubtaskInput},
    time::{NoTime, Stamped},
    topology::by_hand::{self, Hand, Job, Stored, built, interruptions, keyed},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Command {
    Set(i64, u8),
    Cancel(i64, u8),
    /// After so many milliseconds.
    Wall(u64, u8),
    CancelWall(u64, u8),
}

use Command::{Cancel, CancelWall, Set, Wall};

/// The key; the timer, unless it was a record, and if it is one by the wall clock; how many have fired for the key; and how far time has come.
type Row = (u32, Option<(i64, u8, bool)>, u64, i64);

/// Does what its records say, and in timers what their tags do.
#[derive(Clone)]
struct Script;

type Cx<'a> = Context<'a, u32, StateDescriptor<OneValue, u64>, u8, Row>;

impl KeyedProcess<u32, Command> for Script {
    type States = StateDescriptor<OneValue, u64>;
    type Timer = u8;
    type Out = Row;

    fn states(&self) -> Self::States {
        state::value("fired")
    }

    fn on_record(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), BoxError> {
        match command {
            Set(time, tag) => drop(cx.set_timer_tagged(Timestamp(time), tag)),
            Cancel(time, tag) => drop(cx.cancel_timer_tagged(Timestamp(time), tag)),
            Wall(after, tag) => drop(cx.set_wall_timer_tagged(Duration::from_millis(after), tag)),
            CancelWall(after, tag) => drop(cx.cancel_wall_timer_tagged(WallTime(cx.wall_time().0 + after), tag)),
        }
        let fired = cx.states().get().copied().unwrap_or_default();
        cx.emit((*cx.key(), None, fired, cx.event_time().0));
        Ok(())
    }

    fn on_timer(&mut self, timer: Fired<u8>, cx: &mut Cx<'_>) -> Result<(), BoxError> {
        let Fired { time: Timestamp(time), tag, is_wall } = timer;
        assert_eq!(cx.timestamp(), timer.time);
        let fired = cx.states().update(
            || 0,
            |fired| {
                *fired += 1;
                *fired
            },
        );
        match tag {
            1 => drop(cx.set_timer_tagged(Timestamp(time + 10), 0)),
            2 => drop(cx.cancel_timer_tagged(Timestamp(time), 3)),
            4 => drop(cx.set_timer_tagged(Timestamp(time - 5), 0)),
            5 if is_wall => drop(cx.set_wall_timer_tagged(Duration::from_millis(10), 5)),
            5 => drop(cx.set_timer_tagged(Timestamp(time + 10), 5)),
            6 if is_wall => drop(cx.set_wall_timer_tagged(Duration::ZERO, 6)),
            6 => drop(cx.set_timer_tagged(Timestamp(time), 6)),
            _ => {}
        }
        cx.emit((*cx.key(), Some((time, tag, is_wall)), fired, cx.event_time().0));
        Ok(())
    }
}

/// What a script gives, found with ordered sets alone: by key.
#[derive(Default)]
struct Oracle {
    timers: BTreeMap<u32, BTreeSet<(i64, u8)>>,
    fired: BTreeMap<u32, u64>,
    rows: BTreeMap<u32, Vec<(Row, i64)>>,
}

impl Oracle {
    fn run(events: &[Event]) -> BTreeMap<u32, Vec<(Row, i64)>> {
        let (mut oracle, mut clock) = (Self::default(), i64::MIN);
        for event in events {
            match event {
                Event::Batch(records) => {
                    for (key, time, command) in records {
                        let timers = oracle.timers.entry(*key).or_default();
                        match command {
                            Set(time, tag) => drop(timers.insert((*time, *tag))),
                            Cancel(time, tag) => drop(timers.remove(&(*time, *tag))),
                            Wall(..) | CancelWall(..) => unreachable!("time stands still"),
                        }
                        let fired = oracle.fired.get(key).copied().unwrap_or_default();
                        oracle.rows.entry(*key).or_default().push(((*key, None, fired, clock), *time));
                        oracle.fire(*key, clock);
                    }
                }
                Event::Mark(time) => {
                    clock = clock.max(*time);
                    let keys: Vec<_> = oracle.timers.keys().copied().collect();
                    keys.into_iter().for_each(|key| oracle.fire(key, clock));
                }
            }
        }
        oracle.rows
    }

    fn fire(&mut self, key: u32, clock: i64) {
        let timers = self.timers.entry(key).or_default();
        while let Some((time, tag)) = timers.first().copied().filter(|(time, _)| *time <= clock) {
            timers.pop_first();
            let mut set = |time, tag| (clock != i64::MAX).then(|| timers.insert((time, tag)));
            match tag {
                1 => drop(set(time + 10, 0)),
                2 => drop(timers.remove(&(time, 3))),
                4 => drop(set(time - 5, 0)),
                5 => drop(set(time + 10, 5)),
                _ => {}
            }
            let fired = self.fired.entry(key).or_default();
            *fired += 1;
            self.rows.entry(key).or_default().push(((key, Some((time, tag, false)), *fired, clock), time));
        }
    }
}

type Event = by_hand::Event<Command>;

const END: Event = Event::Mark(i64::MAX);

fn script(parallelism: u32) -> Job<impl Operator<Out = Row, Time = Timestamp>> {
    Job::new(keyed::<Command, Timestamp>().process_fn("step", Script), parallelism)
}

fn by_key(rows: &[(Row, Timestamp)]) -> BTreeMap<u32, Vec<(Row, i64)>> {
    let mut by_key: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    rows.iter().for_each(|(row, time)| by_key.entry(row.0).or_default().push((*row, time.0)));
    by_key
}

/// Of those rows that timers gave: which.
fn timers(rows: &[(Row, Timestamp)]) -> Vec<(u32, i64, u8)> {
    rows.iter().filter_map(|(row, _)| row.1.map(|(time, tag, _)| (row.0, time, tag))).collect()
}

fn commands() -> impl Strategy<Value = Command> {
    let timer = || (-10..150_i64, 0..6_u8);
    prop_oneof![
        4 => timer().prop_map(|(time, tag)| Set(time, tag)),
        1 => timer().prop_map(|(time, tag)| Cancel(time, tag)),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let record = (0..12_u32, 0..100_i64, commands());
    let event = prop_oneof![
        2 => proptest::collection::vec(record, 1..40).prop_map(Event::Batch),
        1 => (0..160_i64).prop_map(Event::Mark),
    ];
    proptest::collection::vec(event, 0..12)
}

proptest! {
    #[test]
    fn every_timer_fires_once_in_order_whatever_is_interrupted(
        events in events(),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
        slice in 1..20_u64,
    ) {
        let events: Vec<_> = events.into_iter().chain([END]).collect();
        let mut job = script(parallelism);
        job.slice = slice;
        job.do_interrupted(&events, interruptions);
        prop_assert_eq!(by_key(&job.rows), Oracle::run(&events));
    }
}

#[test]
fn event_time_does_not_fall_when_a_round_is_interrupted() {
    let events =
        [Event::Mark(61), Event::Batch((0..40).map(|time| (1, 0, Set(62 + time, 4))).collect()), Event::Mark(101)];
    for steps in 0..60 {
        let mut job = script(1);
        job.do_all(&events[..2]);
        job.begin(&events[2]);
        for _ in 0..steps {
            job.step(0);
        }
        if job.snapshot() {
            job.restore(1);
        }
        job.settle();
        let seen: Vec<i64> = job.rows.iter().map(|(row, _)| row.3).collect();
        assert!(seen.is_sorted() && seen.ends_with(&[101]), "after {steps} rows: {seen:?}");
    }
}

#[test]
fn in_a_group_timers_fire_by_time_then_hash_then_tag() {
    let mut job = script(1);
    let records = (0..200).flat_map(|key| [(key, 0, Set(30, 3)), (key, 0, Set(20, 0)), (key, 0, Set(30, 0))]);
    job.do_all(&[Event::Batch(records.collect()), Event::Mark(25), Event::Mark(99)]);
    let group = |key: u32| KeyGroup::of_hash(key.hash64(), GROUPS).0;
    let fired: Vec<_> =
        timers(&job.rows).into_iter().map(|(key, time, tag)| (time, group(key), key.hash64(), tag)).collect();
    assert_eq!(fired.len(), 600);
    assert!(fired.is_sorted_by_key(|(time, group, hash, tag)| (*time, *group, *hash, *tag)), "a round for each time");
}

#[test]
fn a_timer_that_is_set_twice_fires_once_and_one_that_is_cancelled_not_at_all() {
    let mut job = script(1);
    job.do_all(&[
        Event::Batch(vec![
            (1, 0, Set(10, 0)),
            (1, 0, Set(10, 0)),
            (1, 0, Set(10, 3)),
            (2, 0, Set(10, 0)),
            (2, 0, Cancel(10, 0)),
        ]),
        Event::Batch(vec![(3, 0, Set(10, 0)), (3, 0, Cancel(10, 0)), (3, 0, Set(10, 0))]),
        Event::Mark(10),
        Event::Mark(11),
    ]);
    let fired: BTreeSet<_> = timers(&job.rows).into_iter().collect();
    assert_eq!((fired, timers(&job.rows).len()), (BTreeSet::from([(1, 10, 0), (1, 10, 3), (3, 10, 0)]), 3));
}

#[test]
fn a_timer_cancels_another_one_of_the_same_moment() {
    let mut job = script(1);
    job.do_all(&[Event::Batch(vec![(1, 0, Set(10, 2)), (1, 0, Set(10, 3)), (1, 0, Set(10, 4))]), Event::Mark(10)]);
    assert_eq!(timers(&job.rows), [(1, 10, 2), (1, 10, 4), (1, 5, 0)], "and what is set for a time past fires at once");
}

#[test]
fn a_timer_set_for_a_time_already_past_fires_behind_its_record() {
    let mut job = script(2);
    job.do_all(&[Event::Mark(50)]);
    job.do_all(&[Event::Batch(vec![(1, 60, Set(40, 0)), (1, 61, Set(70, 0)), (1, 62, Set(50, 0))])]);
    let given: Vec<_> = job.taken().into_iter().map(|(row, time)| (row.1.map(|timer| timer.0), time.0)).collect();
    assert_eq!(given, [(None, 60), (Some(40), 40), (None, 61), (None, 62), (Some(50), 50)]);
}

#[test]
fn the_watermark_waits_for_what_it_makes_due() {
    let mut job = script(1);
    job.do_all(&[Event::Batch((0..20).map(|key| (key, 0, Set(10, 0))).collect()), Event::Mark(5)]);
    assert_eq!(job.mark(0, 5), Watermark { time: Timestamp(5), is_idle: false });
    job.taken();
    job.heads[0].is_idle = true;
    assert_eq!(job.mark(0, 12), Watermark { time: Timestamp(5), is_idle: false });
    while job.rows.len() < 20 {
        assert!(job.subtasks[0].has_due() || job.subtasks[0].has_leftover());
        assert_eq!(job.mark(0, 12), Watermark { time: Timestamp(5), is_idle: false });
        job.step(0);
    }
    job.settle();
    assert_eq!(job.mark(0, 12), Watermark { time: Timestamp(12), is_idle: true });
}

#[test]
fn at_the_end_everything_fires_and_what_is_set_then_is_dropped() {
    let mut job = script(2);
    let records = vec![
        (1, 0, Set(10, 5)),
        (2, 0, Set(7, 1)),
        (3, 0, Set(i64::MAX, 0)),
        (4, 0, Wall(60_000, 5)),
        (4, 0, Wall(5_000, 0)),
    ];
    job.do_all(&[Event::Batch(records), Event::Mark(25), END]);
    let fired: Vec<_> = timers(&job.rows);
    let of = |key: u32| fired.iter().filter(|timer| timer.0 == key).map(|timer| timer.1).collect::<Vec<_>>();
    assert_eq!(of(1), [10, 20, 30], "one that sets itself anew comes to an end");
    assert_eq!(of(2), [7, 17]);
    assert_eq!(of(3), [i64::MAX - 1], "a time that a record can bear");
    assert_eq!(of(4), [1_005_000, 1_060_000], "those by the wall clock do not wait for it");
    for subtask in [0, 1] {
        assert_eq!(job.mark(subtask, i64::MIN).time, Timestamp::MAX);
    }
    assert!(job.snapshot());
    job.restore(1);
    job.taken();
    job.settle();
    assert_eq!(job.taken(), []);
}

#[test]
fn with_the_clock_of_its_group_a_key_that_moves_to_a_subtask_behind_fires_nothing_twice() {
    let mut job = script(2);
    let key_of = |subtask: u32| {
        let range = KeyGroupRange::of_subtask(SubtaskIndex(subtask), 2, GROUPS);
        (0..).find(|key: &u32| range.contains(KeyGroup::of_hash(key.hash64(), GROUPS))).unwrap()
    };
    let (ahead, behind) = (key_of(0), key_of(1));
    job.do_all(&[Event::Batch(vec![(ahead, 0, Set(70, 0)), (behind, 0, Set(70, 0))])]);
    job.mark(0, 100);
    job.mark(1, 50);
    job.settle();
    assert_eq!(timers(&job.taken()), [(ahead, 70, 0)]);
    assert!(job.snapshot());
    job.restore(1);
    job.settle();
    assert_eq!(job.taken(), []);
    assert_eq!(job.mark(0, 50).time, Timestamp(50), "what comes may be as early");
    job.do_all(&[Event::Batch(vec![(ahead, 55, Set(71, 0)), (behind, 55, Set(71, 0))])]);
    let given = by_key(&job.taken());
    assert_eq!(given[&ahead], [((ahead, None, 1, 100), 55), ((ahead, Some((71, 0, false)), 2, 100), 71)]);
    assert_eq!(given[&behind], [((behind, None, 0, 50), 55)]);
    job.do_all(&[Event::Mark(80), Event::Mark(120)]);
    assert_eq!(timers(&job.taken()), [(behind, 70, 0), (behind, 71, 0)]);
}

#[test]
fn what_another_kind_of_step_did_by_its_clocks_is_not_gone_on_with() {
    let mut job = script(1);
    job.do_all(&[Event::Mark(10)]);
    assert!(job.snapshot());
    let time: (String, u16, Vec<(u16, i64)>) = ("tumbling 10000+0".into(), 0, vec![(GROUPS, 10)]);
    job.stored.snapshots[0].state = crate::codec::encode(&time).unwrap();
    let mut step = built(&job.stream, 0, 1);
    let error = step.open(&job.stored.context(0, 1)).unwrap_err().to_string();
    assert!(error.contains("'step'") && error.contains("'tumbling 10000+0'") && error.contains("'timers'"), "{error}");
    job.stored.snapshots[0].state = vec![0xc1];
    let error = built(&job.stream, 0, 1).open(&job.stored.context(0, 1)).unwrap_err().to_string();
    assert!(error.contains("'step'") && error.contains("cannot be read"), "{error}");
}

#[test]
fn a_timer_by_the_wall_clock_fires_when_that_is_there() {
    let mut job = script(1);
    job.clock.set(3);
    job.do_all(&[Event::Batch(vec![
        (1, 0, Wall(5, 3)),
        (1, 0, Wall(5, 3)),
        (1, 0, Wall(4, 0)),
        (2, 0, Wall(4, 0)),
        (2, 0, CancelWall(4, 0)),
    ])]);
    job.taken();
    assert_eq!(job.subtasks[0].wake_at(), Some(ProcessingTime(7_000_000)));
    job.clock.set(6);
    job.settle();
    assert_eq!(job.taken(), []);
    job.clock.set(9);
    job.settle();
    let given: Vec<_> = job.taken().into_iter().map(|(row, time)| (row.1, time.0)).collect();
    let (seven, eight) = (1_000_007, 1_000_008);
    assert_eq!(given, [(Some((seven, 0, true)), seven), (Some((eight, 3, true)), eight)], "each bears its own time");
    assert_eq!((job.subtasks[0].wake_at(), job.subtasks[0].has_due()), (None, false));
}

#[test]
fn a_timer_by_the_wall_clock_that_is_overdue_at_a_restore_fires_first_and_once() {
    let mut job = script(2);
    let records = (0..40).map(|key| (key, 0, Wall(u64::from(key % 7), 0))).collect();
    job.do_all(&[Event::Batch(records), Event::Mark(5)]);
    job.clock.set(3);
    job.step(0);
    while !job.snapshot() {
        job.step(0);
    }
    let before = timers(&job.taken());
    assert!(!before.is_empty() && before.len() < 40);
    job.clock.set(3_600_000);
    for parallelism in [1, 3] {
        job.restore(parallelism);
        assert!(job.subtasks.iter_mut().all(|step| step.has_due()));
        job.settle();
        let after = timers(&job.taken());
        assert!(parallelism > 1 || after.is_sorted_by_key(|(_, time, _)| *time), "the earliest first");
        let all: BTreeSet<_> = before.iter().chain(&after).map(|(key, ..)| *key).collect();
        assert_eq!((before.len() + after.len(), all.len()), (40, 40));
    }
}

#[test]
fn what_a_timer_sets_fires_though_the_end_has_come_before_that_timer_fired() {
    let step = keyed::<Command, Timestamp>().process_with_timers(
        "step",
        state::value::<u64>("fired"),
        |_: Command, cx| {
            cx.set_timer(Timestamp(10));
        },
        |timer, cx| {
            let is_set = timer.time == Timestamp(10) && cx.set_timer(Timestamp(20));
            cx.emit((timer.time.0, is_set, cx.is_end()));
        },
    );
    let mut job = Job::new(step, 1);
    job.do_all(&[Event::Batch(vec![(1, 5, Set(0, 0))])]);
    // It is due, and has not fired.
    job.mark(0, 10);
    job.mark(0, i64::MAX);
    job.settle();
    let rows: Vec<_> = job.taken().into_iter().map(|(row, _)| row).collect();
    assert_eq!(rows, [(10, true, false), (20, false, true)]);
}

#[test]
fn a_stream_without_time_has_timers_by_the_wall_clock() {
    let step = keyed::<Command, NoTime>().process_with_timers(
        "step",
        state::value::<u64>("fired"),
        |_: Command, cx| {
            cx.set_wall_timer(Duration::from_micros(1_500));
        },
        |timer, cx| cx.emit((*cx.key(), timer.time.0, timer.is_wall, cx.is_end())),
    );
    let mut job = Job::new(step, 1);
    let records = [1_u32, 2].map(|key| Stamped { record: (key, Set(0, 0)), time: NoTime });
    job.subtasks[0].feed(Box::new(records[..1].to_vec()));
    job.settle();
    job.clock.set(2);
    job.settle();
    assert_eq!(job.taken(), [((1, 1_000_002, true, false), NoTime)]);
    job.subtasks[0].feed(Box::new(records[1..].to_vec()));
    job.settle();
    assert_eq!(job.taken(), []);
    job.do_all(&[END]);
    assert_eq!(job.taken(), [((2, 1_000_004, true, true), NoTime)], "the end waits for nothing");
}

#[test]
fn an_error_names_the_step() {
    #[derive(Clone)]
    struct Fails;
    impl<S: Stamp> KeyedProcess<u32, Command, S> for Fails {
        type States = StateDescriptor<OneValue, u64>;
        type Timer = ();
        type Out = ();

        fn states(&self) -> Self::States {
            state::value("fired")
        }

        fn on_record(
            &mut self,
            _: Command,
            cx: &mut Context<'_, u32, Self::States, (), (), S>,
        ) -> Result<(), BoxError> {
            cx.set_wall_timer(Duration::ZERO);
            Ok(())
        }

        fn on_timer(&mut self, _: Fired, _: &mut Context<'_, u32, Self::States, (), (), S>) -> Result<(), BoxError> {
            Err("no timer was wanted".into())
        }
    }
    let mut job = Job::new(keyed::<Command, NoTime>().process_fn("step", Fails), 1);
    job.subtasks[0].feed(Box::new(vec![Stamped { record: (1_u32, Set(0, 0)), time: NoTime }]));
    let flow = job.with_slice(0, |step, slice| step.drive(slice, &mut |_, (), _| Ok(())));
    let Err(Stop::Failed(error)) = flow else { panic!("{flow:?}") };
    let error = error.downcast::<crate::operator::StepError>().unwrap();
    assert_eq!((error.step.0, error.cause.to_string()), (1, "no timer was wanted".into()));
}

/// What left a subtask.
#[derive(Debug, PartialEq)]
enum Sent {
    Record,
    Timer(i64),
    Mark(i64),
    Barrier,
    End,
}

/// Gives a whole subtask these elements, as it can use them, and takes what leaves it.
fn through_a_subtask(elements: Vec<StreamElement>) -> (Vec<Sent>, usize) {
    let stream = keyed::<Command, Timestamp>().process_fn("step", Script).map(|row| row);
    let operator = built(&stream, 0, 1);
    let tail: Exchange<Row, Timestamp, InTurn> = Exchange::new(1, 4, InTurn::starting_at(0));
    let layout = EdgeLayout { name: "edge".into(), chain: 0, first: ChannelIndex(0), channels: 1 };
    let (by_key, is_forward, is_broadcast, is_feedback, is_timed) = (true, false, false, false, true);
    let edge = InputEdge { layout, by_key, is_forward, is_broadcast, is_feedback, is_timed, lift: None };
    let context = Stored { event_time: vec![i64::MIN], ..Stored::default() }.context(0, 1);
    let id = SubtaskId { chain: 0, index: SubtaskIndex(0) };
    let chain = Box::new(FusedChain::new(operator, tail));
    let mut subtask = Subtask::new(id, &context, Arc::new([]), chain, vec![edge], &CheckpointConfig::default());
    subtask.open(&context).unwrap();
    let (clock, mut sent, mut snapshots) = (Hand::default(), Vec::new(), 0);
    let mut elements = elements.into_iter().peekable();
    for _ in 0..10_000 {
        let input = match subtask.need() {
            Need::Room => None,
            Need::Turn => Some(SubtaskInput::Resume),
            need @ (Need::Input(until) | Need::Wait(until)) => {
                let wants =
                    |next: &StreamElement| matches!(need, Need::Input(_)) || !matches!(next, StreamElement::Batch(_));
                match elements.next_if(wants) {
                    Some(element) => Some(SubtaskInput::Element(ChannelIndex(0), element)),
                    None if until.is_some_and(|until| until <= clock.now()) => Some(SubtaskInput::Resume),
                    None if subtask.flush() => None,
                    None => return (sent, snapshots),
                }
            }
        };
        if let Some(input) = input {
            let (mut stride, mut effects) = (1024, Vec::new());
            let mut slice = Slice::new(&clock, Duration::from_secs(1), 3, &mut stride);
            subtask.step(input, &mut slice, &mut effects).unwrap();
            let is_snapshot =
                |effect: &&SubtaskEffect| matches!(effect, SubtaskEffect::Report(SubtaskReport::Acknowledged(..)));
            snapshots += effects.iter().filter(is_snapshot).count();
        }
        while let Some(element) = subtask.take_ready(ChannelIndex(0)) {
            match element {
                StreamElement::Batch(batch) => {
                    let batch: Box<dyn Any> = batch;
                    let rows: Vec<Stamped<Row, Timestamp>> = *batch.downcast().unwrap();
                    sent.extend(rows.iter().map(|row| row.record.1.map_or(Sent::Record, |timer| Sent::Timer(timer.0))));
                }
                StreamElement::Watermark(mark) => sent.push(Sent::Mark(mark.time.0)),
                StreamElement::Barrier(..) => sent.push(Sent::Barrier),
                StreamElement::EndOfInput => sent.push(Sent::End),
            }
        }
    }
    panic!("it spins: {:?}, {} left, {snapshots} snapshots", subtask.need(), elements.len());
}

fn batch(commands: impl IntoIterator<Item = Command>) -> StreamElement {
    let record = |command| Stamped { record: (7_u32, command), time: Timestamp(0) };
    StreamElement::Batch(Box::new(commands.into_iter().map(record).collect::<Vec<_>>()))
}

fn set(times: &[i64]) -> StreamElement {
    batch(times.iter().map(|time| Set(*time, 0)))
}

fn element(mark: i64) -> StreamElement {
    StreamElement::Watermark(Watermark { time: Timestamp(mark), is_idle: false })
}

fn barrier(halt: bool) -> StreamElement {
    let (attempt, triggered) = (Attempt(1), ProcessingTime(0));
    StreamElement::barrier(CheckpointBarrier { checkpoint: CheckpointId(1), attempt, triggered, overtakes: None, halt })
}

#[test]
fn through_a_subtask_timers_leave_in_front_of_their_watermark_and_of_the_end() {
    let elements = vec![set(&[10, 20, 30]), element(20), set(&[30]), barrier(false), StreamElement::EndOfInput];
    let (sent, _) = through_a_subtask(elements);
    let fired: Vec<_> = sent.into_iter().filter(|sent| *sent != Sent::Record).collect();
    let (ten, twenty, thirty) = (Sent::Timer(10), Sent::Timer(20), Sent::Timer(30));
    assert_eq!(fired, [ten, twenty, Sent::Mark(20), Sent::Barrier, thirty, Sent::End]);
}

#[test]
fn behind_the_barrier_of_a_stop_nothing_fires() {
    let (sent, snapshots) = through_a_subtask(vec![set(&[10, 20]), element(5), barrier(true), element(50)]);
    assert_eq!((sent.last(), snapshots), (Some(&Sent::Barrier), 1));
    assert!(!sent.iter().any(|sent| matches!(sent, Sent::Timer(_))), "{sent:?}");
}

/// How many timers have fired in front of the first barrier, and behind it.
fn fired(sent: &[Sent]) -> [usize; 2] {
    let barrier = sent.iter().position(|sent| *sent == Sent::Barrier).unwrap();
    let count = |sent: &[Sent]| sent.iter().filter(|sent| matches!(sent, Sent::Timer(_))).count();
    [count(&sent[..barrier]), count(&sent[barrier..])]
}

#[test]
fn a_barrier_that_comes_while_timers_fire_passes_between_two_of_them() {
    let times: Vec<i64> = (1..=1000).collect();
    let (sent, snapshots) = through_a_subtask(vec![set(&times), element(1000), barrier(false)]);
    let [before, behind] = fired(&sent);
    assert!(behind > 0, "{before} have fired, and the barrier waited for them");
    assert_eq!((before + behind, sent.last(), snapshots), (1000, Some(&Sent::Mark(1000)), 1));
}

#[test]
fn records_behind_a_watermark_wait_for_all_that_it_makes_due() {
    let times: Vec<i64> = (1..=100).collect();
    let (sent, _) = through_a_subtask(vec![set(&times), element(50), element(100), set(&[200]), element(150)]);
    let of_the_last = sent.iter().rposition(|sent| *sent == Sent::Record).unwrap();
    let fired = sent[..of_the_last].iter().filter(|sent| matches!(sent, Sent::Timer(_))).count();
    assert_eq!(fired, 100, "{sent:?}");
}

#[test]
fn a_timer_that_sets_itself_for_a_time_past_does_not_keep_a_stop_waiting() {
    let (sent, snapshots) = through_a_subtask(vec![batch([Set(10, 6)]), element(20), barrier(true)]);
    assert_eq!((sent.last(), snapshots), (Some(&Sent::Barrier), 1));
    assert!(!sent.contains(&Sent::Mark(20)), "it is still due");
}

#[test]
fn a_timer_by_the_wall_clock_that_sets_itself_for_now_takes_turns_with_records_watermarks_and_barriers() {
    let many = || set(&[i64::MAX; 100]);
    let (sent, snapshots) = through_a_subtask(vec![batch([Wall(0, 6)]), many(), many(), element(5), barrier(true)]);
    assert_eq!(sent.iter().filter(|sent| **sent == Sent::Record).count(), 201);
    assert!(sent.iter().filter(|sent| matches!(sent, Sent::Timer(_))).count() > 2, "it has turns, too");
    assert_eq!((&sent[sent.len() - 2..], snapshots), (&[Sent::Mark(5), Sent::Barrier][..], 1));
}

#[test]
fn timers_by_the_wall_clock_do_not_wait_for_those_that_a_watermark_makes_due() {
    let mut job = script(1);
    job.do_all(&[Event::Batch((0..40).flat_map(|key| [(key, 0, Set(10, 6)), (key, 0, Wall(1, 0))]).collect())]);
    job.mark(0, 20);
    job.taken();
    job.clock.set(1);
    for _ in 0..1_000 {
        job.step(0);
    }
    let rows = by_key(&job.taken());
    let is_wall = |row: &&(Row, i64)| row.0.1.is_some_and(|(_, _, is_wall)| is_wall);
    assert!(rows.len() == 40 && rows.values().all(|rows| rows.iter().filter(is_wall).count() == 1));
    assert!(rows.values().all(|rows| rows.is_sorted_by_key(|(row, _)| row.3)), "time only ever grows");
    let reached = rows.values().flatten().filter(|(row, _)| row.3 == 20);
    let groups: BTreeSet<_> = reached.map(|(row, _)| KeyGroup::of_hash(row.0.hash64(), GROUPS).0).collect();
    assert_eq!(groups.len(), 1, "time has come nowhere else");
}

#[test]
fn a_barrier_that_comes_while_the_end_fires_timers_passes_between_two_of_them() {
    let times: Vec<i64> = (1..=1000).collect();
    let (sent, snapshots) = through_a_subtask(vec![set(&times), StreamElement::EndOfInput, barrier(false)]);
    let [before, behind] = fired(&sent);
    assert!(behind > 0, "{before} have fired, and the barrier waited for them");
    assert_eq!((before + behind, sent.last(), snapshots), (1000, Some(&Sent::End), 1));
}

#[test]
fn behind_the_barrier_of_a_stop_the_end_fires_no_timer_and_does_not_come() {
    let times: Vec<i64> = (1..=1000).collect();
    let (sent, snapshots) = through_a_subtask(vec![set(&times), StreamElement::EndOfInput, barrier(true)]);
    let [before, behind] = fired(&sent);
    assert!(before < 1000 && behind == 0, "{before} and {behind}");
    assert_eq!((sent.last(), snapshots), (Some(&Sent::Barrier), 1));
}
