//! Runs a topology under many schedules of faults, and compares each run with one without faults.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cofferdam_engine::{Key, Record, checkpoint::config::CheckpointMode, fail_point::Point, topology::Topology};
use parking_lot::Mutex;

use crate::{
    exhaustive::{self, Base},
    io::Io,
    journey::SavepointUse,
    judge::{Check, Judge, broken_checks},
    order::{OrderDependence, depends_on_order},
    outcome::{Broken, Outcome},
    report::{Failure, Report},
    schedule::{Injection, Schedule},
    setup::Setup,
    shrink::shrink,
    trial::{Backend, Run, StateOf, Trial},
};

/// Failures that are looked into; of further ones only the schedule is told.
const SHRUNK: usize = 3;

/// Schedules that are run before their results are looked at, and forgotten.
const TOGETHER: usize = 64;

/// Proves of a topology that it gives the right output whatever fails; or shows that it does not.
///
/// ```
/// use cofferdam_engine::topology::Topology;
/// use cofferdam_testkit::Torture;
///
/// let report = Torture::new(|io| {
///     let topology = Topology::new("counts");
///     topology
///         .source("numbers", io.source((0..60u64).collect()))
///         .key_by(|n| n % 3)
///         .fold("count", 0u64, |count, _| *count += 1)
///         .sink("counts", io.sink_in_order_of(|(key, _): &(u64, u64)| *key));
///     topology
/// })
/// .seeds(0..20)
/// .run()
/// .unwrap();
/// report.assert_exactly_once();
/// ```
///
/// The runs are those of a [`Simulation`](crate::Simulation): one thread, virtual time, and the engine's own state machines. What a run without faults publishes is what
/// every other run must publish.
#[derive(Clone)]
pub struct Torture {
    trial: Trial,
    every_fail_point: bool,
    /// Of what `every_fail_point` makes, one schedule for each fault at each point.
    each_fault_once: bool,
    seeds: Range<u64>,
    schedules: Vec<Schedule>,
    orders: u64,
    checks: Vec<Check>,
    mode: CheckpointMode,
    until_failure: bool,
    /// What was set, as it would be written.
    settings: String,
}

/// Why no verdict was possible.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TortureError {
    /// The topology did not run to its end though nothing was made to fail.
    #[error("the topology fails by itself, without any fault (order {order}): {message}")]
    FailsByItself {
        /// The order of the run.
        order: u64,
        /// What happened.
        message: String,
    },
    /// A check does not hold though nothing was made to fail.
    #[error("a run without any fault (order {order}) breaks a promise: {broken}")]
    BrokenByItself {
        /// The order of the run.
        order: u64,
        /// What it breaks.
        broken: Broken,
    },
    /// The same run came to something else the second time.
    #[error(
        "the same run without faults (order {order}) comes to something else the second time: the topology keeps something outside of its state that outlives a run, as a counter shared through an `Arc` does"
    )]
    NotDeterministic {
        /// The order of both runs.
        order: u64,
    },
    /// Every run would be compared with nothing.
    #[error(
        "a run without faults publishes nothing, and no state was asked for: take the sinks from `io.sink()` or `io.output()`, and give the sources records"
    )]
    NothingToCompare,
    /// A schedule has a fault that can never strike.
    #[error("{0} can never strike: the fault makes no sense at this point, or its first time is 1")]
    Senseless(Injection),
    /// There is nothing to do.
    #[error("no schedule to run: ask for `every_fail_point()`, `seeds(...)` or `schedule(...)`")]
    NoSchedule,
}

impl Torture {
    /// Puts the topology that `topology` makes under test. It is made anew for every process of every run, and must take its sources and sinks from the [`Io`].
    pub fn new(topology: impl Fn(&Io) -> Topology + Send + Sync + 'static) -> Self {
        let trial = Trial {
            topology: Arc::new(topology),
            backend: Backend::Memory,
            setup: Arc::new(Setup::eventful),
            states: Vec::new(),
            savepoints: SavepointUse::None,
            limit: None,
        };
        Self {
            trial,
            every_fail_point: false,
            each_fault_once: false,
            seeds: 0..0,
            schedules: Vec::new(),
            orders: 4,
            checks: Vec::new(),
            mode: CheckpointMode::ExactlyOnce,
            until_failure: false,
            settings: String::new(),
        }
    }

    /// Where checkpoints are kept.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.trial.backend = backend;
        self.settings += &format!(".backend(Backend::{backend:?})");
        self
    }

    /// The parallelism of chains that have none of their own; 2 if nothing is said.
    #[must_use]
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.settings += &format!(".parallelism({parallelism})");
        self.adjust(move |setup| setup.parallelism(parallelism))
    }

    /// The mode of the checkpoints, and what the runs are judged by: at least once, rows may come again and state may count twice. Exactly once if nothing is said.
    #[must_use]
    pub fn mode(mut self, mode: CheckpointMode) -> Self {
        self.mode = mode;
        self.settings += &format!(".mode(CheckpointMode::{mode:?})");
        self.adjust(move |setup| setup.mode(mode))
    }

    /// Barriers overtake `steps` of a run after their trigger; and two checkpoints may be under way at once.
    #[must_use]
    pub fn unaligned(mut self, steps: u32) -> Self {
        self.settings += &format!(".unaligned({steps})");
        self.adjust(move |setup| {
            let aligned_timeout = setup.step_time * steps;
            setup.checkpoints(|checkpoints| {
                checkpoints.min_pause(std::time::Duration::ZERO).max_concurrent(2).unaligned(aligned_timeout)
            })
        })
    }

    /// Changes the numbers of each run, which are drawn from its order.
    #[must_use]
    pub fn setup(mut self, change: impl Fn(Setup) -> Setup + Send + Sync + 'static) -> Self {
        self.settings += "/* .setup(..) */";
        self.adjust(change)
    }

    fn adjust(mut self, change: impl Fn(Setup) -> Setup + Send + Sync + 'static) -> Self {
        let before = self.trial.setup.clone();
        self.trial.setup = Arc::new(move |setup| change(before(setup)));
        self
    }

    /// What is done with savepoints in each run; nothing if nothing is said.
    #[must_use]
    pub fn savepoints(mut self, savepoints: SavepointUse) -> Self {
        self.trial.savepoints = savepoints;
        self.settings += &format!(".savepoints(SavepointUse::{savepoints:?})");
        self
    }

    /// Of each source only the first `records`.
    #[must_use]
    pub fn records(mut self, records: usize) -> Self {
        self.trial.limit = Some(records);
        self
    }

    /// Every point that is reached, with every fault that makes sense there, at its first, second and last time; and points of recovery also in the attempt after
    /// a failure.
    #[must_use]
    pub fn every_fail_point(mut self) -> Self {
        self.every_fail_point = true;
        self
    }

    /// As [`every_fail_point`](Self::every_fail_point), but each fault at each point just once, at a time that goes from the first on with the points.
    #[must_use]
    pub fn each_fault_once(mut self) -> Self {
        (self.every_fail_point, self.each_fault_once) = (true, true);
        self
    }

    /// Schedules of one to five faults, and orders, drawn from each of these seeds.
    #[must_use]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// One schedule more.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// In how many orders the topology is run without faults first, to see whether its result depends on that.
    #[must_use]
    pub fn orders(mut self, orders: u64) -> Self {
        self.orders = orders.max(1);
        self
    }

    /// Compares the state of a keyed step in the end as well.
    #[must_use]
    pub fn state<K: Key, S: Record>(mut self, step: &str) -> Self {
        self.trial.states.push(StateOf::new::<K, S>(step, "value"));
        let [key, value] = [std::any::type_name::<K>(), std::any::type_name::<S>()];
        self.settings += &format!(".state::<{key}, {value}>({step:?})");
        self
    }

    /// The same for a step that names its states. Keys of a list are `EntryKey<K, u64>`, with the element's position; those of a map are `EntryKey<K, U>`.
    #[must_use]
    pub fn named_state<K: Key, S: Record>(mut self, step: &str, state: &str) -> Self {
        self.trial.states.push(StateOf::new::<K, S>(step, state));
        let [key, value] = [std::any::type_name::<K>(), std::any::type_name::<S>()];
        self.settings += &format!(".named_state::<{key}, {value}>({step:?}, {state:?})");
        self
    }

    /// An invariant of the user's, which the outcome of every run must have. The error says what is wrong.
    #[must_use]
    pub fn check(mut self, name: &str, check: impl Fn(&Outcome) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push((name.to_string(), Arc::new(check)));
        self.settings += &format!("/* .check({name:?}, ..) */");
        self
    }

    /// Runs no more than a few dozen schedules beyond the first that fails, and shrinks nothing: to learn whether something is found at all, and how soon.
    #[must_use]
    pub fn until_failure(mut self) -> Self {
        self.until_failure = true;
        self
    }

    /// Runs everything.
    pub fn run(self) -> Result<Report, TortureError> {
        let probes = self.probe()?;
        if let Some(injection) = self.schedules.iter().find_map(Schedule::senseless) {
            return Err(TortureError::Senseless(*injection));
        }
        let names: Vec<_> = self.trial.states.iter().map(|state| state.step.clone()).collect();
        let order_dependence = order_dependence(&probes, &names);
        let judge = Judge::new(&self.trial, self.checks.clone(), &probes, order_dependence.as_ref());
        let (order, reached) = most_eventful(&probes);
        let mut schedules = self.schedules.clone();
        if self.every_fail_point {
            let base = Base { order, reached };
            schedules.extend(if self.each_fault_once { base.once() } else { base.every() });
        }
        schedules.extend(self.seeds.clone().map(|seed| exhaustive::drawn(seed, reached)));
        if schedules.is_empty() {
            return Err(TortureError::NoSchedule);
        }
        let mut report = Report::new(&self.trial, judge.expected().clone(), order_dependence, judge.compares());
        report.settings = self.settings.clone();
        report.mode = self.mode;
        let mut chunks = schedules.chunks(TOGETHER);
        let together = std::iter::from_fn(|| chunks.next().map(|chunk| run_all(&self.trial, chunk)));
        for (schedule, run) in together.flatten() {
            if self.until_failure && !report.failures().is_empty() {
                break;
            }
            let mut broken = judge.judge(&run);
            broken.extend(self.never_struck(&schedule, &run));
            broken.retain(|broken| self.mode == CheckpointMode::ExactlyOnce || broken.is_loss());
            if broken.iter().any(Broken::is_difference)
                && let Some(order) = order_dependence_of(&probes[0], &self.unharmed(&schedule), &names)
            {
                // Not the faults: an order that the first runs did not try. A check of the user's counts all the same.
                report.depends_on_order(order, !self.checks.is_empty());
                broken.retain(|broken| !broken.is_difference());
            }
            report.add(&run, broken.is_empty());
            if broken.is_empty() {
                continue;
            }
            let is_drawn =
                self.seeds.contains(&schedule.order) && schedule == exhaustive::drawn(schedule.order, reached);
            let seed = is_drawn.then_some(schedule.order);
            let is_shrunk = !self.until_failure && report.failures().len() < SHRUNK;
            let shrunk = is_shrunk.then(|| shrink(&self.trial, &judge, &schedule, &broken[0]));
            report.fail(Failure { schedule, seed, shrunk, broken, trace: run.trace, line: report.line() });
        }
        Ok(report)
    }

    /// The run of a schedule's order, without its faults.
    fn unharmed(&self, schedule: &Schedule) -> (u64, Run) {
        (schedule.order, self.trial.run(&Schedule::order(schedule.order)))
    }

    /// Of a schedule that was asked for by name: a fault that did not strike proves nothing.
    fn never_struck(&self, schedule: &Schedule, run: &Run) -> Option<Broken> {
        let missing = schedule.injections.iter().find(|injection| !run.injected.contains(injection))?;
        self.schedules.contains(schedule).then(|| Broken::NeverStruck(missing.to_string()))
    }

    /// Runs without faults, in several orders.
    fn probe(&self) -> Result<Vec<(u64, Run)>, TortureError> {
        let schedules: Vec<_> = (0..self.orders).map(Schedule::order).collect();
        let probes = run_all(&self.trial, &schedules).into_iter().map(|(schedule, run)| {
            match run.mechanism.clone().or(run.outcome.error.clone()) {
                Some(message) => Err(TortureError::FailsByItself { order: schedule.order, message }),
                None => Ok((schedule.order, run)),
            }
        });
        let probes: Vec<_> = probes.collect::<Result<_, _>>()?;
        for (order, run) in &probes {
            if let Some(broken) = broken_checks(&self.checks, &run.outcome).into_iter().next() {
                return Err(TortureError::BrokenByItself { order: *order, broken });
            }
        }
        let again = self.trial.run(&Schedule::order(probes[0].0));
        if !Judge::new(&self.trial, Vec::new(), &probes[..1], None).judge(&again).is_empty() {
            return Err(TortureError::NotDeterministic { order: probes[0].0 });
        }
        let publishes = probes[0].1.outcome.outputs.iter().any(|rows| !rows.is_empty());
        let holds = probes[0].1.outcome.states.iter().any(|state| !state.is_empty());
        if publishes || holds { Ok(probes) } else { Err(TortureError::NothingToCompare) }
    }
}

/// The order in which most points are reached, most often.
fn most_eventful(probes: &[(u64, Run)]) -> (u64, &BTreeMap<Point, u32>) {
    let events = |run: &Run| (run.reached.len(), run.reached.get(&Point::CommitDurable).copied());
    let most = probes.iter().max_by_key(|(_, run)| events(run)).unwrap_or(&probes[0]);
    (most.0, &most.1.reached)
}

fn order_dependence(probes: &[(u64, Run)], states: &[String]) -> Option<OrderDependence> {
    let mut found: Option<OrderDependence> = None;
    for probe in &probes[1..] {
        let Some(one) = order_dependence_of(&probes[0], probe, states) else { continue };
        match &mut found {
            None => found = Some(one),
            Some(found) => {
                found.outputs.extend(one.outputs);
                found.states.extend(one.states);
            }
        }
    }
    found
}

fn order_dependence_of(first: &(u64, Run), other: &(u64, Run), states: &[String]) -> Option<OrderDependence> {
    let [first, other] = [first, other].map(|(order, run)| (&run.outcome, &run.edges, *order));
    depends_on_order(first, other, states)
}

/// Runs all schedules, on as many threads as there are cores; the results are in the order of the schedules.
fn run_all(trial: &Trial, schedules: &[Schedule]) -> Vec<(Schedule, Run)> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Run)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(schedule) = schedules.get(number) else { return };
            let run = trial.run(schedule);
            done.lock().push((number, run));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(number, run)| (schedules[number].clone(), run)).collect()
}
