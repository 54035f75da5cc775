//! When windows have rows, and how long late records count.

use std::time::Duration;

use crate::window::{
    WindowTrigger,
    length::{Length, millis},
    trigger,
};

/// How long late records count.
pub trait Timing: Clone + Send + 'static {
    /// The same with lateness.
    type Late: Timing;

    /// The one row of a window comes when late records do not count any more.
    #[doc(hidden)]
    const IS_FINAL: bool = false;

    #[doc(hidden)]
    fn late_by(self, by: Duration) -> Self::Late;

    #[doc(hidden)]
    fn lateness(&self) -> Duration;

    /// In milliseconds.
    #[doc(hidden)]
    fn millis(&self) -> i64 {
        millis(self.lateness())
    }

    /// Why the lateness makes no sense.
    #[doc(hidden)]
    fn faults(&self, is_by_clock: bool) -> Vec<String> {
        let by_clock =
            "allowed_lateness is set, and by the clock nothing is late: leave it out, or give the stream `event_time`";
        let is_vain = is_by_clock && !self.lateness().is_zero();
        let fraction = Length::of(self.lateness()).fraction("allowed lateness");
        fraction.into_iter().chain(is_vain.then(|| by_clock.to_string())).collect()
    }
}

/// And when rows come, of windows of records `T`.
pub trait TimingOf<T>: Timing {
    /// What says when rows come.
    type Trigger: WindowTrigger<T>;

    #[doc(hidden)]
    fn into_trigger(self) -> Self::Trigger;
}

/// No trigger was given.
#[diagnostic::on_unimplemented(
    message = "these windows have a trigger, or give final rows only",
    note = "a trigger says when there are rows; `final_only` says that there is one"
)]
pub trait Untriggered: Timing {}

/// What is given of a window is given once.
#[diagnostic::on_unimplemented(
    message = "a join of windows with `allowed_lateness` would give its rows again with each late record",
    note = "say `final_only()` too: its rows are then given once, when no late record counts any more",
    note = "`co_group` is given the whole window anew with each late record, and can say which row takes the place of which"
)]
pub trait Once: Timing {}

impl Once for AtEnd {}

impl Once for Final {}

/// A row when the window is complete; late records do not count.
#[derive(Clone, Copy, Debug)]
pub struct AtEnd;

/// A row when the window is complete, and one for each late record until then.
#[derive(Clone, Copy, Debug)]
pub struct Updating(Duration);

/// One row when late records do not count any more.
#[derive(Clone, Copy, Debug)]
pub struct Final(Duration);

/// Rows when a trigger says so.
#[derive(Clone, Copy, Debug)]
pub struct Triggered<G> {
    trigger: G,
    lateness: Duration,
}

impl Final {
    pub(super) fn after(timing: &impl Timing) -> Self {
        Self(timing.lateness())
    }
}

impl<G> Triggered<G> {
    pub(super) fn by(trigger: G, timing: &impl Timing) -> Self {
        Self { trigger, lateness: timing.lateness() }
    }
}

impl Untriggered for AtEnd {}

impl Untriggered for Updating {}

impl Timing for AtEnd {
    type Late = Updating;

    fn late_by(self, by: Duration) -> Updating {
        Updating(by)
    }

    fn lateness(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timing for Updating {
    type Late = Self;

    fn late_by(self, by: Duration) -> Self {
        Self(by)
    }

    fn lateness(&self) -> Duration {
        self.0
    }
}

impl Timing for Final {
    type Late = Self;

    const IS_FINAL: bool = true;

    fn late_by(self, by: Duration) -> Self {
        Self(by)
    }

    fn lateness(&self) -> Duration {
        self.0
    }
}

impl<G: Clone + Send + 'static> Timing for Triggered<G> {
    type Late = Self;

    fn late_by(self, by: Duration) -> Self {
        Self { lateness: by, ..self }
    }

    fn lateness(&self) -> Duration {
        self.lateness
    }
}

impl<T> TimingOf<T> for AtEnd {
    type Trigger = trigger::EventTime;

    fn into_trigger(self) -> trigger::EventTime {
        trigger::EventTime
    }
}

impl<T> TimingOf<T> for Updating {
    type Trigger = trigger::EventTime;

    fn into_trigger(self) -> trigger::EventTime {
        trigger::EventTime
    }
}

impl<T> TimingOf<T> for Final {
    type Trigger = trigger::FinalOnly;

    fn into_trigger(self) -> trigger::FinalOnly {
        trigger::FinalOnly
    }
}

impl<T, G: WindowTrigger<T>> TimingOf<T> for Triggered<G> {
    type Trigger = G;

    fn into_trigger(self) -> G {
        self.trigger
    }
}
