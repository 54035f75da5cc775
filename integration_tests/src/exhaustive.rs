//! Every point, every fault that makes sense there, at its first, second and last time; what the next attempt passes also after a failure; and what
//! delays or loses something also with the death of the process at one of the next completions, when it shows whether what was delayed is owed.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_engine::fail_point::{Party, Point};

use crate::schedule::{Fault, Injection, Schedule};

/// What leads to points that no run without faults reaches.
const PROVOKED: [(Point, Injection); 2] = {
    let lost = Injection { point: Point::Acknowledge, occurrence: 1, fault: Fault::Lose };
    [(Point::Abort, lost), (Point::AbortHeard, lost)]
};

/// Ends the first attempt with its first checkpoint taken and not stored.
const END: Point = Point::HandedToStore;

/// The faults to be tried at a point.
pub(crate) fn faults(point: Point) -> impl Iterator<Item = Fault> {
    Fault::ALL.into_iter().filter(move |fault| fault.fits(point))
}

/// How often points are reached if nothing goes wrong, in a run of this order.
#[derive(Clone, Copy)]
pub(crate) struct Base<'a> {
    pub(crate) order: u64,
    pub(crate) reached: &'a BTreeMap<Point, u32>,
}

impl Base<'_> {
    /// All schedules.
    pub(crate) fn every(self) -> Vec<Schedule> {
        self.pairs().flatten().collect()
    }

    /// One for each fault at each point: the first of the first pair, the second of the second, and so on.
    pub(crate) fn once(self) -> Vec<Schedule> {
        let found = self.pairs().filter(|schedules| !schedules.is_empty()).enumerate();
        found.map(|(nth, mut schedules)| schedules.swap_remove(nth % schedules.len())).collect()
    }

    /// Those of each fault at each point.
    fn pairs(self) -> impl Iterator<Item = Vec<Schedule>> {
        Point::ALL.into_iter().flat_map(move |point| faults(point).map(move |fault| self.schedules(point, fault)))
    }

    fn schedules(self, point: Point, fault: Fault) -> Vec<Schedule> {
        let Self { order, reached } = self;
        let provoked = PROVOKED.iter().find(|(provoked, _)| *provoked == point);
        let times = reached.get(&point).copied().unwrap_or(if provoked.is_some() { 2 } else { 0 });
        if times == 0 {
            return Vec::new();
        }
        let mut begun = Schedule::order(order);
        begun.injections.extend(provoked.map(|(_, injection)| *injection));
        let at = |occurrence| begun.clone().at(point, occurrence, fault);
        let occurrences: BTreeSet<u32> = [1, 2, times].into_iter().filter(|time| *time <= times).collect();
        let mut schedules: Vec<_> = occurrences.into_iter().map(at).collect();
        if is_passed_by_each_attempt(point) {
            schedules.push(Schedule::order(order).at(END, 1, Fault::Error).at(point, times + 1, fault));
        }
        if matches!(fault, Fault::Delay | Fault::Lose) {
            let completions = reached.get(&Point::CompletionAnnounced).copied().unwrap_or(1);
            let (middle, half) = (times / 2 + 1, completions.div_ceil(2));
            for (occurrence, completion) in [(1, 1), (1, 2), (middle, half), (middle, half + 1)] {
                schedules.push(at(occurrence).at(Point::CompletionAnnounced, completion, Fault::Kill));
            }
        }
        if fault == Fault::Kill {
            // Twice in a row: in the attempt after it, the same again.
            schedules.push(Schedule::order(order).at(END, 1, Fault::Kill).at(point, times, fault));
        }
        schedules
    }
}

fn is_passed_by_each_attempt(point: Point) -> bool {
    let of_recovery = [
        Point::OwnerBefore,
        Point::OwnerAfter,
        Point::ClaimBefore,
        Point::ClaimAfter,
        Point::RecoverBefore,
        Point::RecoverAfter,
        Point::OpenBefore,
        Point::OpenAfter,
        Point::ReplayBegun,
    ];
    (point.party() == Party::Opening && point != Point::SavepointImported) || of_recovery.contains(&point)
}

/// Faults drawn from a seed: one to five, at points that are reached, some of them in a second or third attempt. The seed is also the order of the run.
pub(crate) fn drawn(seed: u64, reached: &BTreeMap<Point, u32>) -> Schedule {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5c4e_d01e);
    let mut schedule = Schedule::order(seed);
    let points: Vec<_> = reached.iter().chain([(&Point::Abort, &2), (&Point::AbortHeard, &4)]).collect();
    for _ in 0..random.u32(1..=5) {
        let Some((point, times)) = random.choice(&points) else { break };
        let fault = random.choice(faults(**point).collect::<Vec<_>>());
        let occurrence = random.u32(1..=**times + 2);
        schedule.injections.extend(fault.map(|fault| Injection { point: **point, occurrence, fault }));
    }
    schedule
}
