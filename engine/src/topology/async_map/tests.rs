//! Requests on a subtask that is driven by hand, to a service that answers when it is told to.

#![allow(clippy::unwrap_used)]

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{self, Poll, Waker},
};

use proptest::prelude::*;

use super::*;
use crate::{
    NotRetryable,
    chain::{Chain, FusedChain},
    checkpoint::{
        config::CheckpointConfig,
        coordinator::SubtaskReport,
        layout::EdgeLayout,
        snapshot::{CheckpointMetadata, EdgeTime, OperatorKind, OperatorRecord, SubtaskId, SubtaskSnapshot},
    },
    element::{CheckpointBarrier, StreamElement, Watermark},
    error::Error,
    id::{Attempt, ChannelIndex, CheckpointId, JobId, ProcessingTime, SubtaskIndex},
    operator::{Input, OpenContext, divert::Diverted},
    output::exchange::{Exchange, InTurn},
    request::{Request, RequestId},
    slice::Slice,
    subtask::{
        Completion, InputEdge, Need, Subtask, SubtaskEffect, SubtaskInput,
        tests::{Hand, NoState},
    },
    time::{Stamped, Timestamp},
    topology::graph::{BuildContext, EdgeWidth, SharedGraph, StepIndex},
};

/// What the service says of a record.
#[derive(Clone, Debug)]
enum Says {
    /// The record, and ten times it.
    Yes,
    No(&'static str),
    Never,
    Panic,
}

#[derive(Clone, Default)]
struct Service(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By record: to each try in turn.
    says: BTreeMap<u64, VecDeque<Says>>,
    /// Records in the order in which they were asked, and when.
    asked: Vec<u64>,
    alive: usize,
    most_alive: usize,
}

/// Asked for this record, the closure panics before it has made a future.
const AT_ONCE: u64 = 999;

/// As long as a future is.
struct Alive(Service);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().alive -= 1;
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, record: u64) -> impl Future<Output = Result<(u64, u64), BoxError>> + Send + use<> {
        assert!(record != AT_ONCE, "of {record} at once");
        let alive = Alive(self.clone());
        let mut inner = self.lock();
        inner.asked.push(record);
        inner.alive += 1;
        inner.most_alive = inner.most_alive.max(inner.alive);
        drop(inner);
        async move {
            let says = future::poll_fn(|_| {
                let mut inner = alive.0.lock();
                inner.says.get_mut(&record).and_then(VecDeque::pop_front).map_or(Poll::Pending, Poll::Ready)
            });
            match says.await {
                Says::Yes => Ok((record, record * 10)),
                Says::No(error) => Err(error.into()),
                Says::Never => Err(NotRetryable::new("never").into()),
                Says::Panic => panic!("of {record}"),
            }
        }
    }

    fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().asked)
    }

    fn alive(&self) -> usize {
        self.lock().alive
    }

    fn most_alive(&self) -> usize {
        self.lock().most_alive
    }
}

/// What left.
#[derive(Clone, Debug, PartialEq)]
enum Sent {
    /// With its time.
    Row(u64, i64),
    Mark(i64),
    Idle(i64),
    Barrier(u64),
    End,
}

use Sent::{Barrier, End, Idle, Mark, Row};

fn fed() -> Stream<Input<u64, Timestamp>> {
    let graph = SharedGraph::default();
    let step = graph.lock().add_step("fed", None, None);
    received(graph, step, Vec::new())
}

fn built<O>(stream: &Stream<O>) -> O {
    let addresses: Vec<Arc<str>> = ["fed", "ask"].map(Arc::from).to_vec();
    let edges = [EdgeWidth { parallelism: 1, one_to_one: true }; 4];
    (stream.build)(&BuildContext {
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 8,
        batch_size: 4,
        addresses: &addresses,
        edges: &edges,
        outputs: &[],
    })
}

/// Rows of what was diverted are the number of tries.
fn chain(config: &AsyncConfig, service: &Service, diverts: bool) -> Box<dyn Chain> {
    let (service, config) = (service.clone(), config.clone());
    let ask = move |record| service.ask(record);
    let tail = Exchange::new(1, 4, InTurn::starting_at(0));
    if !diverts {
        let asking = fed().map_async("ask", config, ask).map(|(record, ten)| {
            assert_eq!(ten, record * 10);
            record
        });
        return Box::new(FusedChain::new(built(&asking), tail));
    }
    let asking =
        fed().map_async_or_divert("ask", config, ask).map(|row: Result<(u64, u64), Diverted<u64>>| match row {
            Ok((record, _)) => record,
            Err(diverted) => {
                assert!(diverted.error.contains("no") || diverted.error.contains("panicked: of"), "{diverted:?}");
                1_000 * u64::from(diverted.failures) + diverted.record
            }
        });
    Box::new(FusedChain::new(built(&asking), tail))
}

fn context(stored: &[SubtaskSnapshot], subtask: u32, parallelism: u32) -> OpenContext {
    let subtasks = stored.iter().map(|snapshot| snapshot.operators[0].1.clone()).collect();
    let times = stored.iter().zip(0..).map(|(snapshot, number)| EdgeTime {
        edge: "edge".into(),
        subtask: SubtaskIndex(number),
        parallelism: stored.len() as u32,
        event_time: snapshot.time.event_time,
        channels: snapshot.time.channels.clone(),
    });
    let restored = CheckpointMetadata {
        job: JobId(1),
        job_name: "job".into(),
        checkpoint: CheckpointId(0),
        attempt: Attempt(1),
        max_parallelism: 8,
        finished: false,
        draining: false,
        operators: vec![OperatorRecord {
            uid: "ask".into(),
            kind: OperatorKind::Operator,
            states: Vec::new(),
            subtasks,
        }],
        in_flight: Vec::new(),
        times: times.collect(),
        origin: None,
    };
    OpenContext {
        job: JobId(1),
        job_name: "job".into(),
        attempt: Attempt(1),
        subtask: SubtaskIndex(subtask),
        parallelism,
        max_parallelism: 8,
        restored: Arc::new(restored),
        is_rescaled: stored.len() != parallelism as usize,
        reader: Arc::new(NoState),
        heap_share: None,
        state_place: "here".into(),
        failed_records: Arc::default(),
        fail_points: Default::default(),
    }
}

/// One subtask with one channel, and what its driver has of it.
struct Rig {
    subtask: Subtask,
    service: Service,
    clock: Hand,
    channel: VecDeque<StreamElement>,
    requests: BTreeMap<RequestId, Request>,
    snapshots: Vec<SubtaskSnapshot>,
    has_finished: bool,
    sent: Vec<Sent>,
    failure: Option<Error>,
}

impl Rig {
    fn new(config: &AsyncConfig) -> Self {
        Self::of(config, &Service::default(), false, &context(&[], 0, 1))
    }

    fn of(config: &AsyncConfig, service: &Service, diverts: bool, context: &OpenContext) -> Self {
        let layout = EdgeLayout { name: "edge".into(), chain: 0, first: ChannelIndex(0), channels: 1 };
        let edge = InputEdge {
            layout,
            by_key: false,
            is_forward: false,
            is_broadcast: false,
            is_feedback: false,
            is_timed: true,
            lift: None,
        };
        let id = SubtaskId { chain: 0, index: context.subtask };
        let steps = Arc::new([(StepIndex(1), "ask".to_string())]);
        let chain = chain(config, service, diverts);
        let mut subtask = Subtask::new(id, context, steps, chain, vec![edge], &CheckpointConfig::default());
        subtask.open(context).unwrap();
        let mut rig = Self {
            subtask,
            service: service.clone(),
            clock: Hand::default(),
            channel: VecDeque::new(),
            requests: BTreeMap::new(),
            snapshots: Vec::new(),
            has_finished: false,
            sent: Vec::new(),
            failure: None,
        };
        rig.settle();
        rig
    }

    /// Each record's time is its own number.
    fn feed(&mut self, records: &[u64]) {
        let stamped = |record: &u64| Stamped { record: *record, time: Timestamp(*record as i64) };
        self.give(StreamElement::Batch(Box::new(records.iter().map(stamped).collect::<Vec<_>>())));
    }

    fn mark(&mut self, time: i64, is_idle: bool) {
        self.give(StreamElement::Watermark(Watermark { time: Timestamp(time), is_idle }));
    }

    fn barrier(&mut self, checkpoint: u64, halt: bool) {
        let (attempt, triggered) = (Attempt(1), ProcessingTime(0));
        let checkpoint = CheckpointId(checkpoint);
        self.give(StreamElement::barrier(CheckpointBarrier { checkpoint, attempt, triggered, overtakes: None, halt }));
    }

    fn end(&mut self) {
        self.give(StreamElement::EndOfInput);
    }

    fn give(&mut self, element: StreamElement) {
        self.channel.push_back(element);
        self.settle();
    }

    fn says(&mut self, record: u64, says: Says) {
        self.service.lock().says.entry(record).or_default().push_back(says);
        self.poll();
    }

    fn answers(&mut self, records: &[u64]) {
        records.iter().for_each(|record| self.says(*record, Says::Yes));
    }

    /// Polls what is under way, until nothing more is answered.
    fn poll(&mut self) {
        let mut task = task::Context::from_waker(Waker::noop());
        loop {
            let ready = self.requests.extract_if(.., |_, request| request.as_mut().poll(&mut task).is_ready());
            let ready: Vec<_> = ready.map(|(id, _)| id).collect();
            if ready.is_empty() {
                return;
            }
            for id in ready {
                self.step(SubtaskInput::Completion(Completion::Answered(id)));
            }
            self.settle();
        }
    }

    fn later(&mut self, millis: u64) {
        self.clock.0.fetch_add(millis * 1_000_000, Ordering::SeqCst);
        self.settle();
    }

    fn step(&mut self, input: SubtaskInput) {
        let (mut stride, mut effects) = (1, Vec::new());
        let mut slice = Slice::new(&self.clock, Duration::from_secs(1), 3, &mut stride);
        if let Err(error) = self.subtask.step(input, &mut slice, &mut effects) {
            self.failure = Some(error);
            return;
        }
        for effect in effects {
            match effect {
                SubtaskEffect::Ask(id, request) => assert!(self.requests.insert(id, request).is_none(), "asked twice"),
                SubtaskEffect::Forget(id) => drop(self.requests.remove(&id)),
                SubtaskEffect::Report(SubtaskReport::Acknowledged(_, snapshot)) => self.snapshots.push(*snapshot),
                SubtaskEffect::Report(SubtaskReport::Finished) => self.has_finished = true,
                _ => {}
            }
        }
    }

    /// What an actor does, until there is nothing left to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.failure.is_some() {
                return;
            }
            let need = self.subtask.need();
            match need {
                Need::Room => self.take(),
                Need::Turn => self.step(SubtaskInput::Resume),
                Need::Input(until) | Need::Wait(until) => {
                    let is_batch = matches!(self.channel.front(), Some(StreamElement::Batch(_)));
                    let may_read =
                        self.subtask.can_read(ChannelIndex(0), false) && !(is_batch && matches!(need, Need::Wait(_)));
                    if let Some(element) = self.channel.pop_front_if(|_| may_read) {
                        self.step(SubtaskInput::Element(ChannelIndex(0), element));
                    } else if until.is_some_and(|time| time.0 <= self.clock.0.load(Ordering::SeqCst)) {
                        self.step(SubtaskInput::Resume);
                    } else if !self.subtask.flush() {
                        self.take();
                        return;
                    }
                }
            }
        }
        panic!("it spins: {:?}", self.subtask.need());
    }

    fn take(&mut self) {
        while let Some(element) = self.subtask.take_ready(ChannelIndex(0)) {
            match element {
                StreamElement::Batch(batch) => {
                    let batch: Box<dyn Any> = batch;
                    let rows: Vec<Stamped<u64, Timestamp>> = *batch.downcast().unwrap();
                    self.sent.extend(rows.into_iter().map(|row| Row(row.record, row.time.0)));
                }
                StreamElement::Watermark(Watermark { time, is_idle: false }) => self.sent.push(Mark(time.0)),
                StreamElement::Watermark(Watermark { time, is_idle: true }) => self.sent.push(Idle(time.0)),
                StreamElement::Barrier(barrier, _) => self.sent.push(Barrier(barrier.checkpoint.0)),
                StreamElement::EndOfInput => self.sent.push(End),
            }
        }
    }

    fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// A subtask that goes on from the newest snapshot.
    fn restored(&self, config: &AsyncConfig) -> Self {
        let newest = self.snapshots.last().map(std::slice::from_ref).unwrap_or_default();
        Self::of(config, &Service::default(), false, &context(newest, 0, 1))
    }
}

fn rows(records: impl IntoIterator<Item = u64>) -> Vec<Sent> {
    records.into_iter().map(|record| Row(record, record as i64)).collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn ordered_what_is_answered_waits_for_what_came_before() {
    let mut rig = Rig::new(&AsyncConfig::ordered(10));
    rig.feed(&[1, 2, 3]);
    assert_eq!(rig.service.asked(), [1, 2, 3]);
    rig.answers(&[3, 2]);
    assert_eq!(rig.sent(), []);
    rig.answers(&[1]);
    assert_eq!(rig.sent(), rows([1, 2, 3]));
}

#[test]
fn unordered_what_is_answered_leaves_but_not_from_behind_a_watermark_that_waits() {
    let mut rig = Rig::new(&AsyncConfig::unordered(10));
    rig.feed(&[1, 2]);
    rig.mark(2, false);
    rig.feed(&[13, 14]);
    rig.mark(14, false);
    rig.answers(&[14]);
    assert_eq!(rig.sent(), [], "2 is in front of it");
    rig.answers(&[2]);
    assert_eq!(rig.sent(), rows([2]));
    rig.answers(&[1]);
    assert_eq!(rig.sent(), [rows([1, 14]), vec![Mark(2)]].concat());
    rig.answers(&[13]);
    assert_eq!(rig.sent(), [rows([13]), vec![Mark(14)]].concat());
}

#[test]
fn ordered_a_watermark_keeps_its_place_too() {
    let mut rig = Rig::new(&AsyncConfig::ordered(10));
    rig.feed(&[1]);
    rig.mark(5, false);
    rig.feed(&[6]);
    rig.later(20);
    rig.answers(&[6]);
    assert_eq!(rig.sent(), []);
    rig.answers(&[1]);
    assert_eq!(rig.sent(), [rows([1, 6]), vec![Mark(5)]].concat());
}

#[test]
fn idle_it_is_once_nothing_is_under_way() {
    let mut rig = Rig::new(&AsyncConfig::ordered(10));
    rig.mark(5, true);
    assert_eq!(rig.sent(), [Idle(5)]);
    rig.feed(&[6]);
    assert_eq!(rig.sent(), [Mark(5)], "a record will come");
    rig.mark(5, true);
    assert_eq!(rig.sent(), []);
    rig.answers(&[6]);
    assert_eq!(rig.sent(), [rows([6]), vec![Idle(5)]].concat());
}

#[test]
fn no_more_are_asked_than_the_capacity_and_no_batch_is_read() {
    for config in [AsyncConfig::ordered(3), AsyncConfig::unordered(3)] {
        let mut rig = Rig::new(&config);
        rig.feed(&[1, 2, 3, 4, 5]);
        rig.feed(&[6, 7]);
        assert_eq!((rig.service.asked(), rig.channel.len()), (vec![1, 2, 3], 1));
        assert!(matches!(rig.subtask.need(), Need::Wait(None)));
        rig.answers(&[1]);
        assert_eq!((rig.service.asked(), rig.channel.len()), (vec![4], 1));
        rig.answers(&[2, 3]);
        assert_eq!((rig.service.asked(), rig.channel.len()), (vec![5, 6], 0));
        rig.answers(&[4, 5, 6, 7]);
        assert_eq!(rig.sent(), rows(1..=7));
        assert_eq!((rig.service.most_alive(), rig.service.alive()), (3, 0));
    }
}

#[test]
fn what_is_answered_and_may_not_leave_counts_as_under_way() {
    let mut rig = Rig::new(&AsyncConfig::ordered(2));
    rig.feed(&[1, 2, 3]);
    rig.answers(&[2]);
    assert_eq!(rig.service.asked(), [1, 2]);
    rig.answers(&[1]);
    assert_eq!(rig.service.asked(), [3]);
}

#[test]
fn a_barrier_waits_for_no_answer_and_what_is_under_way_is_asked_again_in_order() {
    let config = AsyncConfig::ordered(2);
    let mut rig = Rig::new(&config);
    rig.feed(&[1, 2, 3]);
    rig.answers(&[2]);
    assert!(matches!(rig.subtask.need(), Need::Wait(_)), "it is full, and reads a barrier all the same");
    rig.barrier(1, false);
    assert_eq!(rig.sent(), [Barrier(1)]);
    assert!(rig.snapshots[0].is_pending);
    rig.answers(&[1]);
    assert_eq!(rig.sent(), rows([1, 2]));

    let mut restored = rig.restored(&config);
    assert_eq!(restored.service.asked(), [1, 2]);
    restored.answers(&[1, 2, 3]);
    assert_eq!((restored.sent(), restored.service.asked()), (rows(1..=3), vec![3]));
    restored.barrier(2, false);
    assert!(!restored.snapshots[0].is_pending);
}

#[test]
fn a_watermark_of_before_waits_for_what_was_restored() {
    let config = AsyncConfig::unordered(10);
    let mut rig = Rig::new(&config);
    rig.feed(&[1, 2]);
    rig.mark(5, false);
    rig.barrier(1, false);
    let mut restored = rig.restored(&config);
    restored.later(100);
    restored.answers(&[1]);
    assert_eq!(restored.sent(), rows([1]));
    restored.answers(&[2]);
    assert_eq!(restored.sent(), [rows([2]), vec![Mark(5)]].concat());
}

#[test]
fn on_another_number_of_subtasks_requests_are_dealt_out() {
    let config = AsyncConfig::ordered(1);
    let mut rig = Rig::new(&config);
    rig.feed(&[1, 2, 3, 4, 5]);
    rig.barrier(1, false);
    let mut all = Vec::new();
    let mut snapshots = Vec::new();
    for subtask in 0..3 {
        let mut one = Rig::of(&config, &Service::default(), false, &context(&rig.snapshots, subtask, 3));
        one.barrier(2, false);
        snapshots.push(one.snapshots[0].clone());
        one.answers(&[1, 2, 3, 4, 5]);
        all.extend(one.service.asked());
    }
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5]);
    let mut one = Rig::of(&config, &Service::default(), false, &context(&snapshots, 0, 1));
    one.answers(&[1, 2, 3, 4, 5]);
    let mut all = one.service.asked();
    all.sort_unstable();
    assert_eq!((all, one.service.most_alive()), (vec![1, 2, 3, 4, 5], 1));
}

#[test]
fn the_end_waits_for_all_answers_and_a_stop_for_none() {
    let config = AsyncConfig::unordered(2);
    let mut rig = Rig::new(&config);
    rig.feed(&[1, 2, 3]);
    rig.end();
    assert!(matches!(rig.subtask.need(), Need::Input(None)), "barriers may come");
    rig.answers(&[2, 1]);
    assert_eq!((rig.sent(), rig.has_finished), (rows([2, 1]), false));
    rig.answers(&[3]);
    assert_eq!((rig.sent(), rig.has_finished), ([rows([3]), vec![Mark(i64::MAX), End]].concat(), true));
    let mut rig = Rig::new(&config);
    rig.feed(&[1, 2, 3]);
    rig.barrier(1, true);
    rig.later(1_000);
    rig.answers(&[1, 2]);
    assert_eq!(rig.sent(), [Barrier(1)], "nothing leaves behind the barrier of a stop");
    assert_eq!(rig.restored(&config).service.asked(), [1, 2]);
}

#[test]
fn while_the_end_waits_checkpoints_are_taken_and_a_stop_is_heard() {
    let config = AsyncConfig::ordered(2).timeout(millis(50)).retries(9, Backoff::constant(Duration::ZERO));
    let mut rig = Rig::new(&config);
    rig.feed(&[1, 2, 3]);
    rig.end();
    rig.barrier(1, false);
    rig.answers(&[1]);
    rig.barrier(2, false);
    assert_eq!(rig.sent(), [Barrier(1), Row(1, 1), Barrier(2)]);
    let mut stopped = rig.restored(&config);
    assert_eq!(stopped.service.asked(), [2, 3]);
    stopped.end();
    stopped.barrier(3, true);
    stopped.later(1_000);
    stopped.answers(&[2, 3]);
    assert_eq!(stopped.sent(), [Barrier(3)], "what is not answered has not ended");
    let mut restored = stopped.restored(&config);
    restored.end();
    for mut rig in [rig, restored] {
        rig.answers(&[2, 3]);
        assert_eq!(rig.sent(), [rows([2, 3]), vec![Mark(i64::MAX), End]].concat());
        rig.barrier(4, false);
        assert!(rig.has_finished && rig.snapshots.last().unwrap().finished);
    }
}

#[test]
fn a_request_that_takes_too_long_is_forgotten_and_fails_the_attempt() {
    let mut rig = Rig::new(&AsyncConfig::ordered(10).timeout(millis(50)));
    rig.feed(&[1]);
    rig.later(30);
    rig.feed(&[2]);
    rig.later(19);
    rig.answers(&[1]);
    assert!(rig.failure.is_none());
    rig.later(30);
    assert!(rig.failure.is_none(), "49 ms");
    rig.later(1);
    let failure = rig.failure.unwrap().to_string();
    assert_eq!(failure, "job 'job', operator 'ask', subtask 0 failed: no answer within 50ms");
}

#[test]
fn a_request_that_fails_is_made_again_after_longer_and_longer_pauses() {
    let backoff = Backoff::exponential(millis(10), millis(30));
    let mut rig = Rig::new(&AsyncConfig::ordered(1).timeout(millis(50)).retries(4, backoff));
    rig.feed(&[1, 2]);
    rig.says(1, Says::No("no"));
    for (tries, pause) in [10, 20].into_iter().enumerate() {
        rig.later(pause - 1);
        assert_eq!((rig.service.asked().len(), rig.service.alive()), (usize::from(tries == 0), 0), "{tries}");
        rig.later(1);
        assert_eq!(rig.service.asked(), [1], "{tries}");
        rig.says(1, if tries == 0 { Says::Panic } else { Says::No("no") });
    }
    // A timeout is a failed try, too; its future is dropped.
    rig.later(30);
    assert_eq!((rig.service.asked(), rig.service.alive()), (vec![1], 1));
    rig.later(50);
    assert_eq!(rig.service.alive(), 0);
    rig.later(30);
    rig.answers(&[1]);
    assert_eq!((rig.sent(), rig.service.asked()), (rows([1]), vec![1, 2]));
    assert_eq!(rig.service.most_alive(), 1);
}

#[test]
fn the_last_try_fails_the_attempt_and_the_error_says_how_often_it_failed() {
    let mut rig = Rig::new(&AsyncConfig::ordered(1).retries(2, Backoff::constant(Duration::ZERO)));
    rig.feed(&[1]);
    (0..3).for_each(|_| rig.says(1, Says::No("not today")));
    let failure = rig.failure.unwrap();
    let expected = "job 'job', operator 'ask', subtask 0 failed: failed 3 times, the last time: not today";
    assert_eq!(failure.to_string(), expected);
    assert!(failure.is_retryable());
}

#[test]
fn an_error_that_is_not_retryable_ends_the_job_at_once_and_a_panic_names_the_step() {
    for diverts in [false, true] {
        let config = AsyncConfig::ordered(1).retries(2, Backoff::constant(Duration::ZERO));
        let mut rig = Rig::of(&config, &Service::default(), diverts, &context(&[], 0, 1));
        rig.feed(&[1]);
        rig.says(1, Says::Never);
        assert!(!rig.failure.unwrap().is_retryable());
    }
    let mut rig = Rig::new(&AsyncConfig::ordered(1));
    rig.feed(&[7]);
    rig.says(7, Says::Panic);
    let failure = rig.failure.unwrap().to_string();
    assert_eq!(failure, "job 'job', operator 'ask', subtask 0 panicked: of 7");
}

#[test]
fn what_fails_to_the_last_is_diverted_in_its_place() {
    let config = AsyncConfig::ordered(10).timeout(millis(5)).retries(1, Backoff::constant(Duration::ZERO));
    let mut rig = Rig::of(&config, &Service::default(), true, &context(&[], 0, 1));
    rig.feed(&[1, 2, 3]);
    rig.says(2, Says::No("no"));
    rig.says(2, Says::Panic);
    rig.answers(&[3]);
    rig.later(5);
    rig.later(5);
    assert_eq!(rig.sent(), [Row(2_001, 1), Row(2_002, 2), Row(3, 3)]);
    assert_eq!(rig.service.alive(), 0);
}

#[test]
fn a_panic_before_there_is_a_future_is_a_failed_try_as_one_in_it_is() {
    let config = AsyncConfig::ordered(10).retries(1, Backoff::constant(Duration::ZERO));
    let mut rig = Rig::of(&config, &Service::default(), true, &context(&[], 0, 1));
    rig.feed(&[AT_ONCE]);
    rig.poll();
    assert_eq!(rig.sent(), [Row(2_000 + AT_ONCE, AT_ONCE as i64)]);
    let mut rig = Rig::new(&AsyncConfig::ordered(1));
    rig.feed(&[AT_ONCE]);
    rig.poll();
    let failure = rig.failure.unwrap().to_string();
    assert_eq!(failure, "job 'job', operator 'ask', subtask 0 panicked: of 999 at once");
}

#[derive(Clone, Debug)]
enum Event {
    /// So many records, from where the last ended.
    Batch(u64),
    /// Of all records so far.
    Mark,
    Barrier,
    /// The service answers the how manieth that it was asked and has not answered, or refuses.
    Answer(usize, bool),
    Later(u64),
    /// And goes on from the last barrier.
    Crash,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1..9_u64).prop_map(Event::Batch),
        3 => Just(Event::Mark),
        2 => Just(Event::Barrier),
        14 => (0..20_usize, proptest::bool::weighted(0.8)).prop_map(|(which, is_yes)| Event::Answer(which, is_yes)),
        3 => (0..30_u64).prop_map(Event::Later),
        1 => Just(Event::Crash),
    ];
    proptest::collection::vec(event, 0..120)
}

/// The input as it is: elements, each once, of which a reader knows how many it has been given.
#[derive(Clone, Copy)]
enum Given {
    Batch(u64, u64),
    Mark(i64),
}

struct Run {
    config: AsyncConfig,
    rig: Rig,
    input: Vec<Given>,
    records: u64,
    checkpoint: u64,
    /// Elements in front of the last barrier that was acknowledged, and what had been sent in front of it.
    stored: (usize, Vec<Sent>),
    /// Barriers given, with the elements in front of each.
    barriers: BTreeMap<u64, usize>,
    sent: Vec<Sent>,
    snapshot: Option<SubtaskSnapshot>,
}

impl Run {
    fn new(config: AsyncConfig) -> Self {
        let rig = Rig::new(&config);
        Self {
            config,
            rig,
            input: Vec::new(),
            records: 0,
            checkpoint: 0,
            stored: (0, Vec::new()),
            barriers: BTreeMap::new(),
            sent: Vec::new(),
            snapshot: None,
        }
    }

    fn do_one(&mut self, event: &Event) {
        match event {
            Event::Batch(records) => {
                self.input.push(Given::Batch(self.records, self.records + records));
                self.records += records;
                self.give(self.input.len() - 1);
            }
            Event::Mark => {
                self.input.push(Given::Mark(self.records as i64));
                self.give(self.input.len() - 1);
            }
            Event::Barrier => {
                self.checkpoint += 1;
                self.barriers.insert(self.checkpoint, self.input.len());
                self.rig.barrier(self.checkpoint, false);
            }
            Event::Answer(which, is_yes) => {
                let mut under_way = self.rig.service.asked();
                if !under_way.is_empty() {
                    let record = under_way.remove(which % under_way.len());
                    self.rig.says(record, if *is_yes { Says::Yes } else { Says::No("no") });
                }
                self.rig.service.lock().asked.splice(0..0, under_way);
            }
            Event::Later(millis) => self.rig.later(*millis),
            Event::Crash => self.crash(),
        }
        self.note();
    }

    fn give(&mut self, place: usize) {
        match self.input[place] {
            Given::Batch(from, to) => self.rig.feed(&(from..to).collect::<Vec<_>>()),
            Given::Mark(time) => self.rig.mark(time, false),
        }
    }

    /// Takes what was sent, and what was acknowledged.
    fn note(&mut self) {
        assert!(self.rig.failure.is_none(), "{:?}", self.rig.failure);
        let acknowledged = std::mem::take(&mut self.rig.snapshots).pop();
        for sent in self.rig.sent() {
            match sent {
                Barrier(checkpoint) => self.stored = (self.barriers[&checkpoint], self.sent.clone()),
                other => self.sent.push(other),
            }
        }
        self.snapshot = acknowledged.or(self.snapshot.take());
    }

    fn crash(&mut self) {
        let stored = self.snapshot.iter().cloned().collect::<Vec<_>>();
        let most_alive = self.rig.service.most_alive();
        assert!(most_alive <= self.config.capacity, "{most_alive} were under way");
        self.rig = Rig::of(&self.config, &Service::default(), false, &context(&stored, 0, 1));
        self.sent = self.stored.1.clone();
        for place in self.stored.0..self.input.len() {
            self.give(place);
        }
    }

    /// Answers all there is, and ends.
    fn finish(&mut self) {
        self.rig.end();
        for _ in 0..10_000 {
            let asked = self.rig.service.asked();
            asked.into_iter().for_each(|record| self.rig.says(record, Says::Yes));
            if self.rig.has_finished {
                break;
            }
            self.rig.later(10);
        }
        self.note();
        assert!(self.rig.has_finished, "it comes to an end");
        assert_eq!(self.rig.service.alive(), 0);
    }

    /// A loop over what was given.
    fn check(&self) {
        let row = |sent: &Sent| if let Row(row, _) = sent { Some(*row) } else { None };
        let rows: Vec<_> = self.sent.iter().filter_map(row).collect();
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..self.records).collect::<Vec<_>>(), "each once");
        if self.config.is_ordered {
            assert_eq!(rows, sorted, "in order");
        }
        let mut left = 0;
        for sent in &self.sent {
            match sent {
                Row(row, time) => {
                    assert_eq!(*row as i64, *time);
                    left += 1;
                }
                // All records in front of it are those with smaller numbers.
                Mark(time) if *time != i64::MAX => {
                    let before = rows[..left].iter().filter(|row| (**row as i64) < *time).count();
                    assert_eq!(before as i64, *time, "watermark {time} has overtaken an answer: {:?}", self.sent);
                }
                Idle(_) => panic!("nothing was idle"),
                _ => {}
            }
        }
        assert_eq!(self.sent.last(), Some(&End));
    }
}

fn configs() -> impl Strategy<Value = AsyncConfig> {
    (any::<bool>(), 1..7_usize, proptest::option::of(1..60_u64)).prop_map(|(is_ordered, capacity, timeout)| {
        let config = if is_ordered { AsyncConfig::ordered(capacity) } else { AsyncConfig::unordered(capacity) };
        let config = config.retries(u32::MAX, Backoff::exponential(millis(1), millis(10)));
        timeout.map_or(config.clone(), |timeout| config.timeout(millis(timeout)))
    })
}

proptest! {
    #[test]
    fn whatever_is_answered_refused_and_interrupted_each_record_leaves_once_in_front_of_its_watermark(
        config in configs(),
        events in events(),
    ) {
        let mut run = Run::new(config);
        events.iter().for_each(|event| run.do_one(event));
        run.finish();
        run.check();
    }
}
