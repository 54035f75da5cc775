//! Which faults a simulated run has, and when: those of a schedule, others from some step on, and others drawn from the seed.

use cofferdam_engine::fail_point::Point;

use crate::schedule::{Fault, Injection, Schedule};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub(crate) injections: Vec<Injection>,
    /// From a step on: at the next chance.
    after: Vec<(u64, Point, Fault)>,
    kinds: Vec<(Point, Fault)>,
    most: u32,
    one_in: u64,
}

/// Every fault at every point where it makes sense.
pub fn every_fault() -> Vec<(Point, Fault)> {
    let at = |point| Fault::ALL.into_iter().filter(move |fault| fault.fits(point)).map(move |fault| (point, fault));
    Point::ALL.into_iter().flat_map(at).collect()
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// The faults of a schedule. Its order is another matter: it is the seed of the run.
    pub fn of(schedule: &Schedule) -> Self {
        Self { injections: schedule.injections.clone(), ..Self::default() }
    }

    /// Up to `most` faults of these kinds, one in about `one_in` steps; each strikes when its point is reached next.
    pub fn drawn(kinds: &[(Point, Fault)], most: u32, one_in: u64) -> Self {
        Self { kinds: kinds.to_vec(), most, one_in, ..Self::default() }
    }

    /// One more fault, when its point is reached for the first time after `step`.
    #[must_use]
    pub fn after(mut self, step: u64, point: Point, fault: Fault) -> Self {
        self.after.push((step, point, fault));
        self
    }

    /// The faults that strike at their next chance from this step on.
    pub(crate) fn due(&mut self, step: u64, random: &mut fastrand::Rng) -> Vec<(Point, Fault)> {
        let (due, later) = self.after.drain(..).partition(|(when, ..)| *when <= step);
        self.after = later;
        let due: Vec<(u64, Point, Fault)> = due;
        let mut due: Vec<_> = due.into_iter().map(|(_, point, fault)| (point, fault)).collect();
        if self.most > 0 && !self.kinds.is_empty() && random.u64(0..self.one_in) == 0 {
            self.most -= 1;
            due.extend(random.choice(&self.kinds).copied());
        }
        due
    }
}
