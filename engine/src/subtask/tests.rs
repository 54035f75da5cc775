//! Time through a subtask, from its channels to its outputs, driven by hand.

#![allow(clippy::unwrap_used)]

use std::{
    any::Any,
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    chain::FusedChain,
    checkpoint::{
        coordinator::SubtaskReport,
        layout::EdgeLayout,
        snapshot::{BlockKind, CheckpointMetadata, EdgeTime, GateTime, InFlightRecord, StateAddress, SubtaskSnapshot},
        store::{StateReader, StoreError},
    },
    element::{CheckpointBarrier, StreamElement, Watermark},
    id::{Attempt, JobId, ProcessingTime, SubtaskIndex},
    key_group::{KeyGroup, KeyGroupRange},
    operator::{Operator, Stateful, Step, input::Input},
    output::exchange::{Exchange, InTurn},
    record::Batch,
    slice::{Clock, Flow, Stop},
    time::{Stamp, Stamped, Timestamp},
};

/// A store without keyed state.
pub(crate) struct NoState;

impl StateReader for NoState {
    fn read(
        &self,
        _: &StateAddress,
        _: KeyGroupRange,
        _: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A clock that is set by hand.
#[derive(Default)]
pub(crate) struct Hand(pub(crate) AtomicU64);

impl Clock for Hand {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(self.0.load(Ordering::SeqCst))
    }

    fn epoch(&self) -> Duration {
        Duration::ZERO
    }
}

/// Hands records on, and gives `1000 + t` once time has reached `t`, for each `t` that is due; one a turn.
struct Timers {
    upstream: Input<u64, Timestamp>,
    due: BTreeSet<i64>,
    head: Watermark,
    settled: Watermark,
}

impl Stateful for Timers {}

impl Step for Timers {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn watermark(&mut self, head: Watermark, _: &Slice<'_>) -> Watermark {
        self.head = head;
        if !self.has_due() {
            self.settled = head;
        }
        self.settled
    }

    fn moves_time(&mut self) -> bool {
        true
    }

    fn has_due(&mut self) -> bool {
        self.due.first().is_some_and(|time| *time <= self.head.time.0)
    }

    fn holds_records(&mut self) -> bool {
        self.has_due()
    }
}

impl Operator for Timers {
    type Out = u64;
    type Time = Timestamp;

    fn drive<S: FnMut(&mut Slice<'_>, u64, Timestamp) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow {
        if self.has_due() {
            let time = self.due.pop_first().unwrap();
            sink(slice, 1000 + time as u64, Timestamp(time))?;
            return Err(Stop::Yield);
        }
        self.upstream.drive(slice, sink)
    }
}

/// What left on a channel.
#[derive(Clone, Debug, PartialEq)]
enum Sent {
    Records(Vec<u64>),
    Mark(Watermark),
    Barrier(u64),
    End,
}

fn active(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: false }
}

fn idle(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: true }
}

fn stamped(record: u64) -> Stamped<u64, Timestamp> {
    Stamped { record, time: Timestamp(0) }
}

fn records<const N: usize>(records: [u64; N]) -> StreamElement {
    StreamElement::Batch(Box::new(records.map(stamped).to_vec()))
}

fn mark(mark: Watermark) -> StreamElement {
    StreamElement::Watermark(mark)
}

fn a_barrier(checkpoint: u64, halt: bool) -> StreamElement {
    let (attempt, triggered) = (Attempt(1), ProcessingTime(0));
    let checkpoint = CheckpointId(checkpoint);
    StreamElement::barrier(CheckpointBarrier { checkpoint, attempt, triggered, overtakes: None, halt })
}

fn barrier(checkpoint: u64) -> StreamElement {
    a_barrier(checkpoint, false)
}

fn edge(first: u32, channels: u32) -> InputEdge {
    InputEdge {
        layout: EdgeLayout { name: format!("edge {first}"), chain: 0, first: ChannelIndex(first), channels },
        by_key: false,
        is_forward: false,
        is_broadcast: false,
        is_feedback: false,
        is_timed: true,
        lift: None,
    }
}

fn context(parallelism: u32, in_flight: Vec<InFlightRecord>, times: Vec<EdgeTime>) -> OpenContext {
    let is_rescaled = times
        .iter()
        .map(|time| time.parallelism)
        .chain(in_flight.iter().map(|one| one.parallelism))
        .any(|was| was != parallelism);
    let restored = CheckpointMetadata {
        job: JobId(1),
        job_name: "job".into(),
        checkpoint: CheckpointId(0),
        attempt: Attempt(1),
        max_parallelism: 8,
        finished: false,
        draining: false,
        operators: Vec::new(),
        in_flight,
        times,
        origin: None,
    };
    OpenContext {
        job: JobId(1),
        job_name: "job".into(),
        attempt: Attempt(1),
        subtask: SubtaskIndex(0),
        parallelism,
        max_parallelism: 8,
        restored: Arc::new(restored),
        is_rescaled,
        reader: Arc::new(NoState),
        heap_share: None,
        state_place: "here".into(),
        failed_records: Arc::default(),
        fail_points: Default::default(),
    }
}

fn tail<S: Stamp>() -> Exchange<u64, S, InTurn> {
    Exchange::new(2, 4, InTurn::starting_at(0))
}

/// A subtask with two outputs, in batches of four.
struct Rig {
    subtask: Subtask,
    clock: Hand,
    snapshots: Vec<SubtaskSnapshot>,
}

impl Rig {
    fn new(inputs: Vec<InputEdge>) -> Self {
        Self::restored(inputs, &[], context(1, Vec::new(), Vec::new()))
    }

    fn with_timers(due: &[i64]) -> Self {
        Self::restored(vec![edge(0, 2)], due, context(1, Vec::new(), Vec::new()))
    }

    fn restored(inputs: Vec<InputEdge>, due: &[i64], context: OpenContext) -> Self {
        let chain: Box<dyn Chain> = match (inputs.iter().any(|edge| edge.is_timed), due) {
            (true, []) => Box::new(FusedChain::new(Input::<u64, Timestamp>::new(None), tail())),
            (false, _) => Box::new(FusedChain::new(Input::<u64>::new(None), tail())),
            (true, due) => {
                let (upstream, due) = (Input::new(None), due.iter().copied().collect());
                let operator = Timers { upstream, due, head: Watermark::NONE, settled: Watermark::NONE };
                Box::new(FusedChain::new(operator, tail()))
            }
        };
        let id = SubtaskId { chain: 0, index: SubtaskIndex(0) };
        let mut subtask = Subtask::new(id, &context, Arc::new([]), chain, inputs, &CheckpointConfig::default());
        subtask.open(&context).unwrap();
        Self { subtask, clock: Hand::default(), snapshots: Vec::new() }
    }

    fn later(&self, by: Duration) {
        self.clock.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }

    fn step(&mut self, input: SubtaskInput) {
        let (mut stride, mut effects) = (1024, Vec::new());
        let mut slice = Slice::new(&self.clock, Duration::from_secs(1), 1000, &mut stride);
        self.subtask.step(input, &mut slice, &mut effects).unwrap();
        self.snapshots.extend(effects.into_iter().filter_map(|effect| match effect {
            SubtaskEffect::Report(SubtaskReport::Acknowledged(_, snapshot)) => Some(*snapshot),
            _ => None,
        }));
    }

    fn give(&mut self, channel: u32, element: StreamElement) {
        assert!(matches!(self.subtask.need(), Need::Input(_)), "{:?}", self.subtask.need());
        self.step(SubtaskInput::Element(ChannelIndex(channel), element));
    }

    /// What leaves on the two outputs until there is nothing left to do; batches that are not full stay.
    fn settle(&mut self) -> [Vec<Sent>; 2] {
        let mut sent = [Vec::new(), Vec::new()];
        for _ in 0..1000 {
            match self.subtask.need() {
                Need::Room => sent.iter_mut().enumerate().for_each(|(i, sent)| sent.extend(self.take(i))),
                Need::Turn => self.step(SubtaskInput::Resume),
                Need::Wait(Some(until)) if until <= self.clock.now() => self.step(SubtaskInput::Resume),
                Need::Input(_) | Need::Wait(_) => return sent,
            }
        }
        panic!("it spins: {:?}", self.subtask.need());
    }

    /// The same, and then what a flush makes of the rest.
    fn flush(&mut self) -> [Vec<Sent>; 2] {
        let mut sent = self.settle();
        while self.subtask.flush() {
            let more = self.settle();
            sent.iter_mut().zip(more).for_each(|(sent, more)| sent.extend(more));
        }
        sent
    }

    fn take(&mut self, channel: usize) -> Vec<Sent> {
        let taken = std::iter::from_fn(|| self.subtask.take_ready(ChannelIndex(channel as u32)));
        let sent = taken.map(|element| match element {
            StreamElement::Batch(batch) => {
                let batch: Box<dyn Any> = batch;
                let records: Vec<Stamped<u64, Timestamp>> = *batch.downcast().unwrap();
                Sent::Records(records.into_iter().map(|stamped| stamped.record).collect())
            }
            StreamElement::Watermark(mark) => Sent::Mark(mark),
            StreamElement::Barrier(barrier, _) => Sent::Barrier(barrier.checkpoint.0),
            StreamElement::EndOfInput => Sent::End,
        });
        sent.collect()
    }
}

const LONG: Duration = Duration::from_millis(10);

#[test]
fn a_watermark_leaves_on_every_output_behind_the_records_that_came_before_it() {
    let mut rig = Rig::new(vec![edge(0, 2)]);
    rig.give(0, records([1, 2, 3]));
    rig.give(0, mark(active(5)));
    assert_eq!(
        rig.flush(),
        [vec![Sent::Records(vec![1, 3])], vec![Sent::Records(vec![2])]],
        "channel 1 has said nothing"
    );
    rig.give(0, records([4]));
    rig.give(1, mark(active(7)));
    let five = Sent::Mark(active(5));
    assert_eq!(rig.flush(), [vec![five.clone()], vec![Sent::Records(vec![4]), five]]);
    assert_eq!(rig.flush(), [vec![], vec![]], "said once");
}

#[test]
fn between_two_rounds_only_outputs_that_something_goes_to_are_told_and_at_most_once_a_millisecond() {
    let mut rig = Rig::new(vec![edge(0, 1)]);
    rig.give(0, mark(active(1)));
    let one = vec![Sent::Mark(active(1))];
    assert_eq!(rig.settle(), [one.clone(), one], "the first time");
    rig.give(0, mark(active(2)));
    assert_eq!(rig.settle(), [vec![], vec![]], "nothing else goes");
    rig.give(0, records([1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(rig.settle(), [vec![Sent::Records(vec![1, 3, 5, 7])], vec![]], "a batch is full, but it is too soon");
    rig.later(Duration::from_millis(1));
    rig.give(0, records([8, 9, 10, 11]));
    assert_eq!(rig.settle()[1], [Sent::Records(vec![2, 4, 6, 8]), Sent::Mark(active(2))]);
    rig.give(0, mark(active(3)));
    rig.later(LONG);
    rig.give(0, mark(active(4)));
    let expected =
        [vec![Sent::Records(vec![9, 11]), Sent::Mark(active(4))], vec![Sent::Records(vec![10]), Sent::Mark(active(4))]];
    assert_eq!(rig.settle(), expected, "the round has come");
}

#[test]
fn idleness_is_told_at_once_and_again_behind_each_batch() {
    let mut rig = Rig::new(vec![edge(0, 2)]);
    rig.give(0, mark(active(3)));
    rig.give(1, mark(idle(8)));
    assert_eq!(rig.flush(), [vec![Sent::Mark(active(3))], vec![Sent::Mark(active(3))]]);
    rig.give(0, mark(idle(3)));
    assert_eq!(rig.settle(), [vec![Sent::Mark(idle(8))], vec![Sent::Mark(idle(8))]], "before any round or flush");
    // A row of a timer, while all are idle.
    let mut rig = Rig::with_timers(&[20]);
    for channel in [0, 1] {
        rig.give(channel, mark(idle(9)));
        rig.flush();
    }
    rig.give(0, mark(idle(25)));
    let [first, second] = rig.flush();
    assert_eq!(first, [Sent::Records(vec![1020]), Sent::Mark(idle(25))], "the batch alone would say that it is awake");
    assert_eq!(second, [Sent::Mark(idle(25))]);
}

#[test]
fn in_front_of_each_barrier_the_channel_is_told_what_the_snapshot_knows() {
    let mut rig = Rig::new(vec![edge(0, 2)]);
    for (channel, time) in [(0, 4), (1, 6), (0, 5), (1, 9)] {
        rig.give(channel, mark(active(time)));
        rig.settle();
    }
    rig.give(0, records([1]));
    rig.give(0, barrier(1));
    rig.give(1, barrier(1));
    let [first, second] = rig.flush();
    assert_eq!(first, [Sent::Records(vec![1]), Sent::Mark(active(5)), Sent::Barrier(1)]);
    assert_eq!(second, [Sent::Mark(active(5)), Sent::Barrier(1)]);
    let time = rig.snapshots[0].time.clone();
    assert_eq!(time, GateTime { event_time: Timestamp(5), channels: vec![active(5), active(9)] });
}

#[test]
fn what_time_makes_due_leaves_before_the_watermark_and_before_the_end() {
    let mut rig = Rig::with_timers(&[5, 7, 100]);
    rig.give(0, mark(active(8)));
    rig.give(1, mark(active(8)));
    let eight = Sent::Mark(active(8));
    assert_eq!(rig.flush(), [vec![Sent::Records(vec![1005]), eight.clone()], vec![Sent::Records(vec![1007]), eight]]);
    rig.give(0, StreamElement::EndOfInput);
    rig.flush();
    rig.give(1, StreamElement::EndOfInput);
    assert_eq!(rig.flush(), [vec![Sent::Records(vec![1100]), Sent::End], vec![Sent::End]], "the end says it all");
    assert!(rig.subtask.participant.is_finished());
    for channel in [0, 1] {
        rig.give(channel, barrier(1));
    }
    assert_eq!(rig.flush(), [vec![Sent::Barrier(1)], vec![Sent::Barrier(1)]], "nothing but barriers follows the end");
}

#[test]
fn a_barrier_does_not_wait_for_what_is_due_and_its_watermark_is_the_one_before() {
    let mut rig = Rig::with_timers(&[5, 7]);
    rig.give(0, mark(active(3)));
    rig.give(1, mark(active(9)));
    rig.flush();
    rig.give(1, barrier(1));
    rig.give(0, mark(active(8)));
    // The first row is given, the other not yet.
    assert_eq!(rig.subtask.need(), Need::Wait(Some(ProcessingTime(0))), "no batch, or else a turn at once");
    rig.step(SubtaskInput::Element(ChannelIndex(0), barrier(1)));
    assert_eq!(rig.snapshots[0].time.event_time, Timestamp(8));
    let left = rig.flush();
    let before: Vec<_> = left[1].iter().take_while(|sent| **sent != Sent::Barrier(1)).collect();
    assert!(!before.contains(&&Sent::Mark(active(8))), "{left:?}");
}

#[test]
fn behind_the_barrier_of_a_stop_nothing_is_made_due() {
    let mut rig = Rig::with_timers(&[5, 7]);
    rig.give(0, mark(active(8)));
    rig.give(1, a_barrier(1, true));
    rig.give(0, a_barrier(1, true));
    let [first, _] = rig.flush();
    assert_eq!(first, [Sent::Barrier(1)], "channel 1 has not said anything");
    rig.subtask.time_moved = true;
    assert_eq!(rig.subtask.need(), Need::Input(None));
    assert_eq!(rig.flush(), [vec![], vec![]]);
}

#[test]
fn the_head_of_a_loop_holds_time_until_the_loop_has_ended() {
    let feedback = InputEdge { is_feedback: true, ..edge(1, 1) };
    let mut rig = Rig::new(vec![edge(0, 1), feedback]);
    rig.give(0, mark(active(8)));
    rig.give(0, StreamElement::EndOfInput);
    rig.give(1, mark(active(9)));
    assert_eq!(rig.flush(), [vec![], vec![]]);
    rig.step(SubtaskInput::Control(Control::EndLoop));
    let end = vec![Sent::Mark(Watermark::END), Sent::End];
    assert_eq!(rig.flush(), [end.clone(), end]);
}

#[test]
fn without_time_no_watermark_goes_anywhere() {
    let mut rig = Rig::new(vec![InputEdge { is_timed: false, ..edge(0, 1) }]);
    rig.give(0, barrier(1));
    rig.flush();
    rig.give(0, StreamElement::EndOfInput);
    assert_eq!(rig.flush(), [vec![Sent::End], vec![Sent::End]]);
    assert_eq!(rig.snapshots[0].time, GateTime::default());
}

#[test]
fn outputs_do_not_grow_with_watermarks() {
    let mut rig = Rig::new(vec![edge(0, 1)]);
    for time in 0..10_000 {
        // An overtaking barrier or an impatient driver may step a subtask whose outputs are full.
        rig.later(LONG);
        rig.step(SubtaskInput::Element(ChannelIndex(0), mark(active(time))));
        let slice_clock = Hand(AtomicU64::new(rig.clock.0.load(Ordering::SeqCst)));
        let mut stride = 1;
        rig.subtask.pass_time(true, &Slice::new(&slice_clock, LONG, 1, &mut stride)).unwrap();
    }
    assert_eq!(rig.settle(), [vec![Sent::Mark(active(9_999))], vec![Sent::Mark(active(9_999))]]);
}

fn in_flight(channel: u32, batches: Vec<Vec<u8>>) -> InFlightRecord {
    let (edge, subtask, channel) = ("edge 0".into(), SubtaskIndex(0), ChannelIndex(channel));
    InFlightRecord { edge, subtask, parallelism: 1, channels: 2, channel, batches }
}

fn time(subtask: u32, parallelism: u32, event_time: i64, channels: Vec<Watermark>) -> EdgeTime {
    let (edge, subtask, event_time) = ("edge 0".into(), SubtaskIndex(subtask), Timestamp(event_time));
    EdgeTime { edge, subtask, parallelism, event_time, channels }
}

fn encoded(record: u64) -> Vec<u8> {
    vec![stamped(record)].encode().unwrap()
}

#[test]
fn a_restored_subtask_says_first_what_it_knew_and_what_was_in_flight_comes_on_its_own_channel() {
    let batches = vec![encoded(1), active(8).to_bytes(), encoded(2)];
    let times = vec![time(0, 1, 4, vec![active(4), active(9)])];
    let mut rig = Rig::restored(vec![edge(0, 2)], &[], context(1, vec![in_flight(0, batches)], times));
    assert_eq!(rig.subtask.need(), Need::Turn);
    let [first, second] = rig.flush();
    let (four, eight) = (Sent::Mark(active(4)), Sent::Mark(active(8)));
    assert_eq!(first[..2], [four.clone(), Sent::Records(vec![1])]);
    assert_eq!(second[0], four);
    assert_eq!((first.last(), second.last()), (Some(&eight), Some(&eight)));
    assert_eq!(rig.subtask.gate.times().channels, [active(8), active(9)]);
    for (channel, again) in [(0, active(8)), (1, active(9))] {
        rig.give(channel, mark(again));
        assert_eq!(rig.flush(), [vec![], vec![]], "said again");
    }
}

#[test]
fn what_was_in_flight_to_another_subtask_says_nothing_of_time_here() {
    let mine = InFlightRecord { parallelism: 2, ..in_flight(0, vec![encoded(1)]) };
    let other = InFlightRecord { subtask: SubtaskIndex(1), ..mine.clone() };
    let other = InFlightRecord { batches: vec![active(8).to_bytes(), encoded(2)], ..other };
    let by_key = InputEdge { by_key: true, ..edge(0, 2) };
    let mut rig = Rig::restored(vec![by_key], &[], context(2, vec![mine, other], Vec::new()));
    assert_eq!(rig.flush(), [vec![Sent::Records(vec![1])], vec![]]);
    assert_eq!(rig.subtask.gate.times().channels, [Watermark::NONE; 2]);
}

#[test]
fn with_another_parallelism_time_begins_at_the_least_and_watermarks_in_flight_are_dropped() {
    let batches = vec![encoded(1), active(8).to_bytes()];
    let times = vec![time(0, 2, 6, vec![active(6), active(9)]), time(1, 2, 4, vec![active(4), active(5)])];
    let stored = InFlightRecord { parallelism: 2, ..in_flight(1, batches) };
    let mut rig = Rig::restored(vec![edge(0, 2)], &[], context(1, vec![stored], times));
    let [first, second] = rig.flush();
    assert_eq!(first, [Sent::Mark(active(4)), Sent::Records(vec![1])]);
    assert_eq!(second, [Sent::Mark(active(4))]);
    assert_eq!(rig.subtask.gate.times().channels, [active(4), active(4)]);
}

/// What came from one subtask may come from another when splits are dealt out anew, though this edge looks as it did.
#[test]
fn when_any_chain_is_rescaled_channels_begin_at_the_least_and_watermarks_in_flight_are_dropped() {
    let times = vec![time(0, 2, 6, vec![active(9), active(6)]), time(1, 2, 4, vec![active(9), active(4)])];
    let stored = InFlightRecord { parallelism: 2, ..in_flight(0, vec![encoded(1), active(12).to_bytes()]) };
    for (is_rescaled, event_time, channels) in [(false, 6, [active(12), active(6)]), (true, 4, [active(4), active(4)])]
    {
        let context = OpenContext { is_rescaled, ..context(2, vec![stored.clone()], times.clone()) };
        let mut rig = Rig::restored(vec![edge(0, 2)], &[], context);
        rig.flush();
        assert_eq!(rig.subtask.gate.watermark(), active(event_time));
        assert_eq!(rig.subtask.gate.times().channels, channels);
    }
}

#[test]
fn over_several_edges_the_earliest_counts_and_nothing_is_known_of_a_new_one() {
    let times = vec![time(0, 1, 6, vec![active(6), active(9)])];
    let mut rig = Rig::restored(vec![edge(0, 2), edge(2, 1)], &[], context(1, Vec::new(), times.clone()));
    assert_eq!((rig.subtask.gate.watermark(), rig.flush()), (Watermark::NONE, [vec![], vec![]]));
    rig.give(2, mark(active(7)));
    assert_eq!(rig.flush()[0], [Sent::Mark(active(6))]);
    let untimed = InputEdge { is_timed: false, ..edge(2, 1) };
    let rig = Rig::restored(vec![edge(0, 2), untimed], &[], context(1, Vec::new(), times));
    assert_eq!(rig.subtask.gate.watermark(), active(6));
}

#[test]
fn a_watermark_in_flight_is_told_from_a_batch_by_its_first_byte() {
    for mark in [Watermark::NONE, Watermark::END, active(-1), idle(1 << 40)] {
        let bytes = mark.to_bytes();
        assert_eq!((bytes.len(), Watermark::of_bytes(&bytes)), (10, Some(mark)));
        assert_eq!(Watermark::of_bytes(&bytes[..9]), None);
    }
    assert_eq!(active(258).to_bytes(), [0xc1, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Watermark::of_bytes(&[0xc1, 2, 0, 0, 0, 0, 0, 0, 0, 0]), None, "of a version to come");
}
