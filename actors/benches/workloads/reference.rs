//! The right answer for the records that were read, worked out from how often each key came, without a map and without an order.

use crate::{
    checksum_sink::Checksum,
    workload::{Workload, is_kept, key, mapped, splitmix64},
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

fn total(shares: impl Iterator<Item = Share>) -> Checksum {
    let mut all = Checksum::default();
    let mut counts: Vec<u64> = Vec::new();
    for share in shares {
        match share {
            Share::Rows(rows) => all = Checksum::of_all([all, rows].iter()),
            Share::Counts(one) => {
                counts.resize(one.len(), 0);
                counts.iter_mut().zip(one).for_each(|(sum, count)| *sum += count);
            }
        }
    }
    for (key, count) in (0u64..).zip(counts) {
        let one_to_count = (u128::from(count) * u128::from(count + 1) / 2) as u64;
        all.sum = all.sum.wrapping_add((key + 1).wrapping_mul(one_to_count));
        all.rows += count;
    }
    all
}
