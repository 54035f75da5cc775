//! The workloads as topologies.

use std::{sync::Arc, time::Duration};

use cofferdam::prelude::*;
use cofferdam_engine::window::{Tumbling, Windowed};

use crate::{
    Args,
    checksum_sink::{Checksum, ChecksumSink},
    for_seconds::{ForSeconds, Released},
    latency_sink::{Latencies, LatencySink, Until},
    recovery::{Observed, Recovery, fail_once},
    ticks::{Ticks, Timetable},
    workload::{
        AuctionOrBid, Bid, DISORDER, WINDOW, Workload, auction_or_bid, bid, is_kept, join_checksum, key, key_checksum,
        mapped, splitmix64, window_checksum,
    },
};

/// Something to run, and what to ask when it has run.
pub struct Prepared {
    pub topology: Topology,
    pub total: Box<dyn FnOnce() -> Checksum>,
    /// How many records each source instance gave.
    pub released: Box<dyn FnOnce() -> Vec<u64>>,
    /// What this workload alone measures.
    pub fields: Box<dyn FnOnce() -> Vec<(&'static str, String)>>,
}

/// W1 to W4, for a number of records or for a time.
pub fn plain(args: &Args, workload: Workload) -> Prepared {
    match (workload, args.seconds) {
        (Workload::KeyedCount { keys, hot }, None) => {
            keyed_count(Generator::bounded(args.records, move |i| key(i, keys, hot)), |key| *key, by_number(args))
        }
        (Workload::KeyedCount { keys, hot }, Some(seconds)) => {
            let (source, released) = for_seconds(seconds, move |i| key(i, keys, hot));
            keyed_count(source, |key| *key, released)
        }
        (Workload::MapFilter, None) => map_filter(Generator::bounded(args.records, splitmix64), by_number(args)),
        (Workload::MapFilter, Some(seconds)) => {
            let (source, released) = for_seconds(seconds, splitmix64);
            map_filter(source, released)
        }
        (Workload::WindowedBids, None) => windowed_bids(Generator::bounded(args.records, bid), by_number(args)),
        (Workload::WindowedBids, Some(seconds)) => {
            let (source, released) = for_seconds(seconds, bid);
            windowed_bids(source, released)
        }
        (Workload::Joined, None) => joined(Generator::bounded(args.records, auction_or_bid), by_number(args)),
        (Workload::Joined, Some(seconds)) => {
            let (source, released) = for_seconds(seconds, auction_or_bid);
            joined(source, released)
        }
    }
}

/// Counts the records by key.
pub fn keyed_count<R: Record>(
    source: impl Source<Record = R>,
    key: impl FnMut(&R) -> u64 + Clone + Send + 'static,
    released: Box<dyn FnOnce() -> Vec<u64>>,
) -> Prepared {
    let topology = Topology::new("workload");
    let sink = ChecksumSink::new(|(key, count): &(u64, u64)| key_checksum(*key, *count));
    let total = Box::new(sink.total());
    topology.source("records", source).key_by(key).fold("count", 0u64, |count, _| *count += 1).sink("checksum", sink);
    Prepared { topology, total, released, fields: Box::new(Vec::new) }
}

fn map_filter(source: impl Source<Record = u64>, released: Box<dyn FnOnce() -> Vec<u64>>) -> Prepared {
    let topology = Topology::new("workload");
    let sink = ChecksumSink::new(|m: &u64| *m);
    let total = Box::new(sink.total());
    topology.source("records", source).map(mapped).filter(|m| is_kept(*m)).rebalance().sink("checksum", sink);
    Prepared { topology, total, released, fields: Box::new(Vec::new) }
}

fn windowed_bids(source: impl Source<Record = Bid>, released: Box<dyn FnOnce() -> Vec<u64>>) -> Prepared {
    let topology = Topology::new("workload");
    let sink = ChecksumSink::new(|row: &Windowed<u64, u64>| {
        window_checksum(row.key, row.window.end.as_millis() as u64, row.value)
    });
    let total = Box::new(sink.total());
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(DISORDER));
    topology
        .source("records", source)
        .event_time("time", strategy, |bid| Timestamp::from_millis(bid.time as i64))
        .keyed(|bid| (bid.auction, bid.price))
        .window(Tumbling::of(Duration::from_millis(WINDOW)))
        .aggregate("highest", Highest)
        .sink("checksum", sink);
    Prepared { topology, total, released, fields: Box::new(Vec::new) }
}

/// Bids and auctions go to one step, which keeps the bids of auctions that it has not seen.
fn joined(source: impl Source<Record = AuctionOrBid>, released: Box<dyn FnOnce() -> Vec<u64>>) -> Prepared {
    let topology = Topology::new("workload");
    let sink = ChecksumSink::new(|(seller, price, bidder): &(u64, u64, u64)| join_checksum(*seller, *price, *bidder));
    let total = Box::new(sink.total());
    let (bids, auctions) = topology.source("records", source).part_keyed("auctions", |event| match event {
        AuctionOrBid::Bid { auction, bidder, price } => Part::Main((auction, (bidder, price))),
        AuctionOrBid::Auction { id, seller, category } => Part::Side((id, (seller, category))),
    });
    bids.keyed(|bid| bid)
        .connect(auctions)
        .process_with(
            "join",
            (state::value::<(u64, u8)>("auction"), state::list::<(u64, u64)>("pending")),
            |_, (bidder, price), (auction, pending), out| match auction.get() {
                Some((seller, _)) => out.emit((*seller, price, bidder)),
                None => pending.push((bidder, price)),
            },
            |_, new, (auction, pending), out| {
                auction.set(new);
                if !pending.is_empty() {
                    pending.iter().for_each(|(bidder, price)| out.emit((new.0, *price, *bidder)));
                    pending.clear();
                }
            },
        )
        .sink("checksum", sink);
    Prepared { topology, total, released, fields: Box::new(Vec::new) }
}

/// The highest of all prices. No price is 0.
#[derive(Clone)]
struct Highest;

impl Aggregate for Highest {
    type In = u64;
    type Accumulator = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, highest: &mut u64, price: u64) {
        *highest = price.max(*highest);
    }

    fn get(&self, highest: &u64) -> u64 {
        *highest
    }
}

/// W1 with one failure.
pub fn recovery(args: &Args) -> Prepared {
    let topology = Topology::new("workload");
    let keys = args.keys();
    let recovery = Arc::new(Recovery::default());
    let sink = ChecksumSink::new(|(key, count): &(u64, u64)| key_checksum(*key, *count));
    let total = Box::new(sink.total());
    topology
        .source("records", Generator::bounded(args.records, move |i| key(i, keys, None)))
        .key_by(|key| *key)
        .fold("count", 0u64, |count, _| *count += 1)
        .try_map(fail_once(recovery.clone(), args.records / 4, args.parallelism))
        .sink("checksum", Observed { sink, recovery: recovery.clone() });
    Prepared { topology, total, released: by_number(args), fields: Box::new(move || recovery.fields()) }
}

/// W1 by a timetable, each row bearing the moment its record was due.
pub fn latency(args: &Args) -> Prepared {
    let topology = Topology::new("workload");
    let keys = args.keys();
    let (timetable, released) = (Timetable::default(), Released::default());
    let latencies = Arc::new(Latencies::new(timetable.clone(), Duration::from_secs(args.warm)));
    let sink = LatencySink {
        share: |(key, count): &(u64, u64)| key_checksum(*key, *count),
        until: if args.published { Until::Published } else { Until::Written },
        latencies: latencies.clone(),
        published: Arc::default(),
    };
    let published = sink.published.clone();
    let source = Ticks {
        f: move |i| key(i, keys, None),
        at_once: 0,
        rate: args.rate,
        ticks: args.seconds.unwrap_or(30) * 1000,
        timetable,
        released: released.clone(),
    };
    topology
        .source("records", source)
        .key_by(|(key, _)| *key)
        .process("count", |key, (_, tick), count: &mut ValueState<u64>, out: &mut Collector<((u64, u64), u64)>| {
            let new = count.get().copied().unwrap_or(0) + 1;
            count.set(new);
            out.emit(((*key, new), tick));
        })
        .sink("checksum", sink);
    Prepared {
        topology,
        total: Box::new(move || Checksum::of_all(published.lock().unwrap().values())),
        released: Box::new(move || released.counts()),
        fields: Box::new(move || latencies.fields()),
    }
}

fn for_seconds<T, F>(seconds: u64, f: F) -> (ForSeconds<F>, Box<dyn FnOnce() -> Vec<u64>>)
where
    F: Fn(u64) -> T,
{
    let released = Released::default();
    let numbers = Generator::bounded(u64::MAX, f);
    let source = ForSeconds { numbers, limit: Duration::from_secs(seconds), released: released.clone() };
    (source, Box::new(move || released.counts()))
}

/// Instance *s* of *p* gives every *p*-th number from *s* on, below the number asked for.
fn by_number(args: &Args) -> Box<dyn FnOnce() -> Vec<u64>> {
    let (records, step) = (args.records, u64::from(args.parallelism));
    Box::new(move || (0..step).map(|first| (records + step - 1 - first) / step).collect())
}
