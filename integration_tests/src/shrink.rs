//! The shortest schedule that still breaks the same promise.

use crate::{
    judge::Judge,
    outcome::Broken,
    schedule::{Fault, Schedule},
    trial::Trial,
};

/// Runs that shrinking may take.
const TRIES: u32 = 300;

/// A failure in its shortest form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The schedule.
    pub schedule: Schedule,
    /// Of each source the records that are needed; `None` if all of them.
    pub records: Option<usize>,
}

struct Shrinker<'a> {
    trial: Trial,
    judge: &'a Judge,
    broken: &'a Broken,
    tries: u32,
}

pub(crate) fn shrink(trial: &Trial, judge: &Judge, schedule: &Schedule, broken: &Broken) -> Shrunk {
    let mut shrinker = Shrinker { trial: trial.clone(), judge, broken, tries: TRIES };
    let mut schedule = schedule.clone();
    while let Some(shorter) = shrinker.shorter(&schedule) {
        schedule = shorter;
    }
    let records = shrinker.fewer_records(&schedule);
    Shrunk { schedule, records: records.or(trial.limit) }
}

impl Shrinker<'_> {
    /// A schedule one step shorter that still fails.
    fn shorter(&mut self, schedule: &Schedule) -> Option<Schedule> {
        let candidates = candidates(schedule);
        candidates.into_iter().find(|candidate| self.fails(candidate))
    }

    fn fails(&mut self, schedule: &Schedule) -> bool {
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let run = self.trial.run(schedule);
        self.judge.judge(&run).iter().any(|broken| broken.is_like(self.broken))
    }

    /// The smallest power of two of records per source with which it still fails.
    fn fewer_records(&mut self, schedule: &Schedule) -> Option<usize> {
        let limit = self.trial.limit;
        for records in (0..8).map(|power| 1usize << power) {
            if limit.is_some_and(|limit| records >= limit) {
                break;
            }
            self.trial.limit = Some(records);
            let expected = self.trial.run(&Schedule::order(0));
            if !self.judge.expecting(&expected).judge(&expected).is_empty() {
                // What is promised does not hold of so short an input.
                continue;
            }
            let run = self.trial.run(schedule);
            if self.judge.expecting(&expected).judge(&run).iter().any(|broken| broken.is_like(self.broken)) {
                return Some(records);
            }
        }
        None
    }
}

/// Schedules that are shorter by one step, the shortest first.
fn candidates(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = Vec::new();
    for place in 0..schedule.injections.len() {
        let mut without = schedule.clone();
        without.injections.remove(place);
        candidates.push(without);
    }
    for (place, injection) in schedule.injections.iter().enumerate() {
        let earlier = [1, injection.occurrence / 2, injection.occurrence - 1];
        for occurrence in earlier.into_iter().filter(|earlier| (1..injection.occurrence).contains(earlier)) {
            let mut sooner = schedule.clone();
            sooner.injections[place].occurrence = occurrence;
            candidates.push(sooner);
        }
        if injection.fault == Fault::Kill {
            let mut milder = schedule.clone();
            milder.injections[place].fault = Fault::Error;
            candidates.push(milder);
        }
    }
    candidates.extend((0..schedule.order.min(4)).map(|order| Schedule { order, ..schedule.clone() }));
    candidates
}
