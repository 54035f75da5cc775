//! What steps and exchanges do with the stamps they are given. Each record is a number, and its time is seven times that.

use std::{any::Any, sync::Arc, time::Duration};

use crate::{
    error::BoxError,
    id::{ChannelIndex, ProcessingTime, SubtaskIndex},
    operator::{Operator, input::Input},
    record::Record,
    slice::{Clock, Slice, Stop},
    state,
    time::{Stamped, Timestamp},
    topology::{
        KeyedStream, Stream,
        graph::{BuildContext, EdgeIndex, EdgeWidth, SharedGraph},
        stream::received,
    },
};

const RECORDS: u64 = 50;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(0)
    }

    fn epoch(&self) -> Duration {
        Duration::ZERO
    }
}

fn time_of(number: u64) -> Timestamp {
    Timestamp(number as i64 * 7)
}

fn timed<T: Record>() -> Stream<Input<T, Timestamp>> {
    let graph = SharedGraph::default();
    let step = graph.lock().add_step("fed", None, None);
    received(graph, step, Vec::new())
}

fn batch<T>(record: impl Fn(u64) -> T) -> Vec<Stamped<T, Timestamp>> {
    (0..RECORDS).map(|number| Stamped { record: record(number), time: time_of(number) }).collect()
}

fn with_context<R>(outputs: &[EdgeIndex], run: impl FnOnce(&BuildContext<'_>) -> R) -> R {
    let addresses: Vec<Arc<str>> = (0..32).map(|step| step.to_string().into()).collect();
    let edges = [EdgeWidth { parallelism: 2, one_to_one: false }; 4];
    run(&BuildContext {
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 128,
        batch_size: 8,
        addresses: &addresses,
        edges: &edges,
        outputs,
    })
}

/// What the steps give when they are stopped behind each record, so that whatever they can keep of one they keep.
fn one_by_one<O: Operator, T: Record>(steps: Stream<O>, batch: Vec<Stamped<T, Timestamp>>) -> Vec<(O::Out, O::Time)> {
    let mut last = with_context(&[], |context| (steps.build)(context));
    last.feed(Box::new(batch));
    let mut given = Vec::new();
    while last.has_leftover() {
        let mut stride = 1;
        let mut slice = Slice::new(&StoppedClock, Duration::from_secs(1), u64::MAX, &mut stride);
        let flow = last.drive(&mut slice, &mut |_, record, time| {
            given.push((record, time));
            Err(Stop::Yield)
        });
        if let Err(Stop::Failed(error)) = flow {
            panic!("{error}");
        }
    }
    given
}

fn have_their_time(given: &[(u64, Timestamp)], times: usize) {
    assert_eq!(given.len(), RECORDS as usize * times);
    given.iter().for_each(|(number, time)| assert_eq!(*time, time_of(*number), "of {number}"));
}

#[test]
fn a_step_gives_what_comes_of_a_record_the_stamp_of_that_record() {
    have_their_time(&one_by_one(timed().map(|n: u64| n), batch(|n| n)), 1);
    have_their_time(&one_by_one(timed().filter(|_: &u64| true), batch(|n| n)), 1);
    have_their_time(&one_by_one(timed().inspect(|_: &u64| ()), batch(|n| n)), 1);
    have_their_time(&one_by_one(timed().try_map(|n: u64| Ok::<_, BoxError>(n)), batch(|n| n)), 1);
    have_their_time(&one_by_one(timed().flat_map(|n: u64| [n, n, n]), batch(|n| n)), 3);
    let diverted = timed().try_map_or_divert(0, |n: &u64| if n.is_multiple_of(2) { Ok(*n) } else { Err("odd") });
    let diverted = diverted.map(|n| n.unwrap_or_else(|diverted| diverted.record));
    have_their_time(&one_by_one(diverted, batch(|n| n)), 1);
    let thrice = timed().process_operator("thrice", state::list::<u64>("seen"), |n: u64, seen, out| {
        seen.push(n);
        (0..3).for_each(|_| out.emit(n));
    });
    have_their_time(&one_by_one(thrice, batch(|n| n)), 3);
}

#[test]
fn a_keyed_step_gives_what_comes_of_a_record_the_stamp_of_that_record() {
    let keyed = || KeyedStream { stream: timed::<(u64, u64)>() };
    let records = || batch(|n| (n % 3, n));
    let newest = keyed().fold("newest", 0, |newest: &mut u64, n| *newest = n);
    have_their_time(&one_by_one(newest.map(|(_, n)| n), records()), 1);
    let newest = keyed().reduce("newest", |newest, n| *newest = n);
    have_their_time(&one_by_one(newest.map(|(_, n)| n), records()), 1);
    let twice = keyed().process::<u64, _, _>("twice", |_, n, _, out| (0..2).for_each(|_| out.emit(n)));
    have_their_time(&one_by_one(twice, records()), 2);
}

/// Runs the one chain of a graph over a batch, and gives what its channels got.
fn sent<T: Record, R: Record>(graph: &SharedGraph, batch: Vec<Stamped<T, Timestamp>>) -> Vec<(R, Timestamp)> {
    let graph = graph.lock();
    let mut chain = with_context(&graph.chains[0].outputs, |context| (graph.chains[0].build)(context));
    chain.feed(Box::new(batch));
    let mut given = Vec::new();
    while chain.head().has_leftover() {
        let mut stride = 1;
        let mut slice = Slice::new(&StoppedClock, Duration::from_secs(1), u64::MAX, &mut stride);
        let _ = chain.run(&mut slice);
        chain.tail().flush();
        for channel in (0..chain.tail().channels() as u32).map(ChannelIndex) {
            while let Some(element) = chain.tail().take_ready(channel) {
                let crate::StreamElement::Batch(batch) = element else { continue };
                let batch: Box<dyn Any> = batch;
                let batch = batch.downcast::<Vec<Stamped<R, Timestamp>>>().unwrap();
                given.extend(batch.into_iter().map(|stamped| (stamped.record, stamped.time)));
            }
        }
    }
    given
}

#[test]
fn an_exchange_carries_each_record_s_stamp() {
    fn graph_of<O>(stream: &Stream<O>) -> SharedGraph {
        stream.graph.clone()
    }
    fn values(sent: Vec<((u64, u64), Timestamp)>) -> Vec<(u64, Timestamp)> {
        sent.into_iter().map(|((_, n), time)| (n, time)).collect()
    }
    let keyed = timed::<u64>().key_by(|n| n % 3).entries();
    have_their_time(&values(sent(&graph_of(&keyed), batch(|n| n))), 1);
    let keyed = timed::<u64>().keyed(|n| (n % 3, n)).entries();
    have_their_time(&values(sent(&graph_of(&keyed), batch(|n| n))), 1);
    have_their_time(&sent(&graph_of(&timed::<u64>().rebalance()), batch(|n| n)), 1);
    have_their_time(&sent(&graph_of(&timed::<u64>().broadcast()), batch(|n| n)), 2);
    let shared = timed::<u64>().share();
    let (first, _second) = (shared.stream(), shared.stream());
    have_their_time(&sent(&graph_of(&first), batch(|n| n)), 2);
}
