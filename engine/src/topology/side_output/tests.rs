//! Side outputs of one subtask, which is given its input and robbed of its output by hand; and topologies in which they are wrong.

#![allow(clippy::unwrap_used)]

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    Read, RestartStrategy, Sink, Source, SplitReader, WatermarkStrategy,
    checkpoint::{config::CheckpointConfig, snapshot::SubtaskId},
    element::{CheckpointBarrier, Copied, StreamElement, Watermark},
    error::{BoxError, Error},
    fail_point::FailPoints,
    id::{Attempt, ChannelIndex, CheckpointId, JobId, ProcessingTime, SubtaskIndex},
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    operator::{Input, Operator, Stateful, Step},
    record::Record,
    slice::{Clock, Flow, Slice},
    state,
    subtask::{Need, SubtaskEffect, SubtaskInput, tests::Hand, tests::NoState},
    time::{NoTime, Stamp, Stamped, Timestamp},
    topology::{
        Part, SideOutput, SideTag, Stream, Topology,
        fault::TopologyFault,
        plan::{Deployed, Plan, Settings},
    },
};

/// Is never read from, nor written to.
struct Nothing<T>(std::marker::PhantomData<fn() -> T>);

fn nothing<T>() -> Nothing<T> {
    Nothing(std::marker::PhantomData)
}

impl<T: 'static> Source for Nothing<T> {
    type Record = T;
    type Split = ();
    type Position = ();
    type Reader = Self;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, _: u32) -> Result<Vec<()>, BoxError> {
        Ok(Vec::new())
    }

    fn open(&self, (): &(), _: Option<&()>) -> Result<Self, BoxError> {
        Ok(nothing())
    }
}

impl<T: 'static> SplitReader for Nothing<T> {
    type Record = T;
    type Position = ();

    fn read(&mut self, _: ProcessingTime) -> Result<Read<T>, BoxError> {
        Ok(Read::End)
    }

    fn position(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<T: 'static> Sink<T> for Nothing<T> {
    type Writer = fn(T) -> Result<(), BoxError>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(|_| Ok(()))
    }
}

const BATCH: usize = 4;

type Timed64 = Stamped<u64, Timestamp>;

fn plan(topology: Topology, parallelism: u32) -> Result<Plan, Vec<TopologyFault>> {
    let settings = Settings {
        parallelism,
        max_parallelism: 8,
        batch_size: BATCH,
        checkpoints: CheckpointConfig::default(),
        restart: RestartStrategy::None,
        is_durable: true,
        heap_limit: None,
        fail_points: FailPoints::default(),
    };
    Plan::new(topology, settings).map_err(|error| error.faults)
}

/// A subtask that gives its records to a main output and a side output.
struct Rig {
    deployed: Deployed,
    clock: Hand,
}

/// What left on a channel: records with their times.
#[derive(Debug, PartialEq)]
enum Sent {
    Records(Vec<(u64, i64)>),
    Mark(i64),
    Barrier(usize),
    End,
}

const MAIN: ChannelIndex = ChannelIndex(0);
const SIDE: ChannelIndex = ChannelIndex(1);

impl Rig {
    /// The subtask of chain 1 of a topology.
    fn new(topology: Topology) -> Self {
        let plan = plan(topology, 1).unwrap();
        let genesis = plan.genesis(JobId(1), Attempt(0)).unwrap().metadata;
        let deployed = plan.deploy(Attempt(1), Arc::new(genesis), Arc::new(NoState), None, "here");
        let mut deployed = deployed.into_iter().find(|one| one.subtask.id().chain == 1).unwrap();
        deployed.subtask.open(&deployed.context).unwrap();
        Self { deployed, clock: Hand::default() }
    }

    fn try_step(&mut self, input: SubtaskInput) -> Result<Vec<SubtaskEffect>, Error> {
        let (mut stride, mut effects) = (1024, Vec::new());
        let mut slice = Slice::new(&self.clock, Duration::from_secs(1), 1000, &mut stride);
        self.deployed.subtask.step(input, &mut slice, &mut effects)?;
        Ok(effects)
    }

    fn give(&mut self, element: StreamElement) -> Vec<SubtaskEffect> {
        self.try_step(SubtaskInput::Element(ChannelIndex(0), element)).unwrap()
    }

    /// Works and flushes until nothing is left, and gives what left on a channel.
    fn settle(&mut self) -> BTreeMap<ChannelIndex, Vec<Sent>> {
        let mut sent = BTreeMap::<_, Vec<_>>::new();
        for _ in 0..1000 {
            match self.deployed.subtask.need() {
                Need::Turn => drop(self.try_step(SubtaskInput::Resume).unwrap()),
                Need::Room => {
                    for channel in (0..self.deployed.outputs.len() as u32).map(ChannelIndex) {
                        sent.entry(channel).or_default().extend(self.take(channel));
                    }
                }
                Need::Wait(Some(until)) if until <= self.clock.now() => {
                    drop(self.try_step(SubtaskInput::Resume).unwrap())
                }
                Need::Input(_) | Need::Wait(_) if self.deployed.subtask.flush() => {}
                Need::Input(_) | Need::Wait(_) => return sent,
            }
        }
        panic!("it spins");
    }

    fn take(&mut self, channel: ChannelIndex) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(element) = self.deployed.subtask.take_ready(channel) {
            sent.push(match element {
                StreamElement::Batch(batch) => {
                    let batch: Box<dyn Any> = batch;
                    let batch = batch.downcast::<Vec<Stamped<u64, Timestamp>>>().unwrap();
                    Sent::Records(batch.into_iter().map(|one| (one.record, one.time.0)).collect())
                }
                StreamElement::Watermark(mark) => Sent::Mark(mark.time.0),
                StreamElement::Barrier(_, copies) => Sent::Barrier(copies.len()),
                StreamElement::EndOfInput => Sent::End,
            });
        }
        sent
    }
}

/// Odd numbers go aside, and so do timers at each tenth.
fn odd_aside(side_out: impl FnOnce(&Topology) -> SideOutput<u64>, binds: bool) -> Topology {
    let topology = Topology::new("numbers");
    let odd = side_out(&topology);
    let (tag, of_timer) = (odd.tag(), odd.tag());
    let stream = topology
        .source("numbers", nothing::<u64>())
        .event_time("time", WatermarkStrategy::monotonous(), |n: &u64| Timestamp(*n as i64))
        .key_by(|_| 7_u64)
        .process_with_timers(
            "parity",
            state::value::<u64>("none"),
            move |n, cx| {
                if n.is_multiple_of(10) {
                    cx.set_timer(Timestamp(n as i64));
                }
                if n.is_multiple_of(2) { cx.emit(n) } else { cx.emit_to(&tag, n) }
            },
            move |timer, cx| cx.emit_to(&of_timer, 1000 + timer.time.0 as u64),
        );
    let stream = if binds { stream.with_side(&odd) } else { stream };
    stream.rebalance().sink_at_least_once("rows", nothing());
    odd.stream().sink_at_least_once("odd rows", nothing());
    topology
}

fn odd(topology: &Topology) -> SideOutput<u64> {
    topology.side_output("odd")
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> StreamElement {
    let record = |n| Stamped { record: (7_u64, n), time: Timestamp(n as i64) };
    StreamElement::Batch(Box::new(numbers.into_iter().map(record).collect::<Vec<_>>()))
}

fn mark(time: i64) -> StreamElement {
    StreamElement::Watermark(Watermark { time: Timestamp(time), is_idle: false })
}

fn barrier(overtakes: Option<ProcessingTime>) -> CheckpointBarrier {
    CheckpointBarrier {
        checkpoint: CheckpointId(1),
        attempt: Attempt(1),
        triggered: ProcessingTime(0),
        overtakes,
        halt: false,
    }
}

#[test]
fn records_bear_their_times_on_both_outputs_and_marks_barriers_and_the_end_follow_them_there() {
    let mut rig = Rig::new(odd_aside(odd, true));
    let mut sent = Vec::new();
    let elements = [numbers([1, 2, 3, 10]), mark(9), mark(12), StreamElement::barrier(barrier(None))];
    for element in elements.into_iter().chain([StreamElement::EndOfInput]) {
        rig.give(element);
        sent.push(rig.settle());
    }
    let on = |channel| -> Vec<_> { sent.iter().map(|sent| sent.get(&channel)).collect() };
    let none = Vec::new();
    assert_eq!(
        on(MAIN).into_iter().map(|sent| sent.unwrap_or(&none)).collect::<Vec<_>>(),
        [
            &vec![Sent::Records(vec![(2, 2), (10, 10)])],
            &vec![Sent::Mark(9)],
            &vec![Sent::Mark(12)],
            &vec![Sent::Barrier(0)],
            &vec![Sent::End],
        ]
    );
    assert_eq!(
        on(SIDE).into_iter().map(|sent| sent.unwrap_or(&none)).collect::<Vec<_>>(),
        [
            &vec![Sent::Records(vec![(1, 1), (3, 3)])],
            &vec![Sent::Mark(9)],
            &vec![Sent::Records(vec![(1010, 10)]), Sent::Mark(12)],
            &vec![Sent::Barrier(0)],
            &vec![Sent::End],
        ],
        "what a timer gives bears its time, and leaves in front of the mark that made it due"
    );
}

#[test]
fn a_side_output_without_room_stops_the_chain() {
    let mut rig = Rig::new(odd_aside(odd, true));
    rig.give(numbers((0..500).map(|n| 2 * n + 1)));
    assert_eq!(rig.deployed.subtask.need(), Need::Room);
    assert!(rig.deployed.subtask.has_ready(SIDE) && !rig.deployed.subtask.has_ready(MAIN));
    let mut taken = Vec::new();
    while rig.deployed.subtask.need() == Need::Room {
        for sent in rig.take(SIDE) {
            let Sent::Records(records) = sent else { continue };
            taken.push(records.len());
        }
        if rig.deployed.subtask.need() == Need::Turn {
            rig.try_step(SubtaskInput::Resume).unwrap();
            assert!(rig.take(MAIN).is_empty());
        }
    }
    // Records are looked after sixteen at a time.
    assert_eq!(taken, [BATCH; 125]);
    let turns = rig.deployed.subtask.take_record_counts();
    assert_eq!((turns.records_in, turns.records_out), (500, 500));
}

#[test]
fn after_a_full_side_output_a_keyed_step_handles_at_most_the_records_that_it_has_taken() {
    let mut rig = Rig::new(odd_aside(odd, true));
    rig.give(numbers((0..500).map(|n| 2 * n + 1)));
    let first: usize = rig
        .take(SIDE)
        .into_iter()
        .map(|sent| match sent {
            Sent::Records(records) => records.len(),
            _ => 0,
        })
        .sum();
    assert!((BATCH..=crate::operator::timed::AHEAD).contains(&first), "{first} records");
}

#[test]
fn a_part_that_is_full_stops_the_chain_behind_that_very_record() {
    let topology = Topology::new("parity");
    let source =
        topology
            .source("numbers", nothing::<u64>())
            .event_time("time", WatermarkStrategy::monotonous(), |n| Timestamp(*n as i64));
    let (even, odd) = source.rebalance().part("odd", |n| match n % 2 {
        0 => Part::Main(n),
        _ => Part::Side(n),
    });
    even.rebalance().sink_at_least_once("rows", nothing());
    odd.sink_at_least_once("odd rows", nothing());
    let mut rig = Rig::new(topology);
    let record = |n| Stamped { record: n, time: Timestamp(0) };
    rig.give(StreamElement::Batch(Box::new((1..=100).map(record).collect::<Vec<Timed64>>())));
    assert_eq!(rig.take(SIDE), [Sent::Records(vec![(1, 0), (3, 0), (5, 0), (7, 0)])]);
    rig.deployed.subtask.flush();
    assert_eq!(rig.take(MAIN)[0], Sent::Records(vec![(2, 0), (4, 0), (6, 0)]));
}

#[test]
fn a_barrier_overtakes_what_is_ready_on_a_side_output_and_takes_copies_along() {
    let mut rig = Rig::new(odd_aside(odd, true));
    rig.give(numbers([1, 3, 5, 7]));
    assert_eq!(rig.deployed.subtask.need(), Need::Room);
    let now = ProcessingTime(0);
    rig.try_step(SubtaskInput::Overtaken(ChannelIndex(0), barrier(Some(now)), Vec::new())).unwrap();
    let taken = rig.deployed.subtask.take_overtaking(SIDE, now).unwrap();
    let Some(StreamElement::Barrier(_, copies)) = taken else { panic!("{taken:?}") };
    assert!(matches!(&*copies, [Copied::Batch(_)]), "{copies:?}");
    assert_eq!(rig.take(SIDE), [Sent::Records(vec![(1, 1), (3, 3), (5, 5), (7, 7)])]);
    assert!(matches!(rig.deployed.subtask.take_overtaking(MAIN, now), Ok(Some(StreamElement::Barrier(..)))));
}

#[test]
fn a_record_for_a_side_output_that_the_step_does_not_have_fails_it_by_both_their_names() {
    // Bound to another step, so that nothing else is wrong.
    let topology = odd_aside(
        |topology| {
            let odd = topology.side_output("odd");
            let other = topology.source("others", nothing::<u64>()).event_time(
                "other time",
                WatermarkStrategy::monotonous(),
                |_: &u64| Timestamp(0),
            );
            // Chain 0: that of the first source comes behind.
            other.with_side(&odd).sink_at_least_once("other rows", nothing());
            odd
        },
        false,
    );
    let plan = plan(topology, 1).unwrap();
    let genesis = plan.genesis(JobId(1), Attempt(0)).unwrap().metadata;
    let deployed = plan.deploy(Attempt(1), Arc::new(genesis), Arc::new(NoState), None, "here");
    let mut deployed = deployed.into_iter().find(|one| one.subtask.id().chain == 2).unwrap();
    deployed.subtask.open(&deployed.context).unwrap();
    let mut rig = Rig { deployed, clock: Hand::default() };
    rig.give(numbers([2]));
    let error = rig.try_step(SubtaskInput::Element(ChannelIndex(0), numbers([4, 5, 6]))).err().unwrap().to_string();
    assert!(error.contains("'parity'") && error.contains("'odd'") && error.contains("with_side"), "{error}");
}

#[test]
fn side_channels_come_behind_the_main_ones_each_by_its_own_width() {
    let plan = plan(odd_aside(odd, true), 3).unwrap();
    let genesis = plan.genesis(JobId(1), Attempt(0)).unwrap().metadata;
    let deployed = plan.deploy(Attempt(1), Arc::new(genesis), Arc::new(NoState), None, "here");
    let mut second =
        deployed.into_iter().find(|one| one.subtask.id() == SubtaskId { chain: 1, index: SubtaskIndex(1) }).unwrap();
    let to = |chain, index, channel| (SubtaskId { chain, index: SubtaskIndex(index) }, ChannelIndex(channel));
    assert_eq!(second.outputs, [to(2, 0, 1), to(2, 1, 1), to(2, 2, 1), to(3, 1, 0)]);
    assert_eq!(second.subtask.output_channels(), 4);
}

#[test]
fn a_side_output_that_is_read_by_key_goes_straight_to_the_subtasks_that_own_the_keys() {
    const PARALLELISM: u32 = 3;
    let topology = Topology::new("by key");
    let (none, squares) = timed(&topology).rebalance().part_keyed("squares", |n| match n {
        100.. => Part::Main(n),
        _ => Part::Side((n, n * n)),
    });
    none.sink_at_least_once("rows", nothing());
    squares.fold("sum", 0, |sum, n| *sum += n).sink_at_least_once("sums", nothing());
    let plan = plan(topology, PARALLELISM).unwrap();
    let genesis = plan.genesis(JobId(1), Attempt(0)).unwrap().metadata;
    let deployed = plan.deploy(Attempt(1), Arc::new(genesis), Arc::new(NoState), None, "here");
    let of_second = SubtaskId { chain: 1, index: SubtaskIndex(1) };
    let mut deployed = deployed.into_iter().find(|one| one.subtask.id() == of_second).unwrap();
    let to = |index| (SubtaskId { chain: 2, index: SubtaskIndex(index) }, ChannelIndex(1));
    assert_eq!(deployed.outputs, [to(0), to(1), to(2)]);
    deployed.subtask.open(&deployed.context).unwrap();

    let mut rig = Rig { deployed, clock: Hand::default() };
    let mut came = Vec::new();
    let numbers: Vec<_> = (0..100_u64).map(|n| Stamped { record: n, time: Timestamp(n as i64) }).collect();
    rig.give(StreamElement::Batch(Box::new(numbers)));
    while rig.deployed.subtask.need() == Need::Room || rig.deployed.subtask.flush() {
        for channel in 0..PARALLELISM {
            while let Some(StreamElement::Batch(batch)) = rig.deployed.subtask.take_ready(ChannelIndex(channel)) {
                let batch: Box<dyn Any> = batch;
                let batch = batch.downcast::<Vec<Stamped<(u64, u64), Timestamp>>>().unwrap();
                came.extend(batch.into_iter().map(|one| (one.record, channel)));
            }
        }
        rig.try_step(SubtaskInput::Resume).unwrap();
    }
    came.sort_unstable();
    let max_parallelism = rig.deployed.context.max_parallelism;
    let owner = |key: u64| {
        let group = KeyGroup::of_hash(key.hash64(), max_parallelism);
        let owns =
            |index: &u32| KeyGroupRange::of_subtask(SubtaskIndex(*index), PARALLELISM, max_parallelism).contains(group);
        (0..PARALLELISM).find(owns).unwrap()
    };
    assert_eq!(came, (0..100).map(|n| ((n, n * n), owner(n))).collect::<Vec<_>>());
}

fn faults(make: impl FnOnce(&Topology)) -> Vec<TopologyFault> {
    let topology = Topology::new("wrong");
    make(&topology);
    plan(topology, 2).err().unwrap_or_default()
}

fn timed(topology: &Topology) -> Stream<impl Operator<Out = u64, Time = Timestamp> + use<>> {
    topology
        .source("numbers", nothing::<u64>())
        .event_time("time", WatermarkStrategy::monotonous(), |n: &u64| Timestamp(*n as i64))
}

fn end<T: Record, S: Stamp>(stream: Stream<Input<T, S>>, name: &str) {
    stream.sink_at_least_once(name, nothing());
}

#[test]
fn a_side_output_needs_one_step_and_one_reader() {
    let side = || "late".to_string();
    let none = faults(|topology| {
        timed(topology).sink_at_least_once("rows", nothing());
        end(topology.side_output::<u64>("late").stream(), "late rows");
    });
    assert_eq!(none, [TopologyFault::SideWithoutStep { side: side() }]);

    let unread = faults(|topology| {
        let late = topology.side_output::<u64>("late");
        timed(topology).with_side(&late).sink_at_least_once("rows", nothing());
    });
    assert_eq!(unread, [TopologyFault::SideWithoutSink { side: side() }]);

    let dropped = faults(|topology| {
        let late = topology.side_output::<u64>("late");
        timed(topology).with_side(&late).sink_at_least_once("rows", nothing());
        let _ = late.stream();
    });
    assert_eq!(dropped, [TopologyFault::SideWithoutSink { side: side() }]);

    let twice_read = faults(|topology| {
        let late = topology.side_output::<u64>("late");
        timed(topology).with_side(&late).sink_at_least_once("rows", nothing());
        end(late.stream(), "late rows");
        end(late.stream(), "more late rows");
    });
    assert_eq!(twice_read, [TopologyFault::SideReadTwice { side: side() }]);

    let by_key_too = faults(|topology| {
        let late = topology.side_output::<(u64, u64)>("late");
        timed(topology).with_side(&late).sink_at_least_once("rows", nothing());
        end(late.stream(), "late rows");
        late.keyed_stream().fold("sum", 0, |sum, n| *sum += n).sink_at_least_once("sums", nothing());
    });
    assert_eq!(by_key_too, [TopologyFault::SideReadTwice { side: side() }]);

    let twice_bound = faults(|topology| {
        let late = topology.side_output::<u64>("late");
        let stream = timed(topology).with_side(&late).rebalance().map(|n| n).name("second").with_side(&late);
        stream.sink_at_least_once("rows", nothing());
        end(late.stream(), "late rows");
    });
    let (first, second) = ("time".to_string(), "second".to_string());
    assert_eq!(twice_bound, [TopologyFault::SideTwice { side: side(), first, second }]);

    let of_exchange = faults(|topology| {
        let late = topology.side_output::<u64>("late");
        timed(topology).rebalance().name("exchange").with_side(&late).sink_at_least_once("rows", nothing());
        end(late.stream(), "late rows");
    });
    assert_eq!(of_exchange, [TopologyFault::SideOfExchange { side: side(), exchange: "exchange".to_string() }]);

    let unfinished = faults(|topology| {
        let late = topology.side_output::<u64>("late");
        let _ = timed(topology).map(|n| n).name("last").with_side(&late);
        end(late.stream(), "late rows");
    });
    assert_eq!(unfinished, [TopologyFault::NoSink { step: "last".to_string() }], "and nothing that follows from it");
}

#[test]
fn every_fault_of_a_side_output_says_the_way_out() {
    let (side, first, second) = ("late".to_string(), "a".to_string(), "b".to_string());
    let faults = [
        TopologyFault::SideWithoutStep { side: side.clone() },
        TopologyFault::SideOfExchange { side: side.clone(), exchange: "a".to_string() },
        TopologyFault::SideTwice { side: side.clone(), first, second },
        TopologyFault::SideWithoutSink { side: side.clone() },
        TopologyFault::SideReadTwice { side: side.clone() },
        TopologyFault::TimeBehindSide { side, step: "a".to_string() },
    ];
    let ways = [
        "say `with_side`",
        "say `with_side`",
        "make one for each",
        "end its `stream()`",
        "`share` it",
        "put `rebalance`",
    ];
    for (fault, way) in faults.iter().zip(ways) {
        let text = fault.to_string();
        assert!(text.contains("'late'") && text.contains(way), "{text}");
    }
}

#[test]
fn one_chain_tells_one_time_so_no_step_may_give_another_behind_a_side_output_with_time() {
    fn timed_anew(topology: &Topology, begins_another: bool) {
        let (main, side) = timed(topology).part("late", |n| if n > 5 { Part::Main(n) } else { Part::Side(n) });
        end(side, "late rows");
        let time = |n: &u64| Timestamp(*n as i64 / 2);
        match begins_another {
            true => main
                .rebalance()
                .event_time("second", WatermarkStrategy::monotonous(), time)
                .sink_at_least_once("rows", nothing()),
            false => {
                main.event_time("second", WatermarkStrategy::monotonous(), time).sink_at_least_once("rows", nothing())
            }
        };
    }
    let fault = |step: &str| TopologyFault::TimeBehindSide { side: "late".to_string(), step: step.to_string() };
    assert_eq!(faults(|topology| timed_anew(topology, false)), [fault("second")]);
    assert_eq!(faults(|topology| timed_anew(topology, true)), []);
    let by_clock = faults(|topology| {
        let (main, side) = timed(topology).part("late", |n| if n > 5 { Part::Main(n) } else { Part::Side(n) });
        end(side, "late rows");
        main.processing_time().name("clock").sink_at_least_once("rows", nothing());
    });
    assert_eq!(by_clock, [fault("clock")]);
    let untimed = faults(|topology| {
        let events = topology.source("numbers", nothing::<u64>());
        let (main, side) = events.part("late", |n| if n > 5 { Part::Main(n) } else { Part::Side(n) });
        end(side, "late rows");
        main.event_time("time", WatermarkStrategy::monotonous(), |n: &u64| Timestamp(*n as i64))
            .sink_at_least_once("rows", nothing());
    });
    assert_eq!(untimed, [], "a side output without time is told none");
}

#[test]
fn a_tag_is_small_and_names_its_side_output() {
    assert_eq!(size_of::<SideTag<u64, NoTime>>(), 2 * size_of::<usize>());
    let topology = Topology::new("tags");
    let side = topology.side_output::<u64>("late");
    assert_eq!(format!("{:?}", side.tag().clone()), "SideTag(\"late\")");
}

/// Drops each record that is below 10, as if it came too late.
struct DropsLate<U> {
    upstream: U,
    late: u64,
}

impl<U: Operator> Stateful for DropsLate<U> {}

impl<U: Operator> Step for DropsLate<U> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late) + self.upstream.take_late()
    }
}

impl<U: Operator<Out = u64>> Operator for DropsLate<U> {
    type Out = u64;
    type Time = U::Time;

    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, u64, U::Time) -> Flow,
    {
        let Self { upstream, late } = self;
        upstream.drive(slice, &mut |slice, n, time| match n {
            0..10 => {
                *late += 1;
                Ok(())
            }
            _ => sink(slice, n, time),
        })
    }
}

#[test]
fn late_records_of_all_steps_of_a_chain_are_counted_each_once() {
    let topology = Topology::new("late");
    fn dropping<O: Operator<Out = u64>>(stream: Stream<O>) -> Stream<DropsLate<O>> {
        let step = stream.graph.lock().add_step("drops", None, None);
        stream.then(step, |upstream, _| DropsLate { upstream, late: 0 })
    }
    let stream = dropping(timed(&topology).rebalance()).map(|n| n - 10);
    dropping(stream).map(|n| n).sink_at_least_once("rows", nothing());
    let mut rig = Rig::new(topology);
    let record = |n| Stamped { record: n, time: Timestamp(0) };
    rig.give(StreamElement::Batch(Box::new((5..25).map(record).collect::<Vec<Timed64>>())));
    rig.settle();
    let counts = rig.deployed.subtask.take_record_counts();
    assert_eq!((counts.records_in, counts.late_records, counts.records_out), (20, 15, 5));
    assert_eq!(rig.deployed.subtask.take_record_counts().late_records, 0);
}
