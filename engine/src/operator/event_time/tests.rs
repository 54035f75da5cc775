//! Watermarks of sources, whose readers are told by hand what they have.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use super::*;
use crate::{
    Read, RestartStrategy, Sink, Source, SplitReader,
    checkpoint::{
        config::CheckpointConfig,
        coordinator::SubtaskReport,
        snapshot::{CheckpointMetadata, OperatorKind, SubtaskSnapshot},
    },
    element::{CheckpointBarrier, StreamElement},
    fail_point::FailPoints,
    id::{Attempt, ChannelIndex, CheckpointId, JobId, SubtaskIndex},
    record::Batch,
    slice::Clock,
    state,
    subtask::tests::{Hand, NoState},
    subtask::{Control, Need, SubtaskEffect, SubtaskInput},
    time::{Alignment, NoTime, Stamped},
    topology::{
        Topology,
        plan::{Deployed, Plan, Settings},
    },
};

/// What each split has.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<BTreeMap<u32, VecDeque<Option<i64>>>>>);

impl Given {
    fn records(&self, split: u32, times: &[i64]) {
        self.0.lock().unwrap().entry(split).or_default().extend(times.iter().map(|time| Some(*time)));
    }

    fn end(&self, split: u32) {
        self.0.lock().unwrap().entry(split).or_default().push_back(None);
    }
}

#[derive(Clone)]
struct ByHand {
    given: Given,
    splits: u32,
    is_bounded: bool,
    /// For how long a reader has nothing, if it has nothing.
    pause: Duration,
}

struct HandReader {
    source: ByHand,
    split: u32,
    next: u64,
}

impl Source for ByHand {
    type Record = i64;
    type Split = u32;
    type Position = u64;
    type Reader = HandReader;

    fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    fn splits(&self, _: u32) -> Result<Vec<u32>, BoxError> {
        Ok((0..self.splits).collect())
    }

    fn open(&self, split: &u32, position: Option<&u64>) -> Result<HandReader, BoxError> {
        Ok(HandReader { source: self.clone(), split: *split, next: position.copied().unwrap_or(0) })
    }
}

impl SplitReader for HandReader {
    type Record = i64;
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<i64>, BoxError> {
        let mut given = self.source.given.0.lock().unwrap();
        Ok(match given.get_mut(&self.split).and_then(VecDeque::pop_front) {
            None => Read::NotBefore(now.after(self.source.pause)),
            Some(None) => Read::End,
            Some(Some(time)) => {
                self.next += 1;
                Read::Record(time)
            }
        })
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.next)
    }
}

#[derive(Clone)]
struct Nowhere;

impl Sink<i64> for Nowhere {
    type Writer = fn(i64) -> Result<(), BoxError>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(|_| Ok(()))
    }
}

fn settings(parallelism: u32) -> Settings {
    Settings {
        parallelism,
        max_parallelism: 8,
        batch_size: 4,
        checkpoints: CheckpointConfig::default(),
        restart: RestartStrategy::None,
        is_durable: true,
        heap_limit: None,
        fail_points: FailPoints::default(),
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn active(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: false }
}

fn idle(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: true }
}

/// Up to 10 ms late.
fn bounded() -> WatermarkStrategy<crate::time::Bounded> {
    WatermarkStrategy::bounded(millis(10))
}

/// One subtask of a chain, and what its first output has said.
struct Rig {
    plan: Rc<Plan>,
    deployed: Deployed,
    clock: Hand,
    mark: Watermark,
    records: Vec<Stamped<i64, Timestamp>>,
    has_ended: bool,
    /// What it has said to its alignment group.
    source_times: Vec<Watermark>,
}

impl Rig {
    fn plan(topology: Topology, parallelism: u32) -> Rc<Plan> {
        Rc::new(Plan::new(topology, settings(parallelism)).unwrap())
    }

    /// Subtask `index` of chain `chain`, at the beginning.
    fn first(plan: &Rc<Plan>, chain: u32, index: u32) -> Self {
        let genesis = plan.genesis(JobId(1), Attempt(0)).unwrap().metadata;
        Self::restored(plan, chain, index, genesis)
    }

    fn restored(plan: &Rc<Plan>, chain: u32, index: u32, restored: CheckpointMetadata) -> Self {
        let deployed = plan.deploy(Attempt(1), Arc::new(restored), Arc::new(NoState), None, "here");
        let is_it = |one: &Deployed| (one.subtask.id().chain, one.subtask.id().index) == (chain, SubtaskIndex(index));
        let mut deployed = deployed.into_iter().find(is_it).unwrap();
        deployed.subtask.open(&deployed.context).unwrap();
        let (mark, records, source_times) = (Watermark::NONE, Vec::new(), Vec::new());
        Self { plan: plan.clone(), deployed, clock: Hand::default(), mark, records, has_ended: false, source_times }
    }

    /// A checkpoint of `rigs`, the subtasks of one chain, and their clocks in it.
    fn checkpoint(rigs: &mut [Self]) -> CheckpointMetadata {
        let mut metadata = rigs[0].plan.genesis(JobId(1), Attempt(0)).unwrap().metadata;
        metadata.operators.iter_mut().for_each(|operator| operator.subtasks.clear());
        for rig in rigs {
            for (uid, own) in rig.snapshot().operators {
                metadata.operators.iter_mut().find(|operator| operator.uid == uid).unwrap().subtasks.push(own);
            }
        }
        metadata
    }

    fn snapshot(&mut self) -> SubtaskSnapshot {
        let (checkpoint, attempt, triggered) = (CheckpointId(1), Attempt(1), self.clock.now());
        let barrier = CheckpointBarrier { checkpoint, attempt, triggered, overtakes: None, halt: false };
        let input = match self.deployed.is_source {
            true => SubtaskInput::Control(Control::Trigger(barrier)),
            false => SubtaskInput::Element(ChannelIndex(0), StreamElement::barrier(barrier)),
        };
        for effect in self.try_step(input).unwrap() {
            if let SubtaskEffect::Report(SubtaskReport::Acknowledged(_, snapshot)) = effect {
                return *snapshot;
            }
        }
        panic!("it was not acknowledged");
    }

    fn try_step(&mut self, input: SubtaskInput) -> Result<Vec<SubtaskEffect>, Error> {
        let (mut stride, mut effects) = (1024, Vec::new());
        let mut slice = Slice::new(&self.clock, Duration::from_secs(1), 1000, &mut stride);
        self.deployed.subtask.step(input, &mut slice, &mut effects)?;
        self.source_times.extend(effects.iter().filter_map(|effect| match effect {
            SubtaskEffect::Report(SubtaskReport::SourceTime(AlignmentGroup(0), mark)) => Some(*mark),
            _ => None,
        }));
        Ok(effects)
    }

    /// The coordinator says how far the slowest of the others is.
    fn limit(&mut self, slowest: i64) {
        let limit = Control::Limit(AlignmentGroup(0), Timestamp(slowest));
        self.try_step(SubtaskInput::Control(limit)).unwrap();
    }

    fn times(&self) -> Vec<i64> {
        self.records.iter().map(|one| one.record).collect()
    }

    /// Lets time pass, a millisecond a turn, and takes what leaves.
    fn run(&mut self, millis: u64) {
        for _ in 0..=millis {
            self.try_step(SubtaskInput::Resume).unwrap();
            self.settle();
            self.clock.0.fetch_add(1_000_000, Ordering::SeqCst);
        }
        self.clock.0.fetch_sub(1_000_000, Ordering::SeqCst);
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            match self.deployed.subtask.need() {
                Need::Turn => drop(self.try_step(SubtaskInput::Resume).unwrap()),
                Need::Room => self.take(),
                Need::Input(_) | Need::Wait(_) if self.deployed.subtask.flush() => {}
                Need::Input(_) | Need::Wait(_) => return self.take(),
            }
        }
        panic!("it spins");
    }

    fn take(&mut self) {
        for other in 1..self.deployed.outputs.len() {
            while self.deployed.subtask.take_ready(ChannelIndex(other as u32)).is_some() {}
        }
        while let Some(element) = self.deployed.subtask.take_ready(ChannelIndex(0)) {
            assert!(!self.has_ended || matches!(element, StreamElement::Barrier(..)), "{element:?} behind the end");
            match element {
                StreamElement::Watermark(mark) => {
                    assert!(mark.time >= self.mark.time, "{mark:?} behind {:?}", self.mark);
                    self.mark = mark;
                }
                StreamElement::Batch(batch) => {
                    let batch: Box<dyn std::any::Any> = batch;
                    self.mark.is_idle = false;
                    self.records.extend(*batch.downcast::<Vec<Stamped<i64, Timestamp>>>().unwrap());
                }
                StreamElement::Barrier(..) => {}
                StreamElement::EndOfInput => self.has_ended = true,
            }
        }
    }
}

fn source(given: &Given, splits: u32, is_bounded: bool) -> ByHand {
    ByHand { given: given.clone(), splits, is_bounded, pause: millis(1) }
}

/// `source -> event_time`, and elsewhere a sink. A record of -1 has no time.
fn stamped(source: ByHand, strategy: WatermarkStrategy<crate::time::Bounded>, parallelism: u32) -> Rc<Plan> {
    let topology = Topology::new("job");
    let time = |time: &i64| (*time != -1).then_some(Timestamp(*time));
    let stream = topology.source("numbers", source).event_time("stamped", strategy, time);
    stream.rebalance().sink_at_least_once("rows", Nowhere);
    Rig::plan(topology, parallelism)
}

#[test]
fn the_watermark_is_the_least_of_the_splits_and_leaves_behind_their_records() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 2, false), bounded(), 1), 0, 0);
    given.records(0, &[100, 130]);
    rig.run(1);
    assert_eq!(
        rig.records.iter().map(|one| (one.record, one.time)).collect::<Vec<_>>(),
        [(100, Timestamp(100)), (130, Timestamp(130))]
    );
    assert_eq!(rig.mark, Watermark::NONE, "split 1 may begin anywhere");
    given.records(1, &[50]);
    rig.run(1);
    assert_eq!(rig.mark, active(39));
    given.records(1, &[40, 300]);
    rig.run(1);
    assert_eq!(rig.mark, active(119), "split 0 is behind now");
}

#[test]
fn a_split_that_ends_is_waited_for_no_longer_and_the_last_end_is_the_end_of_time() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 2, false), bounded(), 1), 0, 0);
    given.records(0, &[100]);
    given.records(1, &[50]);
    given.end(1);
    rig.run(1);
    assert_eq!((rig.mark, rig.has_ended), (active(89), false));
    given.end(0);
    rig.run(1);
    assert!(rig.has_ended);
}

#[test]
fn a_split_that_waits_to_be_opened_holds_time_back_unless_splits_are_in_order() {
    for (strategy, first) in [(bounded(), Watermark::NONE), (bounded().splits_in_order(), active(89))] {
        let given = Given::default();
        let mut rig = Rig::first(&stamped(source(&given, 2, true), strategy, 1), 0, 0);
        given.records(0, &[100]);
        rig.run(1);
        assert_eq!(rig.mark, first);
        given.end(0);
        given.records(1, &[300]);
        rig.run(1);
        assert_eq!(rig.mark, active(289), "it is the last one");
    }
}

#[test]
fn a_split_without_records_falls_idle_and_its_next_record_ends_that_at_once() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 2, false), bounded().idle_after(millis(20)), 1), 0, 0);
    for time in [100, 110, 120] {
        given.records(0, &[time]);
        rig.run(10);
    }
    assert_eq!(rig.mark, active(109), "split 1 has been silent for 20 ms, and split 0 has not");
    rig.run(20);
    assert_eq!(rig.mark, idle(109), "both");
    given.records(1, &[60]);
    rig.run(1);
    assert_eq!(rig.mark, active(109), "it is behind, and holds time where it is");
    given.records(0, &[900]);
    given.records(1, &[150]);
    rig.run(1);
    assert_eq!(rig.mark, active(139));
}

#[test]
fn a_reader_that_names_a_late_moment_is_idle_before_that() {
    let given = Given::default();
    let source = ByHand { pause: millis(500), ..source(&given, 1, false) };
    let mut rig = Rig::first(&stamped(source, bounded().idle_after(millis(20)), 1), 0, 0);
    given.records(0, &[100]);
    rig.run(0);
    let wake = ProcessingTime(20_000_000);
    assert_eq!((rig.mark, rig.deployed.subtask.need()), (active(89), Need::Input(Some(wake))));
    rig.clock.0.store(wake.0, Ordering::SeqCst);
    rig.run(0);
    let until = ProcessingTime(500_000_000);
    assert_eq!((rig.mark, rig.deployed.subtask.need()), (idle(89), Need::Input(Some(until))), "and does not spin");
}

#[test]
fn time_in_which_a_split_is_not_read_does_not_make_it_idle() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 1, false), bounded().idle_after(millis(20)), 1), 0, 0);
    given.records(0, &[100]);
    rig.run(5);
    // As if there were no room for a second.
    rig.clock.0.fetch_add(1_000_000_000, Ordering::SeqCst);
    rig.run(5);
    assert_eq!(rig.mark, active(89));
    rig.run(15);
    assert_eq!(rig.mark, idle(89));
}

#[test]
fn what_was_idle_is_idle_after_a_restart_until_a_record_comes() {
    let given = Given::default();
    let plan = stamped(source(&given, 2, false), bounded().idle_after(millis(20)), 1);
    let mut rig = Rig::first(&plan, 0, 0);
    for time in [100, 110, 120] {
        given.records(0, &[time]);
        rig.run(10);
    }
    let checkpoint = Rig::checkpoint(&mut [rig]);
    let mut rig = Rig::restored(&plan, 0, 0, checkpoint);
    rig.run(0);
    assert_eq!(rig.mark, active(109), "the watermark is said again at once");
    given.records(0, &[200]);
    rig.run(1);
    assert_eq!(rig.mark, active(189), "split 1 is waited for no more than before");
    given.records(1, &[195]);
    given.records(0, &[300]);
    rig.run(1);
    assert_eq!(rig.mark, active(189));
    given.records(1, &[250]);
    rig.run(1);
    assert_eq!(rig.mark, active(239));
}

#[test]
fn a_split_takes_its_watermark_along_to_another_subtask() {
    let given = Given::default();
    let two = stamped(source(&given, 2, false), bounded(), 2);
    let mut rigs = [Rig::first(&two, 0, 0), Rig::first(&two, 0, 1)];
    given.records(0, &[100]);
    given.records(1, &[70]);
    rigs.iter_mut().for_each(|rig| rig.run(1));
    assert_eq!(rigs.each_ref().map(|rig| rig.mark), [active(89), active(59)]);
    let checkpoint = Rig::checkpoint(&mut rigs);
    let mut one = Rig::restored(&stamped(source(&given, 2, false), bounded(), 1), 0, 0, checkpoint);
    one.run(0);
    assert_eq!(one.mark, active(59));
    given.records(1, &[500]);
    one.run(1);
    assert_eq!(one.mark, active(89));
    let checkpoint = Rig::checkpoint(&mut [one]);
    let mut three = [0, 1, 2].map(|index| {
        let plan = stamped(source(&given, 2, false), bounded(), 3);
        Rig::restored(&plan, 0, index, checkpoint.clone())
    });
    three.iter_mut().for_each(|rig| rig.run(0));
    let mut marks = three.each_ref().map(|rig| rig.mark.time.0);
    marks.sort_unstable();
    assert_eq!(marks, [89, 489, i64::MAX]);
    assert_eq!(three.iter().filter(|rig| rig.has_ended).count(), 1, "it has no split, and holds nothing back");
}

/// Else a split that is behind could come to a subtask whose channels remember it as far ahead.
#[test]
fn as_many_subtasks_as_before_keep_their_splits() {
    let given = Given::default();
    let plan = stamped(source(&given, 4, false), bounded(), 3);
    let mut rigs = [0, 1, 2].map(|index| Rig::first(&plan, 0, index));
    for (split, time) in [(0, 100), (1, 500), (2, 600), (3, 70)] {
        given.records(split, &[time]);
    }
    rigs.iter_mut().for_each(|rig| rig.run(2));
    let before = rigs.each_ref().map(|rig| rig.mark);
    assert_eq!(before, [active(59), active(489), active(589)], "the first has splits 0 and 3");
    let checkpoint = Rig::checkpoint(&mut rigs);
    let mut again = [0, 1, 2].map(|index| Rig::restored(&plan, 0, index, checkpoint.clone()));
    again.iter_mut().for_each(|rig| rig.run(0));
    assert_eq!(again.each_ref().map(|rig| rig.mark), before);
}

#[test]
fn a_record_without_time_fails_the_attempt_and_the_error_names_the_step() {
    for (record, cause) in [(-1, "`None`"), (i64::MIN, "an end of time"), (i64::MAX, "an end of time")] {
        let given = Given::default();
        let mut rig = Rig::first(&stamped(source(&given, 1, false), bounded(), 1), 0, 0);
        given.records(0, &[record]);
        let Err(error) = rig.try_step(SubtaskInput::Resume) else { panic!("{record} has a time") };
        let error = error.to_string();
        assert!(error.contains("'stamped'") && error.contains("subtask 0") && error.contains(cause), "{error}");
    }
}

#[test]
fn what_is_left_of_a_record_belongs_to_its_split_in_a_later_turn_too() {
    let given = Given::default();
    let topology = Topology::new("job");
    // Each record becomes more than the outputs take at once.
    let many = topology.source("numbers", source(&given, 2, false)).flat_map(|first: i64| first..first + 50);
    let stream = many.event_time("stamped", bounded(), |time| Timestamp(*time));
    stream.rebalance().sink_at_least_once("rows", Nowhere);
    let mut rig = Rig::first(&Rig::plan(topology, 1), 0, 0);
    given.records(0, &[1_000]);
    given.records(1, &[100]);
    rig.run(2);
    assert_eq!((rig.records.len(), rig.mark), (100, active(138)));
    given.records(1, &[2_000]);
    rig.run(2);
    assert_eq!(rig.mark, active(1038));
}

/// `source -> exchange -> event_time`, and elsewhere a sink.
fn behind_an_exchange(parallelism: u32) -> Rc<Plan> {
    let topology = Topology::new("job");
    let stream = topology.source("numbers", source(&Given::default(), 1, false)).rebalance();
    let stream = stream.event_time("stamped", bounded(), |time| Timestamp(*time));
    stream.rebalance().sink_at_least_once("rows", Nowhere);
    Rig::plan(topology, parallelism)
}

#[test]
fn behind_an_exchange_a_subtask_has_one_clock_and_on_another_parallelism_the_least() {
    let two = behind_an_exchange(2);
    let mut rigs = [Rig::first(&two, 1, 0), Rig::first(&two, 1, 1)];
    for (rig, time) in rigs.iter_mut().zip([100_i64, 70]) {
        for channel in [0, 1] {
            let batch: Box<dyn Batch> = Box::new(vec![Stamped { record: time, time: NoTime }]);
            rig.try_step(SubtaskInput::Element(ChannelIndex(channel), StreamElement::Batch(batch))).unwrap();
            rig.settle();
        }
    }
    assert_eq!(rigs.each_ref().map(|rig| rig.mark), [active(89), active(59)]);
    for rig in &mut rigs {
        let (checkpoint, attempt, triggered) = (CheckpointId(1), Attempt(1), ProcessingTime(0));
        let barrier = CheckpointBarrier { checkpoint, attempt, triggered, overtakes: None, halt: false };
        rig.try_step(SubtaskInput::Element(ChannelIndex(1), StreamElement::barrier(barrier))).unwrap();
    }
    let checkpoint = Rig::checkpoint(&mut rigs);
    let record = checkpoint.operators.iter().find(|operator| operator.uid == "stamped").unwrap();
    assert_eq!((record.kind, record.subtasks.len()), (OperatorKind::Operator, 2));
    for (parallelism, expected) in [(2, vec![89, 59]), (1, vec![59]), (3, vec![59; 3])] {
        let plan = behind_an_exchange(parallelism);
        let marks = (0..parallelism).map(|index| {
            let mut rig = Rig::restored(&plan, 1, index, checkpoint.clone());
            rig.run(0);
            rig.mark.time.0
        });
        assert_eq!(marks.collect::<Vec<_>>(), expected, "{parallelism}");
    }
}

#[test]
fn behind_a_step_that_keeps_records_back_all_splits_have_one_clock() {
    let given = Given::default();
    let topology = Topology::new("job");
    let kept = topology.source("numbers", source(&given, 2, false)).process_operator(
        "pairs",
        state::list::<i64>("first"),
        |record, first, out| {
            first.push(record);
            if first.len() == 2 {
                first.drain(..).for_each(|record| out.emit(record));
            }
        },
    );
    let stream = kept.event_time("stamped", bounded().idle_after(millis(20)), |time| Timestamp(*time));
    stream.rebalance().sink_at_least_once("rows", Nowhere);
    let mut rig = Rig::first(&Rig::plan(topology, 1), 0, 0);
    given.records(0, &[100]);
    given.records(1, &[50]);
    rig.run(10);
    assert_eq!(rig.mark, active(89));
    given.records(0, &[150]);
    rig.run(15);
    assert_eq!(rig.mark, active(89), "the other split alone is idle");
    rig.run(10);
    assert_eq!(rig.mark, idle(89));
}

#[test]
fn idleness_is_refused_where_nothing_could_tell_of_it() {
    let topology = Topology::new("job");
    let stream = topology.source("numbers", source(&Given::default(), 1, false)).rebalance();
    let stream = stream.event_time("stamped", bounded().idle_after(millis(20)), |time| Timestamp(*time));
    stream.sink_at_least_once("rows", Nowhere);
    let Err(error) = Plan::new(topology, settings(1)) else { panic!("it would never fall idle") };
    assert!(error.to_string().contains("'stamped' has `idle_after` and stands behind an exchange"), "{error}");
}

#[test]
fn strategies_of_parts_of_a_millisecond_are_refused() {
    let topology = Topology::new("job");
    let stream = topology.source("numbers", source(&Given::default(), 1, false));
    let (disorder, drift) = (Duration::from_micros(1_500), Duration::from_micros(999));
    let strategy = WatermarkStrategy::bounded(disorder).align(Alignment::group("group", drift));
    stream.event_time("stamped", strategy, |time| Timestamp(*time)).sink_at_least_once("rows", Nowhere);
    let Err(error) = Plan::new(topology, settings(1)) else { panic!("they would be cut") };
    for said in
        ["disorder is 1ms 500us: it must be whole milliseconds", "drift is 999us: it must be whole milliseconds"]
    {
        assert!(error.to_string().contains(&format!("the watermarks of 'stamped': the {said}")), "{error}");
    }
}

#[test]
fn ingestion_times_never_fall_even_if_the_clock_is_behind_after_a_restart() {
    let given = Given::default();
    let topology = Topology::new("job");
    let stream = topology.source("numbers", source(&given, 1, false)).ingestion_time("arrival");
    stream.rebalance().sink_at_least_once("rows", Nowhere);
    let plan = Rig::plan(topology, 1);
    let mut rig = Rig::first(&plan, 0, 0);
    rig.run(40);
    given.records(0, &[7]);
    rig.run(2);
    assert_eq!((rig.records[0].time, rig.mark), (Timestamp(41), active(41)));
    let checkpoint = Rig::checkpoint(&mut [rig]);
    let mut rig = Rig::restored(&plan, 0, 0, checkpoint);
    given.records(0, &[8]);
    rig.run(3);
    assert_eq!((rig.records[0].time, rig.mark), (Timestamp(42), active(41)), "the clock says 0 to 3");
    given.end(0);
    rig.run(1);
    assert!(rig.has_ended);
}

/// Nothing is late, and a split is at most 20 ms ahead.
fn aligned() -> WatermarkStrategy<crate::time::Bounded> {
    WatermarkStrategy::monotonous().align(Alignment::group("group", millis(20)))
}

const NO_LIMIT: i64 = i64::MAX;

#[test]
fn a_split_ahead_of_another_is_held_behind_the_first_record_that_is_too_far() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 2, false), aligned(), 1), 0, 0);
    rig.limit(NO_LIMIT);
    given.records(1, &[100]);
    given.records(0, &[100, 110, 120, 121, 130, 140]);
    rig.run(5);
    assert_eq!(rig.times(), [100, 100, 110, 120, 121], "the other one's watermark is 99");
    given.records(1, &[105]);
    rig.run(5);
    assert_eq!(rig.times()[5..], [105, 130]);
    given.end(1);
    rig.run(5);
    assert_eq!(rig.times()[7..], [140], "nobody is left to wait for");
}

#[test]
fn a_member_reads_as_far_as_the_others_in_its_group_allow() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 1, false), aligned(), 1), 0, 0);
    given.records(0, &[100, 110, 120, 121, 130, 140]);
    rig.run(5);
    assert_eq!(rig.times(), [100], "nothing is known of the others");
    rig.limit(99);
    rig.run(5);
    assert_eq!(rig.times(), [100, 110, 120, 121], "up to 119, and the first one beyond");
    rig.limit(NO_LIMIT);
    rig.run(5);
    assert_eq!(rig.times(), [100, 110, 120, 121, 130, 140]);
}

#[test]
fn a_member_that_is_held_asks_at_once_and_then_every_fifty_milliseconds() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 1, false), aligned(), 1), 0, 0);
    rig.limit(0);
    rig.run(0);
    assert_eq!(rig.source_times, [Watermark::NONE], "it has nothing yet");
    given.records(0, &[100, 110]);
    rig.run(120);
    assert_eq!(rig.source_times, [Watermark::NONE, active(99), active(99), active(99)]);
    rig.limit(99);
    rig.run(2000);
    assert_eq!(rig.source_times[4..], [active(109); 2], "when it has moved, and once a second after that");
}

#[test]
fn what_is_held_answers_triggers_says_its_watermark_and_does_not_fall_idle() {
    let given = Given::default();
    let strategy = aligned().idle_after(millis(10));
    let mut rig = Rig::first(&stamped(source(&given, 1, false), strategy, 1), 0, 0);
    given.records(0, &[100, 110]);
    rig.run(30);
    assert_eq!((rig.times(), rig.mark), (vec![100], active(99)));
    let checkpoint = Rig::checkpoint(&mut [rig]);
    let mut rig = Rig::restored(&stamped(source(&given, 1, false), aligned(), 1), 0, 0, checkpoint);
    rig.run(10);
    assert_eq!((rig.times(), rig.mark), (vec![], active(99)), "and begins with its own watermark");
    rig.limit(90);
    rig.run(0);
    assert_eq!(rig.times(), [110]);
}

#[test]
fn a_held_source_ends_when_the_host_says_so() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 1, false), aligned(), 1), 0, 0);
    given.records(0, &[100, 110]);
    rig.run(5);
    rig.try_step(SubtaskInput::Control(Control::EndInput)).unwrap();
    rig.run(1);
    assert!(rig.has_ended);
}

#[test]
fn splits_that_wait_to_be_opened_hold_time_back_and_not_the_group() {
    let given = Given::default();
    let mut rig = Rig::first(&stamped(source(&given, 3, true), aligned(), 1), 0, 0);
    rig.limit(NO_LIMIT);
    given.records(0, &[100, 110]);
    rig.run(60);
    assert_eq!((rig.mark, rig.source_times.last()), (Watermark::NONE, Some(&active(109))));
    given.end(0);
    given.records(1, &[30]);
    rig.run(60);
    assert_eq!(rig.source_times.last(), Some(&active(29)), "the next one is behind");
}

#[test]
fn idleness_of_all_splits_is_told_to_the_group_at_once() {
    let given = Given::default();
    let strategy = aligned().idle_after(millis(10));
    let mut rig = Rig::first(&stamped(source(&given, 1, false), strategy, 1), 0, 0);
    rig.limit(NO_LIMIT);
    given.records(0, &[100]);
    rig.run(15);
    assert_eq!(rig.source_times.last(), Some(&idle(99)));
    given.records(0, &[101]);
    rig.run(1);
    assert_eq!(rig.source_times.last(), Some(&active(100)));
}

#[test]
fn alignment_is_refused_where_nobody_knows_which_split_to_hold() {
    let topology = Topology::new("job");
    let stream = topology.source("numbers", source(&Given::default(), 1, false)).rebalance();
    stream.event_time("stamped", aligned(), |time| Timestamp(*time)).sink_at_least_once("rows", Nowhere);
    let Err(error) = Plan::new(topology, settings(1)) else { panic!("it would hold nothing") };
    assert!(
        error.to_string().contains("'stamped' is to be aligned and does not stand right behind a source"),
        "{error}"
    );
    let topology = Topology::new("job");
    let stream = topology.source("numbers", source(&Given::default(), 1, false));
    let stream = stream.event_time("one", aligned(), |time| Timestamp(*time));
    stream.event_time("other", aligned(), |time| Timestamp(*time)).sink_at_least_once("rows", Nowhere);
    let Err(error) = Plan::new(topology, settings(1)) else { panic!("each would let go of what the other holds") };
    assert!(error.to_string().contains("'one' and 'other' would both align the same source"), "{error}");
}
