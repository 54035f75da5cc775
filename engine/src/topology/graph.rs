//! What a topology's methods leave behind: steps, chains and edges, before parallelism is settled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    chain::Chain,
    checkpoint::snapshot::OperatorKind,
    error::BoxError,
    id::{AlignmentGroup, SubtaskIndex},
    key_group::KeyGroupRange,
    operator::either::Lift,
    output::{sides, sink::SinkRecovery},
    state::DeclaredState,
    topology::fault::TopologyFault,
};

/// Which step of a topology, in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StepIndex(pub(crate) u32);

/// Which edge between two chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EdgeIndex(pub(crate) usize);

/// A step as the topology's checks see it.
pub(crate) struct StepInfo {
    /// The method that made it: for messages and default names.
    pub(crate) kind: &'static str,
    /// What it has to restore, if anything.
    pub(crate) operator: Option<OperatorKind>,
    /// Its states.
    pub(crate) states: Vec<DeclaredState>,
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<String>,
    /// Something follows it, or nothing needs to.
    pub(crate) consumed: bool,
    /// A source without an end.
    pub(crate) is_unbounded: bool,
    /// It gives records new stamps.
    pub(crate) gives_time: bool,
}

impl StepInfo {
    pub(crate) fn display_name(&self, index: StepIndex) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}-{}", self.kind, index.0))
    }

    pub(crate) fn address(&self, index: StepIndex) -> String {
        self.uid.clone().unwrap_or_else(|| self.display_name(index))
    }
}

/// How records of an edge are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// Subtask to subtask of the same number where the parallelism is equal, else in turn.
    Forward,
    /// In turn.
    Rebalance,
    /// By key group.
    Key,
    /// A copy to each.
    Broadcast,
    /// As `Forward`, back to a chain before.
    Feedback,
}

pub(crate) struct Edge {
    pub(crate) kind: EdgeKind,
    /// Known when the chain that feeds it is complete: for all but a loop's way back that is from the beginning.
    pub(crate) from: Option<usize>,
    /// Known when the chain that reads it is complete.
    pub(crate) to: Option<usize>,
    /// Its records have times, and so it carries watermarks.
    pub(crate) is_timed: bool,
    /// It leads to one side of a step with two inputs.
    pub(crate) lift: Option<Lift>,
}

/// Enumerates a source's splits, its types hidden.
pub(crate) type SplitLister = Box<dyn Fn(u32) -> Result<Vec<Vec<u8>>, BoxError> + Send + Sync>;

/// A chain as the calls described it.
pub(crate) struct ChainTemplate {
    pub(crate) steps: Vec<StepIndex>,
    pub(crate) parallelism: Option<u32>,
    pub(crate) inputs: Vec<EdgeIndex>,
    pub(crate) outputs: Vec<EdgeIndex>,
    /// The edges of its side outputs: their channels come behind those of `outputs`.
    pub(crate) sides: Vec<EdgeIndex>,
    pub(crate) splits: Option<SplitLister>,
    pub(crate) sink: Option<Box<dyn SinkRecovery>>,
    pub(crate) build: Box<dyn Fn(&BuildContext<'_>) -> Box<dyn Chain> + Send>,
}

/// Which side output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideIndex(pub(crate) usize);

/// A side output: an edge that begins within a chain.
pub(crate) struct SideInfo {
    /// What its stream begins with.
    pub(crate) step: StepIndex,
    pub(crate) edge: EdgeIndex,
    /// The steps that were said to give records to it: it should be one.
    pub(crate) bound_to: Vec<StepIndex>,
    /// How many streams read it: it should be one.
    pub(crate) reads: u32,
    /// Taken by the chain that it is a side output of.
    build: Option<BuildSide>,
}

/// Makes a side output's lanes for one subtask.
pub(crate) type BuildSide = Box<dyn Fn(&BuildContext<'_>) -> sides::Side + Send>;

/// What a chain is built with. Nothing here blocks or fails.
pub struct BuildContext<'a> {
    pub(crate) subtask: SubtaskIndex,
    pub(crate) parallelism: u32,
    pub(crate) max_parallelism: u16,
    pub(crate) batch_size: usize,
    /// Each step's address.
    pub(crate) addresses: &'a [Arc<str>],
    /// For each edge, the parallelism of the chain it leads to, and whether it is one-to-one.
    pub(crate) edges: &'a [EdgeWidth],
    /// The chain's outgoing edges.
    pub(crate) outputs: &'a [EdgeIndex],
}

/// How wide an edge is at its far end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EdgeWidth {
    pub(crate) parallelism: u32,
    pub(crate) one_to_one: bool,
}

impl BuildContext<'_> {
    pub(crate) fn address(&self, step: StepIndex) -> Arc<str> {
        self.addresses[step.0 as usize].clone()
    }

    /// The key groups that belong to the subtask being built.
    pub(crate) fn key_groups(&self) -> KeyGroupRange {
        KeyGroupRange::of_subtask(self.subtask, self.parallelism, self.max_parallelism)
    }

    /// Number of lanes an edge needs in one subtask.
    pub(crate) fn lanes(&self, edge: EdgeIndex) -> usize {
        let width = self.edges[edge.0];
        if width.one_to_one { 1 } else { width.parallelism as usize }
    }
}

#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<StepInfo>,
    pub(crate) chains: Vec<ChainTemplate>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) sides: Vec<SideInfo>,
    /// What makes no sense in what steps were given.
    pub(crate) faults: Vec<TopologyFault>,
    /// Alignment groups, each with its name and the steps in it.
    pub(crate) alignment: Vec<(String, Vec<StepIndex>)>,
}

impl Graph {
    pub(crate) fn add_step(
        &mut self,
        kind: &'static str,
        operator: Option<OperatorKind>,
        name: Option<String>,
    ) -> StepIndex {
        self.steps.push(StepInfo {
            kind,
            operator,
            name,
            uid: None,
            states: Vec::new(),
            consumed: false,
            is_unbounded: false,
            gives_time: false,
        });
        StepIndex(self.steps.len() as u32 - 1)
    }

    pub(crate) fn step(&mut self, step: StepIndex) -> &mut StepInfo {
        &mut self.steps[step.0 as usize]
    }

    /// Puts a step into the alignment group of this name.
    pub(crate) fn align(&mut self, step: StepIndex, group: &str) -> AlignmentGroup {
        let place = self.alignment.iter().position(|(name, _)| name == group).unwrap_or_else(|| {
            self.alignment.push((group.to_string(), Vec::new()));
            self.alignment.len() - 1
        });
        self.alignment[place].1.push(step);
        AlignmentGroup(place as u32)
    }

    pub(crate) fn numbered_steps(&self) -> impl Iterator<Item = (StepIndex, &StepInfo)> {
        (0u32..).map(StepIndex).zip(&self.steps)
    }

    /// A chain and every chain that leads to it, by a way that does not pass `without`, if one is given.
    pub(crate) fn upstream_of(&self, chain: usize, without: Option<usize>) -> Vec<usize> {
        let mut found = vec![chain];
        let mut next = 0;
        while let Some(current) = found.get(next).copied() {
            next += 1;
            let inputs = self.chains[current].inputs.iter().filter(|_| Some(current) != without);
            for from in inputs.filter_map(|edge| self.edges[edge.0].from) {
                if !found.contains(&from) {
                    found.push(from);
                }
            }
        }
        found
    }

    /// Adds a side output, no end of whose edge is known yet.
    pub(crate) fn add_side(
        &mut self,
        step: StepIndex,
        is_timed: bool,
        build: impl FnOnce(EdgeIndex) -> BuildSide,
    ) -> (SideIndex, EdgeIndex) {
        let edge = EdgeIndex(self.edges.len());
        self.edges.push(Edge { kind: EdgeKind::Forward, from: None, to: None, is_timed, lift: None });
        self.sides.push(SideInfo { step, edge, bound_to: Vec::new(), reads: 0, build: Some(build(edge)) });
        (SideIndex(self.sides.len() - 1), edge)
    }

    /// Lets the side outputs of these steps begin at a chain, the next one to be added.
    pub(crate) fn begin_sides(&mut self, steps: &[StepIndex]) -> (Vec<EdgeIndex>, Vec<BuildSide>) {
        let Self { chains, edges, sides, .. } = self;
        let bound = sides.iter_mut().filter(|side| side.bound_to.iter().any(|step| steps.contains(step)));
        let begun = bound.filter_map(|side| {
            edges[side.edge.0].from = Some(chains.len());
            Some((side.edge, side.build.take()?))
        });
        begun.unzip()
    }

    /// Adds a complete chain and its outgoing edges, whose far ends are still open.
    pub(crate) fn add_chain(
        &mut self,
        mut chain: ChainTemplate,
        outputs: &[EdgeKind],
        is_timed: bool,
    ) -> Vec<EdgeIndex> {
        let number = self.chains.len();
        for edge in &chain.inputs {
            self.edges[edge.0].to = Some(number);
        }
        let first = self.edges.len();
        let edge = |kind: &EdgeKind| Edge { kind: *kind, from: Some(number), to: None, is_timed, lift: None };
        self.edges.extend(outputs.iter().map(edge));
        chain.outputs = (first..self.edges.len()).map(EdgeIndex).collect();
        let edges = chain.outputs.clone();
        self.chains.push(chain);
        edges
    }

    /// Adds an edge whose beginning is still open.
    pub(crate) fn add_feedback(&mut self, is_timed: bool) -> EdgeIndex {
        self.edges.push(Edge { kind: EdgeKind::Feedback, from: None, to: None, is_timed, lift: None });
        EdgeIndex(self.edges.len() - 1)
    }

    /// Lets a feedback edge begin at a chain.
    pub(crate) fn close_feedback(&mut self, edge: EdgeIndex, from: usize) {
        self.edges[edge.0].from = Some(from);
        self.chains[from].outputs.push(edge);
    }

    /// Adds one more edge out of a chain that is used more than once.
    pub(crate) fn add_edge(&mut self, from: usize, kind: EdgeKind, is_timed: bool) -> EdgeIndex {
        self.edges.push(Edge { kind, from: Some(from), to: None, is_timed, lift: None });
        let edge = EdgeIndex(self.edges.len() - 1);
        self.chains[from].outputs.push(edge);
        edge
    }
}

/// A graph under construction, shared by a topology and its streams.
#[derive(Clone, Default)]
pub(crate) struct SharedGraph(Arc<Mutex<Graph>>);

impl SharedGraph {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Graph> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
