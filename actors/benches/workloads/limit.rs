//! What one thread does without an engine: hashbrown and ahash, capacity reserved.

use std::time::Instant;

use hashbrown::HashMap;

use crate::{
    Args,
    checksum_sink::Checksum,
    memory::MemoryWatch,
    panes::Panes,
    report::Report,
    workload::{
        AuctionOrBid, DISORDER, Workload, auction_or_bid, bid, is_kept, join_checksum, key, key_checksum, mapped,
        splitmix64,
    },
};

/// Runs the loop.
pub fn run(args: &Args) -> Report {
    let memory = MemoryWatch::start();
    let began = Instant::now();
    let mut checksum = Checksum::default();
    match args.workload() {
        Workload::KeyedCount { keys, hot } => {
            let mut counts = HashMap::with_capacity_and_hasher(keys as usize, ahash::RandomState::new());
            for i in 0..args.records {
                let key = key(i, keys, hot);
                let count = counts.entry(key).or_insert(0u64);
                *count += 1;
                checksum.add(key_checksum(key, *count));
            }
        }
        Workload::MapFilter => {
            (0..args.records).map(|i| mapped(splitmix64(i))).filter(|m| is_kept(*m)).for_each(|m| checksum.add(m));
        }
        Workload::WindowedBids => {
            let (mut panes, mut newest) = (Panes::default(), 0);
            for bid in (0..args.records).map(bid) {
                panes.add(bid);
                newest = newest.max(bid.time);
                panes.close(newest.saturating_sub(DISORDER + 1), &mut checksum);
            }
            panes.close(u64::MAX, &mut checksum);
        }
        Workload::Joined => join(args.records, &mut checksum),
    }
    let seconds = began.elapsed().as_secs_f64();
    Report {
        workload: args.what.last().cloned().unwrap_or_default(),
        variant: "limit".to_string(),
        records: args.records,
        seconds,
        checksum,
        checkpoints: None,
        memory: memory.stop(),
        fields: Vec::new(),
    }
}

/// Either side first, as nobody may know that here auctions always are.
fn join(records: u64, checksum: &mut Checksum) {
    let hasher = ahash::RandomState::new();
    let mut auctions = HashMap::with_capacity_and_hasher(records as usize / 10 + 1, hasher.clone());
    let mut pending: HashMap<u64, Vec<(u64, u64)>, _> = HashMap::with_hasher(hasher);
    for i in 0..records {
        match auction_or_bid(i) {
            AuctionOrBid::Auction { id, seller, category } => {
                auctions.insert(id, (seller, category));
                for (bidder, price) in pending.remove(&id).into_iter().flatten() {
                    checksum.add(join_checksum(seller, price, bidder));
                }
            }
            AuctionOrBid::Bid { auction, bidder, price } => match auctions.get(&auction) {
                Some((seller, _)) => checksum.add(join_checksum(*seller, price, bidder)),
                None => pending.entry(auction).or_default().push((bidder, price)),
            },
        }
    }
}
