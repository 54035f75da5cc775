//! A schedule at work: counts how often each point is reached, and does what is due there.

use std::{collections::BTreeMap, io, panic::resume_unwind, time::Duration};

use cofferdam_engine::{
    BoxError,
    fail_point::{FaultPlan, Passage, Point, Site},
};
use parking_lot::Mutex;

use crate::schedule::{Fault, Injection};

/// What a fault wants of whoever drives the machines: the simulation does it after the step that reached the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    /// The process is dead: nothing of what the step wanted is done.
    pub(crate) died: bool,
    /// Whoever made the step stands still.
    pub(crate) stalled: bool,
    /// The clock jumps: 1 forward, -1 back.
    pub(crate) clock: i8,
    /// What the step sends, or the call that it is, comes again in the next attempt.
    pub(crate) late: bool,
}

/// How faults that are no error come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// Noted as [`Harm`], for the simulation.
    Noted,
    /// For real: sleeping this long, and `SIGKILL` to the process itself.
    Real(Duration),
}

/// See the module.
pub(crate) struct ScheduledFaults {
    means: Means,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reached: BTreeMap<Point, u32>,
    /// Still to come.
    left: Vec<Injection>,
    /// Done, in the order in which they were.
    done: Vec<Injection>,
    harm: Harm,
    /// What was reached since last asked.
    sites: Vec<(Site, Option<Fault>)>,
}

impl ScheduledFaults {
    pub(crate) fn new(injections: Vec<Injection>, means: Means) -> Self {
        Self { means, state: Mutex::new(State { left: injections, ..State::default() }) }
    }

    /// One more fault, when its point is reached next.
    pub(crate) fn arm(&self, point: Point, fault: Fault) {
        let mut state = self.state.lock();
        let occurrence = state.reached.get(&point).copied().unwrap_or(0) + 1;
        state.left.push(Injection { point, occurrence, fault });
    }

    /// How often each point was reached.
    pub(crate) fn reached(&self) -> BTreeMap<Point, u32> {
        self.state.lock().reached.clone()
    }

    /// What has gone wrong so far.
    pub(crate) fn done(&self) -> Vec<Injection> {
        self.state.lock().done.clone()
    }

    /// What the last step's faults want done, and the points that it reached.
    pub(crate) fn take(&self) -> (Harm, Vec<(Site, Option<Fault>)>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.harm), std::mem::take(&mut state.sites))
    }

    fn real(&self, fault: Fault, delay: Duration) {
        match fault {
            Fault::Delay => std::thread::sleep(delay),
            Fault::Kill => kill_this_process(),
            _ => {}
        }
    }
}

/// As `kill -9` would; never returns.
fn kill_this_process() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

impl FaultPlan for ScheduledFaults {
    fn reached(&self, site: Site) -> Result<Passage, BoxError> {
        let mut state = self.state.lock();
        if state.harm.died {
            // What a dead process's step still does is not to be seen by anybody.
            return Err("the process is dead".into());
        }
        let times = state.reached.entry(site.point).or_default();
        *times += 1;
        let times = *times;
        let due = state.left.iter().position(|one| one.point == site.point && one.occurrence == times);
        let injection = due.map(|place| state.left.remove(place));
        if self.means == Means::Noted {
            state.sites.push((site, injection.map(|injection| injection.fault)));
        }
        let Some(injection) = injection else { return Ok(Passage::On) };
        state.done.push(injection);
        match (injection.fault, self.means) {
            (Fault::Delay | Fault::Kill, Means::Real(delay)) => {
                drop(state);
                self.real(injection.fault, delay);
            }
            (Fault::ClockForward | Fault::ClockBack | Fault::Late, Means::Real(_)) => {
                return Err(format!("only the simulation can do {injection}").into());
            }
            (Fault::Delay, Means::Noted) => state.harm.stalled = true,
            (Fault::Kill, Means::Noted) => {
                state.harm.died = true;
                return Err("the process is dead".into());
            }
            (Fault::ClockForward, _) => state.harm.clock = 1,
            (Fault::ClockBack, _) => state.harm.clock = -1,
            (Fault::Late, _) if site.point == Point::CommitBegun => {
                // The process dies with the call on its way: it arrives when the next attempt runs.
                state.harm.late = true;
                state.harm.died = true;
                return Err("the process is dead".into());
            }
            (Fault::Late, _) => state.harm.late = true,
            (Fault::Lose, _) => return Ok(Passage::Lost),
            (Fault::Tear, _) => return Ok(Passage::Torn),
            (Fault::Error, _) => return Err(format!("injected: {injection}").into()),
            (Fault::Full, _) => return Err(Box::new(io::Error::from(io::ErrorKind::StorageFull))),
            (Fault::SyncFails, _) => return Err(Box::new(io::Error::other(format!("injected: {injection}")))),
            // Without the hook of panics: it would print each one.
            (Fault::Panic, _) => {
                drop(state);
                resume_unwind(Box::new(format!("injected: {injection}")));
            }
        }
        Ok(Passage::On)
    }
}
