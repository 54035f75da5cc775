//! Matches that have begun.
//!
//! A partial match waits for one or more stages at once: for another time of the one that it is at, for the stage behind, and, past what is optional, for those behind that. A record
//! that fits one of them makes a partial match of its own, in which it is taken; the others wait on if they may. So every way to match is tried, and none twice.
//!
//! # Invariants
//! Partial matches are in the order of the records that they have taken: those that began earlier first, then those whose second record is earlier, and so on. Of those that took the same
//! records, one with more of them in an earlier stage comes first.

use std::{cmp::Ordering, collections::BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Conditions, Pattern,
    shape::{Forbidden, Link, Shape, Stage},
};
use crate::time::Timestamp;

/// A match that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partial<T> {
    /// When its first record happened.
    pub(crate) began: Timestamp,
    /// What it has taken, by stage, up to the last stage that has any.
    taken: Vec<Vec<T>>,
    /// The stages that its next record may be of, in order: if the first is the last one taken, that comes once more.
    waits: Vec<u16>,
    /// No record has come since.
    is_fresh: bool,
    /// How many records have come behind its first, and which of them it has taken, itself the 0th.
    age: u32,
    at: Vec<u32>,
}

impl<T> Partial<T> {
    /// See the invariants. One that waits takes a later record than one that has taken the same and one more.
    fn order(&self, other: &Self) -> Ordering {
        let counts = |partial: &Self| partial.taken.iter().map(Vec::len).collect::<Vec<_>>();
        let by_record =
            || self.at.iter().zip(&other.at).map(|(own, others)| own.cmp(others)).find(|order| order.is_ne());
        other
            .age
            .cmp(&self.age)
            .then_with(|| by_record().unwrap_or(Ordering::Equal))
            .then(other.at.len().cmp(&self.at.len()))
            .then_with(|| counts(other).cmp(&counts(self)))
    }
}

/// A match: when it began, and its records by stage.
pub(crate) type Found<T> = (Timestamp, Vec<Vec<T>>);

/// What a record is to a partial match that waits for a stage.
#[derive(PartialEq)]
enum Verdict {
    Fits,
    /// It is one of those in between.
    Passes,
    Breaks,
}

impl<T: Clone, C: Conditions<T>> Pattern<T, C> {
    /// Lets each partial match see the next record, and finds the matches that it completes, in their order.
    pub(crate) fn advance(&self, partials: &mut Vec<Partial<T>>, time: Timestamp, record: &T) -> Vec<Found<T>> {
        let (shape, mut found) = (&self.shape, Vec::new());
        partials.retain(|partial| shape.deadline(partial.began).is_none_or(|deadline| time <= deadline));
        partials.iter_mut().for_each(|partial| partial.age = partial.age.saturating_add(1));
        let before = std::mem::take(partials);
        let begins = self.conditions.holds(shape.stages[0].condition, record);
        let begun = begins.then(|| Partial {
            began: time,
            taken: Vec::new(),
            waits: vec![0],
            is_fresh: true,
            age: 0,
            at: Vec::new(),
        });
        for partial in before.into_iter().chain(begun) {
            self.advance_one(partial, record, partials, &mut found);
        }
        partials.sort_by(Partial::order);
        found.sort_by(Partial::order);
        if !shape.is_overlapping {
            if !found.is_empty() {
                partials.clear();
                found.truncate(1);
            }
            keep_foremost(shape, partials);
        }
        found.into_iter().map(|found| (found.began, found.taken)).collect()
    }

    fn advance_one(&self, mut of: Partial<T>, record: &T, partials: &mut Vec<Partial<T>>, found: &mut Vec<Partial<T>>) {
        let mut fits = Vec::new();
        let waits = std::mem::take(&mut of.waits);
        for stage in waits {
            match self.verdict(&of, stage.into(), record) {
                Verdict::Fits => fits.push(stage),
                Verdict::Passes => of.waits.push(stage),
                Verdict::Breaks => {}
            }
        }
        of.is_fresh = false;
        // The way that is the only one left goes on with the records themselves.
        let only = if of.waits.is_empty() { fits.pop() } else { None };
        for stage in fits {
            self.take(of.clone(), stage.into(), record, partials, found);
        }
        match only {
            Some(stage) => self.take(of, stage.into(), record, partials, found),
            None if of.waits.is_empty() => {}
            None => partials.push(of),
        }
    }

    fn take(
        &self,
        mut of: Partial<T>,
        stage: usize,
        record: &T,
        partials: &mut Vec<Partial<T>>,
        found: &mut Vec<Partial<T>>,
    ) {
        of.taken.resize_with(of.taken.len().max(stage + 1), Vec::new);
        of.taken[stage].push(record.clone());
        of.at.push(of.age);
        let (waits, is_complete) = self.shape.behind(stage, of.taken[stage].len());
        (of.waits, of.is_fresh) = (waits, true);
        if is_complete {
            found.push(of.clone());
        }
        if !of.waits.is_empty() {
            partials.push(of);
        }
    }

    fn verdict(&self, partial: &Partial<T>, number: usize, record: &T) -> Verdict {
        let Shape { stages, .. } = &self.shape;
        let (at, stage) = (partial.taken.len(), &stages[number]);
        // It is the last one taken once more, if all others are behind.
        let (link, gaps) = if number < at { (stage.between, &[][..]) } else { (stage.entry, &stages[at..=number]) };
        let is_forbidden = |gap: &Stage| {
            let counts = |what: &Forbidden| *what == Forbidden::Until || partial.is_fresh;
            gap.forbidden.iter().any(|(condition, what)| counts(what) && self.conditions.holds(*condition, record))
        };
        if gaps.iter().any(is_forbidden) {
            Verdict::Breaks
        } else if self.conditions.holds(stage.condition, record) {
            Verdict::Fits
        } else if link == Link::Relaxed {
            Verdict::Passes
        } else {
            Verdict::Breaks
        }
    }

    /// Forgets what can match no more now that every record up to `time` was seen.
    pub(crate) fn expire(&self, partials: &mut Vec<Partial<T>>, time: Timestamp) {
        partials.retain(|partial| self.shape.deadline(partial.began).is_none_or(|deadline| time < deadline));
    }
}

impl Shape {
    /// What a match that has taken a stage so many times waits for, and whether it may end there.
    fn behind(&self, stage: usize, times: usize) -> (Vec<u16>, bool) {
        let Stage { times: range, .. } = &self.stages[stage];
        let mut waits = Vec::new();
        if range.most.is_none_or(|most| times < most as usize) {
            waits.push(stage as u16);
        }
        if times < range.least as usize {
            return (waits, false);
        }
        for (number, next) in self.stages.iter().enumerate().skip(stage + 1) {
            waits.push(number as u16);
            if !next.is_optional {
                return (waits, false);
            }
        }
        (waits, true)
    }
}

/// Where only the first match counts: forgets what waits for the same as another one before it and not longer, as the other would match whenever this one does.
fn keep_foremost<T>(shape: &Shape, partials: &mut Vec<Partial<T>>) {
    if partials.len() < 2 {
        return;
    }
    let mut seen = BTreeSet::new();
    partials.retain_mut(|partial| {
        let Partial { began, taken, waits, is_fresh, .. } = partial;
        let deadline = shape.deadline(*began);
        waits.retain(|stage| {
            let again = taken.get(usize::from(*stage)).map(|taken| {
                let times = shape.stages[usize::from(*stage)].times;
                taken.len().min(times.most.unwrap_or(times.least) as usize)
            });
            seen.insert((deadline, *stage, taken.len(), again, *is_fresh))
        });
        !waits.is_empty()
    });
}
