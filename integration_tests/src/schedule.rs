//! What goes wrong in a run, and where: a list of fail points, each with an occurrence and a fault.
//!
//! A schedule names points and not steps of a run, so that it means the same when the run around it changes: shorter input, another order, threads
//! in place of the simulation.

use std::{fmt, str::FromStr};

use cofferdam_engine::fail_point::{Party, Point};

/// What can go wrong at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Whoever is there returns an error. In a call: before or after it had its effect, as the point says.
    Error,
    /// Whoever is there panics.
    Panic,
    /// Whoever is there stands still, or the call returns late: for longer than a checkpoint may take.
    Delay,
    /// The message at hand is lost.
    Lose,
    /// The message at hand comes a second time when the next attempt runs; the process dies with the store's commit on its way, which arrives then.
    Late,
    /// The disk is full.
    Full,
    /// What was written cannot be synced.
    SyncFails,
    /// The last write gets to the disk by half.
    Tear,
    /// The clock jumps forward, over a checkpoint's timeout.
    ClockForward,
    /// The clock jumps back as far.
    ClockBack,
    /// The process dies.
    Kill,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 11] = [
        Self::Error,
        Self::Panic,
        Self::Delay,
        Self::Lose,
        Self::Late,
        Self::Full,
        Self::SyncFails,
        Self::Tear,
        Self::ClockForward,
        Self::ClockBack,
        Self::Kill,
    ];

    /// Whether it makes sense at a point. A message can be lost, a disk can be full where something is written, and so on.
    pub fn fits(self, point: Point) -> bool {
        let writes = matches!(
            point,
            Point::CommitWritten
                | Point::PreCommitBefore
                | Point::CommitBefore
                | Point::ClaimBefore
                | Point::RecoverBefore
                | Point::SavepointWritten
        );
        let syncs =
            matches!(point, Point::CommitWritten | Point::CommitNoting | Point::PreCommitAfter | Point::CommitAfter);
        let is_machine = matches!(point.party(), Party::Coordinator | Party::Subtask | Party::Message);
        match self {
            Self::Error | Self::Panic | Self::Delay | Self::Kill => true,
            Self::Lose => point.party() == Party::Message,
            Self::Late => point.party() == Party::Message || point == Point::CommitBegun,
            Self::Full => writes,
            Self::SyncFails => syncs,
            Self::Tear => point == Point::CommitNoting,
            Self::ClockForward | Self::ClockBack => is_machine,
        }
    }

    /// Whether the process does not outlive it.
    pub fn kills(self, point: Point) -> bool {
        self == Self::Kill || (self == Self::Late && point == Point::CommitBegun)
    }

    /// Its name in tables and texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Delay => "delay",
            Self::Lose => "lose",
            Self::Late => "late",
            Self::Full => "full",
            Self::SyncFails => "sync-fails",
            Self::Tear => "tear",
            Self::ClockForward => "clock-forward",
            Self::ClockBack => "clock-back",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One fault: at the point's `occurrence`-th time in the run, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Injection {
    /// Where.
    pub point: Point,
    /// The how manieth time, from 1.
    pub occurrence: u32,
    /// What.
    pub fault: Fault,
}

/// Everything that goes wrong in a run, and the order in which channels, messages and calls have their turn.
///
/// ```
/// use cofferdam_engine::fail_point::Point;
/// use cofferdam_testkit::{Fault, Schedule};
///
/// let schedule = Schedule::order(3).at(Point::CommitDurable, 2, Fault::Kill).at(Point::Restart, 1, Fault::Error);
/// assert_eq!(schedule.to_string(), "3:commit.durable#2=kill,restart#1=error");
/// assert_eq!("3:commit.durable#2=kill,restart#1=error".parse::<Schedule>().unwrap(), schedule);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule {
    /// The seed of the run's order and numbers.
    pub order: u64,
    /// The faults.
    pub injections: Vec<Injection>,
}

impl Schedule {
    /// No fault, in this order of channels, messages and calls.
    pub fn order(order: u64) -> Self {
        Self { order, injections: Vec::new() }
    }

    /// One fault more, at a point's `occurrence`-th time, counted from 1.
    #[must_use]
    pub fn at(mut self, point: Point, occurrence: u32, fault: Fault) -> Self {
        self.injections.push(Injection { point, occurrence, fault });
        self
    }

    /// A fault that can never strike: it does not fit its point, or comes at its point's time 0.
    pub(crate) fn senseless(&self) -> Option<&Injection> {
        self.injections.iter().find(|injection| injection.occurrence == 0 || !injection.fault.fits(injection.point))
    }

    /// The schedule as an expression of Rust, to be pasted into a test.
    pub fn to_rust(&self) -> String {
        let at = |injection: &Injection| {
            let Injection { point, occurrence, fault } = injection;
            format!(".at(Point::{}, {occurrence}, Fault::{fault:?})", point.variant())
        };
        format!("Schedule::order({}){}", self.order, self.injections.iter().map(at).collect::<String>())
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}={}", self.point.name(), self.occurrence, self.fault)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let injections: Vec<_> = self.injections.iter().map(Injection::to_string).collect();
        write!(f, "{}:{}", self.order, injections.join(","))
    }
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotASchedule(pub(crate) String);

impl fmt::Display for NotASchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no schedule: it must read like 3:commit.durable#2=kill,restart#1=error, with faults that make sense at their points, the first time being #1",
            self.0
        )
    }
}

impl std::error::Error for NotASchedule {}

impl FromStr for Schedule {
    type Err = NotASchedule;

    fn from_str(text: &str) -> Result<Self, NotASchedule> {
        parse(text).ok_or_else(|| NotASchedule(text.to_string()))
    }
}

fn parse(text: &str) -> Option<Schedule> {
    let (order, injections) = text.split_once(':')?;
    let order = order.parse().ok()?;
    if injections.is_empty() {
        return Some(Schedule::order(order));
    }
    let schedule = Schedule { order, injections: injections.split(',').map(parse_injection).collect::<Option<_>>()? };
    schedule.senseless().is_none().then_some(schedule)
}

fn parse_injection(text: &str) -> Option<Injection> {
    let (point, rest) = text.split_once('#')?;
    let (occurrence, fault) = rest.split_once('=')?;
    let fault = Fault::ALL.into_iter().find(|known| known.name() == fault)?;
    Some(Injection { point: Point::of_name(point)?, occurrence: occurrence.parse().ok()?, fault })
}
