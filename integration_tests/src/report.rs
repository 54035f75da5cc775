//! What came of all runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cofferdam_engine::{Key, Record, checkpoint::config::CheckpointMode, fail_point::Point};

use crate::{
    order::OrderDependence,
    outcome::{Broken, Outcome},
    schedule::{Fault, Schedule},
    shrink::Shrunk,
    trial::{Run, Trial, encode_entry},
};

/// How many runs had a fault at a point, and how many of those broke a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Runs in which the fault struck there.
    pub runs: u32,
    /// Of those the ones that broke a promise.
    pub failures: u32,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its schedule.
    pub schedule: Schedule,
    /// The seed that it was drawn from.
    pub seed: Option<u64>,
    /// The shortest schedule that still breaks the same promise, if it was looked for.
    pub shrunk: Option<Shrunk>,
    /// What it broke.
    pub broken: Vec<Broken>,
    /// Everything that happened in the run, a line each.
    pub trace: String,
    /// The settings of the runs and the assertion, as they would be written.
    pub(crate) line: (String, &'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for broken in &self.broken {
            writeln!(f, "  {broken}")?;
        }
        let (schedule, records) =
            self.shrunk.as_ref().map_or((&self.schedule, None), |shrunk| (&shrunk.schedule, shrunk.records));
        let records = records.map_or_else(String::new, |records| format!(".records({records})"));
        let rust = schedule.to_rust();
        let (settings, assertion) = &self.line;
        writeln!(f, "    Torture::new(topology){settings}{records}.schedule({rust}).run().unwrap().{assertion}();")?;
        write!(f, "    found as {}", self.schedule)?;
        self.seed.map_or(Ok(()), |seed| write!(f, ", seed {seed}"))
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Report {
    expected: Outcome,
    steps: Vec<String>,
    order_dependence: Option<OrderDependence>,
    compares: bool,
    runs: u32,
    cells: BTreeMap<(Point, Fault), Cell>,
    reached: BTreeSet<Point>,
    failures: Vec<Failure>,
    pub(crate) settings: String,
    pub(crate) mode: CheckpointMode,
}

impl Report {
    pub(crate) fn new(
        trial: &Trial,
        expected: Outcome,
        order_dependence: Option<OrderDependence>,
        compares: bool,
    ) -> Self {
        Self {
            expected,
            steps: trial.states.iter().map(|state| state.step.clone()).collect(),
            order_dependence,
            compares,
            runs: 0,
            cells: BTreeMap::new(),
            reached: BTreeSet::new(),
            failures: Vec::new(),
            settings: String::new(),
            mode: CheckpointMode::ExactlyOnce,
        }
    }

    pub(crate) fn add(&mut self, run: &Run, held: bool) {
        self.runs += 1;
        self.reached.extend(run.reached.keys());
        let cells: BTreeSet<_> = run.injected.iter().map(|injection| (injection.point, injection.fault)).collect();
        for cell in cells {
            let cell = self.cells.entry(cell).or_default();
            cell.runs += 1;
            cell.failures += u32::from(!held);
        }
    }

    pub(crate) fn line(&self) -> (String, &'static str) {
        let assertion = match self.mode {
            CheckpointMode::ExactlyOnce => "assert_exactly_once",
            CheckpointMode::AtLeastOnce => "assert_at_least_once",
        };
        (self.settings.clone(), assertion)
    }

    /// An order was found in which a run without faults comes to something else.
    pub(crate) fn depends_on_order(&mut self, found: OrderDependence, has_check: bool) {
        self.compares &= has_check;
        self.order_dependence.get_or_insert(found);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// How many runs there were, without those that had no faults.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// What a run without faults comes to.
    pub fn expected(&self) -> &Outcome {
        &self.expected
    }

    /// For each point and fault that struck, how many runs.
    pub fn cells(&self) -> &BTreeMap<(Point, Fault), Cell> {
        &self.cells
    }

    /// Points that no run reached: nothing is known of them.
    pub fn not_reached(&self) -> Vec<Point> {
        Point::ALL.into_iter().filter(|point| !self.reached.contains(point)).collect()
    }

    /// Where the topology's result depends on the order in which channels are read. What it says of outputs that differ is not compared.
    pub fn order_dependence(&self) -> Option<&OrderDependence> {
        self.order_dependence.as_ref()
    }

    /// The runs that broke a promise.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// # Panics
    /// If a run lost a row, published one twice, or broke any other promise; or if an output depends on order, or a state does, so that it was compared with nothing, and there is no
    /// [`check`](crate::Torture::check) either.
    pub fn assert_exactly_once(&self) {
        self.assert_none(|_| true);
    }

    /// # Panics
    /// As [`assert_exactly_once`](Self::assert_exactly_once), but rows may have been published again, and state may count records twice.
    pub fn assert_at_least_once(&self) {
        self.assert_none(Broken::is_loss);
    }

    fn assert_none(&self, counts: impl Fn(&Broken) -> bool) {
        if !self.compares {
            let order = self.order_dependence.as_ref().map_or_else(String::new, |order| format!(": {order}"));
            panic!(
                "an output or a state was compared with nothing{order}; give a `check` of what must hold in any order"
            );
        }
        let failures: Vec<_> = self.failures.iter().filter(|failure| failure.broken.iter().any(&counts)).collect();
        if failures.is_empty() {
            return;
        }
        let first: Vec<_> = failures.iter().take(5).map(|failure| failure.to_string()).collect();
        panic!("{} of {} runs broke a promise:\n{}", failures.len(), self.runs, first.join("\n"));
    }

    /// # Panics
    /// If the state of `step` is another one in the end of a run without faults, or was not asked for with [`Torture::state`](crate::Torture::state). That all other runs
    /// come to the same state is what [`assert_exactly_once`](Self::assert_exactly_once) says.
    pub fn assert_state_equals<K: Key, S: Record>(&self, step: &str, expected: impl IntoIterator<Item = (K, S)>) {
        let place = self.steps.iter().position(|known| known == step);
        let Some(place) = place else {
            panic!("the state of '{step}' was not asked for: say `.state::<K, S>(\"{step}\")`")
        };
        let expected: BTreeMap<_, _> = expected.into_iter().map(|(key, value)| encode_entry(&key, &value)).collect();
        let seen = &self.expected.states[place];
        let differ = crate::outcome::differing(&expected, seen);
        assert!(
            differ == 0,
            "the state of '{step}' differs in {differ} entries: it has {}, and {} were expected",
            seen.len(),
            expected.len()
        );
    }
}
