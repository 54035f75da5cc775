//! A topology with every number settled: what drivers run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    checkpoint::{
        config::CheckpointConfig,
        layout::{EdgeLayout, JobLayout, OperatorLayout},
        snapshot::{CheckpointCommit, CheckpointMetadata, OperatorKind, OperatorRecord, OperatorSnapshot, SubtaskId},
        store::{StateLookup, StateReader},
    },
    error::{Error, ErrorKind},
    fail_point::FailPoints,
    id::{Attempt, ChannelIndex, CheckpointId, JobId, SubtaskIndex},
    operator::OpenContext,
    restart::RestartStrategy,
    state::HeapShare,
    subtask::{InputEdge, Subtask},
    topology::{
        Topology, check,
        fault::TopologyError,
        graph::{BuildContext, ChainTemplate, Edge, EdgeIndex, EdgeKind, EdgeWidth, Graph, StepIndex},
    },
};

/// What a job is started with, beside its topology.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of chains that do not say.
    pub parallelism: u32,
    /// Number of key groups: the highest parallelism that the job can ever have. Fixed at its first start.
    pub max_parallelism: u16,
    /// Records per batch, at most.
    pub batch_size: usize,
    /// When checkpoints are taken.
    pub checkpoints: CheckpointConfig,
    /// What follows a failure.
    pub restart: RestartStrategy,
    /// Whether checkpoints outlive the process.
    pub is_durable: bool,
    /// How much of the heap live state may take, in bytes, if the backend sets a limit.
    pub heap_limit: Option<u64>,
    /// Where a harness makes it fail.
    pub fail_points: FailPoints,
}

/// See the module.
pub struct Plan {
    pub(super) name: Arc<str>,
    pub(super) settings: Settings,
    pub(super) graph: Graph,
    /// Of each step.
    addresses: Vec<Arc<str>>,
    /// Of each chain.
    parallelism: Vec<u32>,
    /// Of each edge.
    widths: Vec<EdgeWidth>,
}

/// A subtask, ready to be opened and run.
pub struct Deployed {
    /// The subtask.
    pub subtask: Subtask,
    /// What to open it with.
    pub context: OpenContext,
    /// Number of its input channels.
    pub inputs: usize,
    /// For each output channel the subtask it leads to, and that one's input channel.
    pub outputs: Vec<(SubtaskId, ChannelIndex)>,
    /// Whether it reads a source: then it is told of triggers.
    pub is_source: bool,
}

impl Plan {
    /// Settles every number, or lists everything that is wrong.
    pub fn new(topology: Topology, settings: Settings) -> Result<Self, TopologyError> {
        let graph = std::mem::take(&mut *topology.graph.lock());
        let parallelism: Vec<_> =
            graph.chains.iter().map(|chain| chain.parallelism.unwrap_or(settings.parallelism)).collect();
        let faults = check::faults(&graph, &settings, &parallelism);
        if !faults.is_empty() {
            return Err(TopologyError { topology: topology.name, faults });
        }
        let widths = graph.edges.iter().map(|edge| {
            let to = edge.to.map_or(0, |to| parallelism[to]);
            let is_forward = matches!(edge.kind, EdgeKind::Forward | EdgeKind::Feedback);
            let from = edge.from.map_or(0, |from| parallelism[from]);
            EdgeWidth { parallelism: to, one_to_one: is_forward && to == from }
        });
        let widths = widths.collect();
        let addresses = graph.numbered_steps().map(|(index, step)| step.address(index).into()).collect();
        Ok(Self { name: topology.name.into(), settings, graph, addresses, parallelism, widths })
    }

    /// The job's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the coordinator has to know.
    pub fn layout(&self, job: JobId) -> JobLayout {
        let subtasks =
            self.subtask_ids().map(|id| (id, format!("{} [{}]", self.chain_name(id.chain as usize), id.index).into()));
        JobLayout {
            job,
            job_name: self.name.to_string(),
            max_parallelism: self.settings.max_parallelism,
            subtasks: subtasks.collect(),
            operators: self.operators().map(|(_, layout)| layout).collect(),
            edges: self.edges().map(|edge| edge.layout).collect(),
            sources: self.chains_with(|chain| chain.splits.is_some()),
            loops: self.loops(),
            alignment: self.alignment(),
            fail_points: self.settings.fail_points.clone(),
        }
    }

    fn chains_with(&self, is_wanted: impl Fn(&ChainTemplate) -> bool) -> BTreeSet<u32> {
        let chains = (0u32..).zip(&self.graph.chains).filter(|(_, chain)| is_wanted(chain));
        chains.map(|(number, _)| number).collect()
    }

    /// For each alignment group, the chains that have a step in it.
    fn alignment(&self) -> Vec<BTreeSet<u32>> {
        let chains_of =
            |steps: &[StepIndex]| self.chains_with(|chain| chain.steps.iter().any(|step| steps.contains(step)));
        self.graph.alignment.iter().map(|(_, steps)| chains_of(steps)).collect()
    }

    /// The heads of loops, and which chains outside lead into each loop.
    fn loops(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let feedback = self.graph.edges.iter().filter(|edge| edge.kind == EdgeKind::Feedback);
        let heads = feedback.filter_map(|edge| Some((edge.to?, edge.from?)));
        let loops = heads.map(|(head, last)| {
            let leading = self.graph.upstream_of(last, None);
            let outside = leading.iter().filter(|chain| !self.graph.upstream_of(**chain, None).contains(&head));
            (head as u32, outside.map(|chain| *chain as u32).collect())
        });
        loops.collect()
    }

    /// The edges that lead to a chain.
    fn inputs(&self, chain: usize) -> Vec<InputEdge> {
        let mut first = ChannelIndex(0);
        let inputs = self.graph.chains[chain].inputs.iter().map(|edge| {
            let layout = EdgeLayout {
                name: self.edge_name(*edge, chain),
                chain: chain as u32,
                first,
                channels: self.channels_of(edge.0),
            };
            first.0 += layout.channels;
            let Edge { kind, is_timed, lift, .. } = self.graph.edges[edge.0];
            InputEdge {
                layout,
                by_key: kind == EdgeKind::Key,
                is_forward: kind == EdgeKind::Forward,
                is_broadcast: kind == EdgeKind::Broadcast,
                is_feedback: kind == EdgeKind::Feedback,
                is_timed,
                lift,
            }
        });
        inputs.collect()
    }

    /// An edge's address in checkpoints: good for this very topology.
    fn edge_name(&self, edge: EdgeIndex, to: usize) -> String {
        let name = |step: Option<&StepIndex>| step.map_or("", |step| &*self.addresses[step.0 as usize]);
        let from = self.graph.edges[edge.0].from.and_then(|from| self.graph.chains[from].steps.last());
        format!("{}: {} -> {}", edge.0, name(from), name(self.graph.chains[to].steps.first()))
    }

    fn subtask_ids(&self) -> impl Iterator<Item = SubtaskId> + '_ {
        (0u32..).zip(&self.parallelism).flat_map(|(chain, parallelism)| {
            (0..*parallelism).map(move |index| SubtaskId { chain, index: SubtaskIndex(index) })
        })
    }

    fn chain_name(&self, chain: usize) -> String {
        let names: Vec<_> = self.step_names(chain).iter().map(|(_, name)| name.clone()).collect();
        names.join(" -> ")
    }

    fn step_names(&self, chain: usize) -> Arc<[(StepIndex, String)]> {
        let steps = self.graph.chains[chain].steps.iter();
        steps.map(|index| (*index, self.graph.steps[index.0 as usize].display_name(*index))).collect()
    }

    /// Steps with something to restore, and their chains.
    pub(super) fn operators(&self) -> impl Iterator<Item = (usize, OperatorLayout)> + '_ {
        self.graph.chains.iter().enumerate().flat_map(move |(chain, template)| {
            template.steps.iter().filter_map(move |index| {
                let step = &self.graph.steps[index.0 as usize];
                let (kind, states) = (step.operator?, step.states.clone());
                let uid = self.addresses[index.0 as usize].to_string();
                Some((chain, OperatorLayout { uid, kind, states, chain: chain as u32 }))
            })
        })
    }

    /// The record of an operator that has done nothing yet: a source's splits. May block.
    pub(super) fn first_record(&self, chain: usize, operator: OperatorLayout) -> Result<OperatorRecord, Error> {
        let mut record = operator.empty_record();
        if let (OperatorKind::Source, Some(splits)) = (record.kind, &self.graph.chains[chain].splits) {
            let listed = splits(self.parallelism[chain]).map_err(|error| {
                let message = format!("job '{}', source '{}': its splits cannot be listed", self.name, record.uid);
                Error::new(ErrorKind::Operator, message, Some(error))
            })?;
            let split = |state| OperatorSnapshot { state, transactions: Vec::new() };
            record.subtasks = listed.into_iter().map(split).collect();
        }
        Ok(record)
    }

    /// Checkpoint 0: the sources' splits, and nothing read. May block.
    pub fn genesis(&self, job: JobId, attempt: Attempt) -> Result<CheckpointCommit, Error> {
        let operators = self.operators().map(|(chain, operator)| self.first_record(chain, operator));
        let operators = operators.collect::<Result<_, _>>()?;
        let metadata = CheckpointMetadata {
            job,
            job_name: self.name.to_string(),
            checkpoint: CheckpointId(0),
            attempt,
            max_parallelism: self.settings.max_parallelism,
            finished: false,
            draining: false,
            operators,
            in_flight: Vec::new(),
            times: Vec::new(),
            origin: None,
        };
        let (num_retained, fail_points) = (self.settings.checkpoints.num_retained, self.settings.fail_points.clone());
        Ok(CheckpointCommit { metadata, deltas: Vec::new(), num_retained, fail_points })
    }

    /// The edges that lead to any chain.
    pub(super) fn edges(&self) -> impl Iterator<Item = InputEdge> + '_ {
        (0..self.graph.chains.len()).flat_map(|chain| self.inputs(chain))
    }

    pub(super) fn parallelism_of(&self, chain: u32) -> u32 {
        self.parallelism[chain as usize]
    }

    /// Every subtask, anew. Quick: nothing is opened yet.
    pub fn deploy(
        &self,
        attempt: Attempt,
        restored: Arc<CheckpointMetadata>,
        reader: Arc<dyn StateReader>,
        lookup: Option<Arc<dyn StateLookup>>,
        place: &str,
    ) -> Vec<Deployed> {
        let heap_share = self.heap_share(lookup);
        let place: Arc<str> = place.into();
        let offsets = self.channel_offsets();
        let deployed = self.subtask_ids().map(|id| {
            let context = OpenContext {
                job: restored.job,
                job_name: self.name.clone(),
                attempt,
                subtask: id.index,
                parallelism: self.parallelism[id.chain as usize],
                max_parallelism: self.settings.max_parallelism,
                restored: restored.clone(),
                reader: reader.clone(),
                heap_share: heap_share.clone(),
                failed_records: Arc::default(),
                fail_points: self.settings.fail_points.clone(),
                state_place: place.clone(),
            };
            self.deploy_subtask(id, context, &offsets)
        });
        deployed.collect()
    }

    /// The same for every table of every subtask that is not on the heap whole.
    fn heap_share(&self, lookup: Option<Arc<dyn StateLookup>>) -> Option<HeapShare> {
        let tables = self.operators().map(|(chain, operator)| {
            let sharing = operator.states.iter().filter(|state| state.shares_heap).count();
            sharing as u64 * u64::from(self.parallelism[chain])
        });
        let bytes = self.settings.heap_limit? / tables.sum::<u64>().max(1);
        Some(HeapShare { lookup: lookup?, bytes })
    }

    fn deploy_subtask(&self, id: SubtaskId, context: OpenContext, offsets: &BTreeMap<usize, u32>) -> Deployed {
        let chain = id.chain as usize;
        let template = &self.graph.chains[chain];
        let built = (template.build)(&BuildContext {
            subtask: id.index,
            parallelism: context.parallelism,
            max_parallelism: context.max_parallelism,
            batch_size: self.settings.batch_size,
            addresses: &self.addresses,
            edges: &self.widths,
            outputs: &template.outputs,
        });
        let edges = self.inputs(chain);
        let inputs = edges.iter().map(|edge| edge.layout.channels).sum::<u32>() as usize;
        let mut outputs = Vec::new();
        for edge in template.outputs.iter().chain(&template.sides) {
            let Some(to) = self.graph.edges[edge.0].to else { continue };
            let one_to_one = self.widths[edge.0].one_to_one;
            let channel = ChannelIndex(offsets[&edge.0] + if one_to_one { 0 } else { id.index.0 });
            let targets = if one_to_one { id.index.0..id.index.0 + 1 } else { 0..self.parallelism[to] };
            outputs.extend(targets.map(|index| (SubtaskId { chain: to as u32, index: SubtaskIndex(index) }, channel)));
        }
        let is_source = template.splits.is_some();
        let subtask = Subtask::new(id, &context, self.step_names(chain), built, edges, &self.settings.checkpoints);
        Deployed { subtask, context, inputs, outputs, is_source }
    }

    /// Input channels that an edge has at each of its far subtasks.
    fn channels_of(&self, edge: usize) -> u32 {
        let from = self.graph.edges[edge].from.map_or(0, |from| self.parallelism[from]);
        if self.widths[edge].one_to_one { 1 } else { from }
    }

    /// The first input channel of each edge at its far end.
    fn channel_offsets(&self) -> BTreeMap<usize, u32> {
        let mut offsets = BTreeMap::new();
        for chain in &self.graph.chains {
            let mut next = 0;
            for edge in &chain.inputs {
                offsets.insert(edge.0, next);
                next += self.channels_of(edge.0);
            }
        }
        offsets
    }
}
