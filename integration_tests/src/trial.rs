//! One run of a topology under test, under a schedule.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cofferdam_engine::{
    Key, Record,
    checkpoint::{snapshot::StateAddress, store::StateBackend},
    fail_point::Point,
    panic_message,
    state::read_keyed_state,
    topology::Topology,
};
use cofferdam_storage::{FileSystem, Lmdb, Memory};

use crate::{
    faults::Faults,
    io::Io,
    order::Edges,
    outcome::Outcome,
    schedule::{Injection, Schedule},
    setup::Setup,
    simulation::Simulation,
};

/// Where the checkpoints of the runs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// In memory: it outlives the simulated process.
    #[default]
    Memory,
    /// In an LMDB environment, in a temporary directory for each run.
    Lmdb,
    /// In plain files, in a temporary directory for each run.
    Files,
}

pub(crate) type TopologyOf = Arc<dyn Fn(&Io) -> Topology + Send + Sync>;

/// Reads a keyed state out of the final checkpoint.
#[derive(Clone)]
pub(crate) struct StateOf {
    pub(crate) step: String,
    read: Arc<dyn Fn(&dyn StateBackend) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> + Send + Sync>,
}

impl StateOf {
    pub(crate) fn new<K: Key, S: Record>(step: &str) -> Self {
        let address = StateAddress { operator: step.to_string(), state: "value".to_string() };
        let read = move |backend: &dyn StateBackend| {
            let mut store = backend.open().map_err(|error| error.to_string())?;
            let Some(newest) = store.newest().map_err(|error| error.to_string())? else { return Ok(BTreeMap::new()) };
            if !newest.operators.iter().any(|operator| operator.uid == address.operator && !operator.states.is_empty())
            {
                return Err("the topology has no step of this name that keeps state".to_string());
            }
            let reader = store.reader().map_err(|error| error.to_string())?;
            let entries = read_keyed_state::<K, S>(reader.as_ref(), address.clone(), newest.max_parallelism);
            let entries = entries.map_err(|error| error.to_string())?;
            Ok(entries.iter().map(|(key, value)| encode_entry(key, value)).collect())
        };
        Self { step: step.to_string(), read: Arc::new(read) }
    }
}

pub(crate) fn encode_entry<K: Key, S: Record>(key: &K, value: &S) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    (bytes, postcard::to_stdvec(value).unwrap_or_default())
}

/// What is run, whatever the schedule.
#[derive(Clone)]
pub(crate) struct Trial {
    pub(crate) topology: TopologyOf,
    pub(crate) backend: Backend,
    pub(crate) setup: Arc<dyn Fn(Setup) -> Setup + Send + Sync>,
    pub(crate) states: Vec<StateOf>,
    /// Records of each source, at most.
    pub(crate) limit: Option<usize>,
}

/// What a run came to, and how it went.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    /// The engine broke a promise of its own.
    pub(crate) mechanism: Option<String>,
    pub(crate) reached: BTreeMap<Point, u32>,
    pub(crate) injected: Vec<Injection>,
    pub(crate) edges: Edges,
    pub(crate) trace: String,
}

impl Trial {
    /// Runs the job to its end.
    pub(crate) fn run(&self, schedule: &Schedule) -> Run {
        let directory;
        let backend: Arc<dyn StateBackend> = match self.backend {
            Backend::Memory => Arc::new(Memory::new()),
            durable => {
                directory = tempfile::tempdir();
                match &directory {
                    Ok(directory) if durable == Backend::Files => Arc::new(FileSystem::at(directory.path())),
                    Ok(directory) => Arc::new(Lmdb::at(directory.path())),
                    Err(error) => panic!("no temporary directory for a run's checkpoints: {error}"),
                }
            }
        };
        self.run_on(backend, schedule)
    }

    fn run_on(&self, backend: Arc<dyn StateBackend>, schedule: &Schedule) -> Run {
        let io = Arc::new(Io::new(self.limit));
        let (topology, its_io) = (self.topology.clone(), io.clone());
        let build = move || {
            its_io.begin();
            topology(&its_io)
        };
        let setup = (self.setup)(Setup::drawn(schedule.order));
        let edges = Edges::default();
        let simulation = Simulation::new(schedule.order, setup, Faults::of(schedule), build);
        let mut simulation = simulation.backend_shared(backend.clone()).watch(edges.clone());
        let end = catch_unwind(AssertUnwindSafe(|| simulation.run()));
        let (error, mechanism) = match end {
            Ok(end) => (end.err().map(|error| error.to_string()), None),
            Err(payload) => (None, Some(panic_message(payload.as_ref()))),
        };
        let (reached, injected, trace) = (simulation.reached(), simulation.injected(), simulation.trace());
        drop(simulation);
        let mut states = Vec::new();
        let mut unreadable = None;
        for state in &self.states {
            match (state.read)(backend.as_ref()) {
                Ok(entries) => states.push(entries),
                Err(error) => unreadable = Some(format!("the state of '{}' cannot be read: {error}", state.step)),
            }
        }
        let outcome = Outcome { outputs: io.published(), states, error };
        Run { outcome, mechanism: mechanism.or(unreadable), reached, injected, edges, trace }
    }
}
