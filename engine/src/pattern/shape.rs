//! What a pattern is, but for its conditions.

use std::{
    fmt::Write as _,
    ops::{RangeFrom, RangeInclusive},
    time::Duration,
};

use crate::{time::Timestamp, window::length::Length};

/// How often a stage comes: a number, `a..=b` or `a..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub(super) least: u32,
    pub(super) most: Option<u32>,
}

impl From<u32> for Times {
    fn from(times: u32) -> Self {
        Self { least: times, most: Some(times) }
    }
}

impl From<RangeInclusive<u32>> for Times {
    fn from(times: RangeInclusive<u32>) -> Self {
        Self { least: *times.start(), most: Some(*times.end()) }
    }
}

impl From<RangeFrom<u32>> for Times {
    fn from(times: RangeFrom<u32>) -> Self {
        Self { least: times.start, most: None }
    }
}

/// How close a record is to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Directly behind it.
    Strict,
    /// The first that fits.
    Relaxed,
}

/// Where a record must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// Directly behind the stage before.
    Next,
    /// Anywhere up to the stage behind, and there.
    Until,
}

/// One thing that is to come.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    /// The number of its condition.
    pub(super) condition: usize,
    /// Of its first record.
    pub(super) entry: Link,
    /// Of each further one.
    pub(super) between: Link,
    pub(super) times: Times,
    pub(super) is_optional: bool,
    /// What must not be in front of it, with the numbers of the conditions.
    pub(super) forbidden: Vec<(usize, Forbidden)>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(super) stages: Vec<Stage>,
    /// What must not come behind the last stage.
    pub(super) forbidden: Vec<(usize, Forbidden)>,
    pub(super) within: Option<Duration>,
    pub(super) is_overlapping: bool,
    conditions: usize,
}

impl Shape {
    /// The number of the next condition; a stage or something forbidden has it.
    pub(super) fn new_condition(&mut self) -> usize {
        self.conditions += 1;
        self.conditions - 1
    }

    pub(super) fn add_stage(&mut self, name: String, entry: Link) {
        let (times, forbidden) = (Times::from(1), std::mem::take(&mut self.forbidden));
        let condition = self.conditions - 1;
        let between = Link::Strict;
        self.stages.push(Stage { name, condition, entry, between, times, is_optional: false, forbidden });
    }

    pub(super) fn forbid(&mut self, what: Forbidden) {
        self.forbidden.push((self.conditions - 1, what));
    }

    pub(super) fn last_stage(&mut self) -> &mut Stage {
        match self.stages.last_mut() {
            Some(stage) => stage,
            None => unreachable!("a pattern begins with a stage"),
        }
    }

    /// When what began at a moment can match no more, once all records of that moment were seen.
    pub(crate) fn deadline(&self, began: Timestamp) -> Option<Timestamp> {
        self.within.map(|within| began.after(within))
    }

    /// All of it in one line: equal for equal shapes.
    pub(crate) fn describe(&self) -> String {
        let mut line = "pattern".to_string();
        for stage in &self.stages {
            let Stage { name, entry, between, times: Times { least, most }, is_optional, forbidden, .. } = stage;
            let strict = |link: &Link| if *link == Link::Strict { "next" } else { "followed by" };
            for (_, what) in forbidden {
                let _ = write!(line, " not {}", if *what == Forbidden::Next { "next" } else { "until" });
            }
            let most = most.map_or_else(String::new, |most| most.to_string());
            let optional = if *is_optional { "?" } else { "" };
            let _ = write!(line, " {} {name:?}{optional} {least}..{most} {}", strict(entry), strict(between));
        }
        if let Some(within) = self.within {
            let _ = write!(line, " within {}", within.as_millis());
        }
        line.push_str(if self.is_overlapping { " overlapping" } else { "" });
        line
    }

    /// Why it makes no sense, one sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.stages.iter().flat_map(Self::stage_faults).collect();
        for (place, stage) in self.stages.iter().enumerate() {
            if self.stages[..place].iter().any(|other| other.name == stage.name) {
                faults
                    .push(format!("more than one stage is named '{}': a match could not tell them apart", stage.name));
            }
        }
        if self.stages.first().is_some_and(|stage| stage.is_optional) {
            faults
                .push("the first stage is optional: let it begin with the one behind, or make a second pattern".into());
        }
        if !self.forbidden.is_empty() {
            faults.push("it ends with what must not come, and that is never over: say what comes behind it".into());
        }
        faults.extend(self.within.and_then(|within| Length::of(within).fault("time of `within`")));
        if self.within.is_none() {
            faults.extend(self.endless().map(|why| format!("{why}: say `within`, or what has begun grows for ever")));
        }
        faults
    }

    fn stage_faults(stage: &Stage) -> Vec<String> {
        let (name, Times { least, most }) = (&stage.name, stage.times);
        let mut faults = Vec::new();
        if name.is_empty() {
            faults.push("a stage has an empty name: a match has its records under that".to_string());
        }
        if most.is_some_and(|most| most < least) {
            faults
                .push(format!("'{name}' is to come {least} to {} times, which no number is", most.unwrap_or_default()));
        } else if most == Some(0) {
            faults.push(format!("'{name}' is to come 0 times: leave it out"));
        } else if least == 0 {
            faults.push(format!("'{name}' is to come 0 times or more: say `optional` and begin with 1"));
        }
        faults
    }

    /// Why there is no limit to what it remembers of a key.
    fn endless(&self) -> Option<String> {
        if let Some(stage) = self.stages.iter().find(|stage| stage.times.most.is_none()) {
            return Some(format!("'{}' may come any number of times", stage.name));
        }
        let mut behind = self.stages.iter().skip(1);
        let is_relaxed = |stage: &Stage| stage.times.most != Some(1) && stage.between == Link::Relaxed;
        let waits = behind.any(|stage| stage.entry == Link::Relaxed) || self.stages.iter().any(is_relaxed);
        (self.is_overlapping && waits)
            .then(|| "it is overlapping, and each record that begins it waits for others".into())
    }
}
