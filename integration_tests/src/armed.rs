//! Real faults: a schedule for a job on threads, or for a process that is started for it.

use std::{env, sync::Arc, time::Duration};

use cofferdam_engine::fail_point::FailPoints;

use crate::{
    fault_plan::{Means, ScheduledFaults},
    schedule::{Injection, NotASchedule, Schedule},
};

/// The environment variable that holds the schedule of a process: see [`Schedule::of_environment`].
pub const SCHEDULE_VARIABLE: &str = "COFFERDAM_SCHEDULE";

/// A schedule whose faults are real: see [`Schedule::arm`]. Clones count together, and so do all jobs of one.
///
/// ```
/// use std::time::Duration;
/// use cofferdam::prelude::*;
/// use cofferdam_testkit::{Fault, Point, Schedule};
///
/// let topology = Topology::new("job");
/// let (sink, rows) = CollectSink::new();
/// topology.source("numbers", Collection::new(vec![1, 2, 3])).sink("rows", sink);
///
/// let armed = Schedule::order(0).at(Point::InputEnded, 1, Fault::Error).arm(Duration::ZERO);
/// let restart = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::ZERO };
/// let engine = Engine::builder().parallelism(1).restart(restart).fail_points(armed.fail_points());
/// engine.start_blocking(topology)?.wait_blocking()?;
///
/// assert_eq!(armed.done().len(), 1);
/// assert_eq!(rows.snapshot(), [1, 2, 3]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Armed(Arc<ScheduledFaults>);

impl Schedule {
    /// Makes the faults real: for [`EngineBuilder::fail_points`](cofferdam::EngineBuilder::fail_points). A delay is one of a thread, for as long as `delay`; a kill is
    /// `SIGKILL` for this process. What only the simulation can do (a clock that jumps, a message that comes late) is an error
    /// where it should have happened. The schedule's order means nothing here.
    pub fn arm(&self, delay: Duration) -> Armed {
        Armed(Arc::new(ScheduledFaults::new(self.injections.clone(), Means::Real(delay))))
    }

    /// The schedule in [`SCHEDULE_VARIABLE`], as whoever started this process has written it; without faults if there is none.
    pub fn of_environment() -> Result<Self, NotASchedule> {
        match env::var_os(SCHEDULE_VARIABLE) {
            None => Ok(Self::default()),
            Some(text) => text.into_string().map_err(|text| NotASchedule(text.to_string_lossy().into_owned()))?.parse(),
        }
    }
}

impl Armed {
    /// The handle that a job is started with.
    pub fn fail_points(&self) -> FailPoints {
        FailPoints::armed(self.0.clone())
    }

    /// What has gone wrong so far, in this order.
    pub fn done(&self) -> Vec<Injection> {
        self.0.done()
    }
}
