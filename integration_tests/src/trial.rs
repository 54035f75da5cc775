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
use tempfile::TempDir;

use crate::{
    faults::Faults,
    io::Io,
    journey,
    journey::SavepointUse,
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
    /// As [`Lmdb`](Self::Lmdb), with next to no room for state on the heap: what is stored leaves it, and is looked up.
    LmdbSmallHeap,
    /// In plain files, in a temporary directory for each run.
    Files,
}

/// Bytes of state on the heap, where there is a limit: a batch's keys, and what has changed, stay in any case.
const SMALL_HEAP: u64 = 200;

/// Where the checkpoints of one run are.
pub(crate) struct Place {
    pub(crate) backend: Arc<dyn StateBackend>,
    /// Goes with it.
    _directory: Option<TempDir>,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Lmdb, Self::LmdbSmallHeap, Self::Files];

    /// A new place.
    pub(crate) fn place(self) -> Place {
        if self == Self::Memory {
            return Place { backend: Arc::new(Memory::new()), _directory: None };
        }
        let directory = match tempfile::tempdir() {
            Ok(directory) => directory,
            Err(error) => panic!("no temporary directory for a run's checkpoints: {error}"),
        };
        let path = directory.path();
        let backend: Arc<dyn StateBackend> = match self {
            Self::Files => Arc::new(FileSystem::at(path)),
            Self::LmdbSmallHeap => Arc::new(Lmdb::at(path).heap_limit(SMALL_HEAP)),
            Self::Lmdb | Self::Memory => Arc::new(Lmdb::at(path)),
        };
        Place { backend, _directory: Some(directory) }
    }
}

pub(crate) type TopologyOf = Arc<dyn Fn(&Io) -> Topology + Send + Sync>;

/// Reads a keyed state out of the final checkpoint.
#[derive(Clone)]
pub(crate) struct StateOf {
    pub(crate) step: String,
    read: Arc<dyn Fn(&dyn StateBackend) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> + Send + Sync>,
}

impl StateOf {
    pub(crate) fn new<K: Key, S: Record>(step: &str, state: &str) -> Self {
        let address = StateAddress { operator: step.to_string(), state: state.to_string() };
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

    /// Every entry of it in the newest checkpoint, encoded.
    fn read(&self, backend: &dyn StateBackend) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
        (self.read)(backend).map_err(|error| format!("the state of '{}' cannot be read: {error}", self.step))
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
    pub(crate) savepoints: SavepointUse,
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
        let io = Arc::new(Io::new(self.limit));
        let mut place = self.backend.place();
        let edges = Edges::default();
        let setup = (self.setup)(Setup::drawn(schedule.order));
        let simulation = self.simulation(schedule, setup, io.clone(), Faults::of(schedule));
        let mut simulation = simulation.watch(edges.clone()).backend_shared(place.backend.clone());
        simulation.set_up(|setup| setup.settings.heap_limit = place.backend.heap_limit());
        let end = catch_unwind(AssertUnwindSafe(|| journey::run(self, &mut simulation, &mut place, schedule)));
        let (error, mechanism) = match end {
            Ok(Ok(end)) => (end.err().map(|error| error.to_string()), None),
            Ok(Err(message)) => (None, Some(message)),
            Err(payload) => (None, Some(panic_message(payload.as_ref()))),
        };
        let (reached, injected, trace) = (simulation.reached(), simulation.injected(), simulation.trace());
        drop(simulation);
        let (states, unreadable) = match self.states_in(place.backend.as_ref()) {
            Ok(states) => (states, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let outcome = Outcome { outputs: io.published(), states, error };
        Run { outcome, mechanism: mechanism.or(unreadable), reached, injected, edges, trace }
    }

    /// The job, with these sources and sinks.
    pub(crate) fn simulation(&self, schedule: &Schedule, setup: Setup, io: Arc<Io>, faults: Faults) -> Simulation {
        let topology = self.topology.clone();
        let build = move || {
            io.begin();
            topology(&io)
        };
        Simulation::new(schedule.order, setup, faults, build)
    }

    /// The states asked for, in the newest checkpoint.
    pub(crate) fn states_in(&self, backend: &dyn StateBackend) -> Result<Vec<BTreeMap<Vec<u8>, Vec<u8>>>, String> {
        self.states.iter().map(|state| state.read(backend)).collect()
    }
}
