//! The right answer for the records that were read, worked out from what each key came to, without a map and without an order.

use crate::{
    checksum_sink::Checksum,
    workload::{
        AUCTIONS, AuctionOrBid, WINDOW, Workload, auction_or_bid, bid, is_kept, join_checksum, key, mapped, seller,
        splitmix64, window_checksum,
    },
};

/// The answer if source instance *s* of *p* gave `released[s]` of the numbers *s*, *s + p*, *s + 2p*, ... One thread for each.
pub fn answer(workload: Workload, released: &[u64]) -> Checksum {
    let step = released.len();
    std::thread::scope(|scope| {
        let instances = released.iter().enumerate().map(|(first, count)| {
            let numbers = (first as u64..).step_by(step).take(*count as usize);
            scope.spawn(move || match workload {
                Workload::KeyedCount { keys, hot } => Share::Counts(counts(numbers, keys, hot)),
                Workload::MapFilter => Share::Rows(rows(numbers)),
                Workload::WindowedBids => Share::Highest(highest(numbers)),
                Workload::Joined => Share::Rows(joined(numbers, released)),
            })
        });
        let instances: Vec<_> = instances.collect();
        total(instances.into_iter().map(|instance| instance.join().unwrap()))
    })
}

/// What one instance's numbers come to.
enum Share {
    /// How often each key came: a key's rows are 1, 2, ... whatever instance each came from.
    Counts(Vec<u64>),
    Rows(Checksum),
    /// Of each window the highest bid of each auction, 0 where there is none.
    Highest(Vec<Vec<u64>>),
}

fn counts(numbers: impl Iterator<Item = u64>, keys: u64, hot: Option<u64>) -> Vec<u64> {
    let mut counts = vec![0; keys as usize];
    numbers.for_each(|i| counts[key(i, keys, hot) as usize] += 1);
    counts
}

fn rows(numbers: impl Iterator<Item = u64>) -> Checksum {
    let mut checksum = Checksum::default();
    numbers.map(|i| mapped(splitmix64(i))).filter(|m| is_kept(*m)).for_each(|m| checksum.add(m));
    checksum
}

fn highest(numbers: impl Iterator<Item = u64>) -> Vec<Vec<u64>> {
    let mut windows = Vec::new();
    for bid in numbers.map(bid) {
        let window = (bid.time / WINDOW) as usize;
        if windows.len() <= window {
            windows.resize_with(window + 1, || vec![0; AUCTIONS as usize]);
        }
        let highest = &mut windows[window][bid.auction as usize];
        *highest = bid.price.max(*highest);
    }
    windows
}

/// A bid gives a row if its auction was released, by whatever instance.
fn joined(numbers: impl Iterator<Item = u64>, released: &[u64]) -> Checksum {
    let (mut checksum, step) = (Checksum::default(), released.len() as u64);
    let is_released = |number: u64| number / step < released[(number % step) as usize];
    for record in numbers.map(auction_or_bid) {
        if let AuctionOrBid::Bid { auction, bidder, price } = record
            && is_released(10 * auction)
        {
            checksum.add(join_checksum(seller(auction), price, bidder));
        }
    }
    checksum
}

fn total(shares: impl Iterator<Item = Share>) -> Checksum {
    let mut all = Checksum::default();
    let mut counts: Vec<u64> = Vec::new();
    let mut windows: Vec<Vec<u64>> = Vec::new();
    for share in shares {
        match share {
            Share::Rows(rows) => all = Checksum::of_all([all, rows].iter()),
            Share::Counts(one) => {
                counts.resize(one.len(), 0);
                counts.iter_mut().zip(one).for_each(|(sum, count)| *sum += count);
            }
            Share::Highest(one) => {
                windows.resize_with(one.len().max(windows.len()), || vec![0; AUCTIONS as usize]);
                for (all, one) in windows.iter_mut().zip(one) {
                    all.iter_mut().zip(one).for_each(|(highest, price)| *highest = price.max(*highest));
                }
            }
        }
    }
    for (key, count) in (0u64..).zip(counts) {
        let one_to_count = (u128::from(count) * u128::from(count + 1) / 2) as u64;
        all.sum = all.sum.wrapping_add((key + 1).wrapping_mul(one_to_count));
        all.rows += count;
    }
    for (window, auctions) in (1u64..).zip(windows) {
        for (auction, highest) in (0u64..).zip(auctions).filter(|(_, highest)| *highest > 0) {
            all.add(window_checksum(auction, window * WINDOW, highest));
        }
    }
    all
}
