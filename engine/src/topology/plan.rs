//! A topology with every number settled: what drivers run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    checkpoint::{
        config::CheckpointConfig,
        coordinator::{EdgeLayout, JobLayout, OperatorLayout},
        snapshot::{
            CheckpointCommit, CheckpointMetadata, InFlightRecord, OperatorKind, OperatorRecord, OperatorSnapshot,
            PreparedTransaction, SubtaskId,
        },
        store::StateReader,
    },
    error::{BoxError, Error, ErrorKind},
    fail_point::{FailPoints, Point},
    id::{Attempt, ChannelIndex, CheckpointId, JobId, SubtaskIndex},
    mutation::{self, Mutation},
    operator::{OpenContext, keyed::STATE},
    panic_site,
    restart::RestartStrategy,
    sink::{Ownership, SinkContext},
    subtask::{InputEdge, Subtask},
    topology::{
        Topology,
        fault::{TopologyError, TopologyFault},
        graph::{BuildContext, ChainTemplate, EdgeIndex, EdgeKind, EdgeWidth, Graph, StepIndex},
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
    /// Where a harness makes it fail.
    pub fail_points: FailPoints,
}

/// The most records per batch: memory is reserved for a whole one.
const BATCH_MAX: usize = 1 << 20;

/// See the module.
pub struct Plan {
    name: Arc<str>,
    settings: Settings,
    graph: Graph,
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
        let faults = faults(&graph, &settings, &parallelism);
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
        let addresses = steps(&graph).map(|(index, step)| step.address(index).into()).collect();
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
            edges: (0..self.graph.chains.len()).flat_map(|chain| self.inputs(chain)).map(|edge| edge.layout).collect(),
            sources: self.chains_with(|chain| chain.splits.is_some()),
            loops: self.loops(),
            fail_points: self.settings.fail_points.clone(),
        }
    }

    fn chains_with(&self, is_wanted: impl Fn(&ChainTemplate) -> bool) -> BTreeSet<u32> {
        let chains = (0u32..).zip(&self.graph.chains).filter(|(_, chain)| is_wanted(chain));
        chains.map(|(number, _)| number).collect()
    }

    /// The heads of loops, and which chains outside lead into each loop.
    fn loops(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let feedback = self.graph.edges.iter().filter(|edge| edge.kind == EdgeKind::Feedback);
        let heads = feedback.filter_map(|edge| Some((edge.to?, edge.from?)));
        let loops = heads.map(|(head, last)| {
            let leading = upstream_of(&self.graph, last);
            let outside = leading.iter().filter(|chain| !upstream_of(&self.graph, **chain).contains(&head));
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
            let kind = self.graph.edges[edge.0].kind;
            InputEdge {
                layout,
                by_key: kind == EdgeKind::Key,
                is_forward: kind == EdgeKind::Forward,
                is_feedback: kind == EdgeKind::Feedback,
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
    fn operators(&self) -> impl Iterator<Item = (usize, OperatorLayout)> + '_ {
        self.graph.chains.iter().enumerate().flat_map(move |(chain, template)| {
            template.steps.iter().filter_map(move |index| {
                let kind = self.graph.steps[index.0 as usize].operator?;
                let states = if kind == OperatorKind::Keyed { vec![STATE.to_string()] } else { Vec::new() };
                let uid = self.addresses[index.0 as usize].to_string();
                Some((chain, OperatorLayout { uid, kind, states, chain: chain as u32 }))
            })
        })
    }

    /// Checkpoint 0: the sources' splits, and nothing read. May block.
    pub fn genesis(&self, job: JobId, attempt: Attempt) -> Result<CheckpointCommit, Error> {
        let mut operators = Vec::new();
        for (chain, operator) in self.operators() {
            let mut subtasks = Vec::new();
            if let (OperatorKind::Source, Some(splits)) = (operator.kind, &self.graph.chains[chain].splits) {
                let listed = splits(self.parallelism[chain]).map_err(|error| {
                    let message =
                        format!("job '{}', source '{}': its splits cannot be listed", self.name, operator.uid);
                    Error::new(ErrorKind::Operator, message, Some(error))
                })?;
                subtasks.extend(listed.into_iter().map(|state| OperatorSnapshot { state, transactions: Vec::new() }));
            }
            operators.push(OperatorRecord {
                uid: operator.uid,
                kind: operator.kind,
                states: operator.states,
                subtasks,
            });
        }
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
        };
        let (num_retained, fail_points) = (self.settings.checkpoints.num_retained, self.settings.fail_points.clone());
        Ok(CheckpointCommit { metadata, deltas: Vec::new(), num_retained, fail_points })
    }

    /// Refuses a checkpoint that this topology cannot go on from.
    pub fn check_restorable(&self, checkpoint: &CheckpointMetadata, place: &str) -> Result<(), Error> {
        let refuse = |what: String| {
            Err(Error::refused(format!(
                "checkpoint {} in {place} cannot be restored by job '{}': {what}; start the job that the state belongs to, or delete the state to start over",
                checkpoint.checkpoint, self.name
            )))
        };
        if checkpoint.job_name != *self.name {
            return refuse(format!("it is the state of job '{}'", checkpoint.job_name));
        }
        if checkpoint.max_parallelism != self.settings.max_parallelism {
            return refuse(format!(
                "its keys are cut into {} key groups and max_parallelism is {}, which is fixed at the first start",
                checkpoint.max_parallelism, self.settings.max_parallelism
            ));
        }
        let layouts: Vec<_> = self.operators().map(|(_, layout)| layout).collect();
        for stored in &checkpoint.operators {
            match layouts.iter().find(|layout| layout.uid == stored.uid) {
                None => {
                    let states = if stored.states.is_empty() {
                        String::new()
                    } else {
                        format!(" with state '{}'", stored.states.join("', '"))
                    };
                    return refuse(format!(
                        "it has a {} '{}'{states}, and the topology has no such step (if the step was renamed, give its old name with `uid`)",
                        stored.kind, stored.uid
                    ));
                }
                Some(layout) if layout.kind != stored.kind || layout.states != stored.states => {
                    return refuse(format!("'{}' was a {}, and is a {} now", stored.uid, stored.kind, layout.kind));
                }
                Some(_) => {}
            }
        }
        let edges: BTreeSet<_> =
            (0..self.graph.chains.len()).flat_map(|chain| self.inputs(chain)).map(|edge| edge.layout.name).collect();
        if let Some(lost) = checkpoint.in_flight.iter().find(|stored| !edges.contains(&stored.edge)) {
            return refuse(format!(
                "it has records in flight on '{}', and the topology has no such edge; stop the job with the topology that it was started with, which leaves none in flight",
                lost.edge
            ));
        }
        if let Some((stored, edge)) = self.reordered(checkpoint) {
            return refuse(format!(
                "it has records in flight on '{}', which goes from each subtask to the one of its number: with {} subtasks instead of {} they could come out of order; \
                 start with {} subtasks and stop the job, which leaves none in flight, and then change the number",
                stored.edge, self.parallelism[edge.chain as usize], stored.parallelism, stored.parallelism
            ));
        }
        match layouts.iter().find(|layout| !checkpoint.operators.iter().any(|stored| stored.uid == layout.uid)) {
            Some(new) => refuse(format!("the topology has a {} '{}' that it knows nothing of", new.kind, new.uid)),
            None => Ok(()),
        }
    }

    /// In-flight records of an edge on which order depends on the subtasks' numbers, if those have changed.
    fn reordered<'a>(&self, checkpoint: &'a CheckpointMetadata) -> Option<(&'a InFlightRecord, EdgeLayout)> {
        let inputs = (0..self.graph.chains.len()).flat_map(|chain| self.inputs(chain));
        let mut edges = inputs.filter(|edge| edge.is_forward).map(|edge| edge.layout);
        edges.find_map(|edge| {
            let now = self.parallelism[edge.chain as usize];
            let mut stored = checkpoint.in_flight.iter().filter(|stored| stored.edge == edge.name);
            stored.find(|stored| stored.channels == 1 && stored.parallelism != now).map(|stored| (stored, edge.clone()))
        })
    }

    fn sinks(&self) -> impl Iterator<Item = (String, &dyn crate::output::sink::SinkRecovery)> {
        let sinks = self.operators().filter(|(_, operator)| operator.kind == OperatorKind::TwoPhaseSink);
        sinks.filter_map(|(chain, operator)| Some((operator.uid, self.graph.chains[chain].sink.as_deref()?)))
    }

    /// Calls a sink outside of any subtask, between two fail points; its panic is an error that names it.
    fn call_sink<R>(
        &self,
        uid: &str,
        points: [Point; 2],
        checkpoint: CheckpointId,
        code: impl FnOnce() -> Result<R, BoxError>,
    ) -> Result<Result<R, BoxError>, Error> {
        self.catch_sink(uid, || self.settings.fail_points.around(points, None, checkpoint, code))
    }

    fn catch_sink<R>(&self, uid: &str, code: impl FnOnce() -> R) -> Result<R, Error> {
        panic_site::catch(code).map_err(|(_, message)| {
            Error::new(ErrorKind::Panic, format!("job '{}', sink '{uid}' panicked: {message}", self.name), None)
        })
    }

    /// Refuses a sink whose place is not that of the state: another job's, or one that lost its owner's mark after the job began. `restored` is
    /// what the state holds, if anything. Changes nothing. May block.
    pub fn check_sinks(&self, restored: Option<&CheckpointMetadata>, place: &str, is_first: bool) -> Result<(), Error> {
        let stored = restored.map_or(CheckpointId(0), |checkpoint| checkpoint.checkpoint);
        for (uid, sink) in self.sinks() {
            let owner = self
                .call_sink(&uid, [Point::OwnerBefore, Point::OwnerAfter], stored, || sink.owner())?
                .map_err(|error| {
                    let message =
                        format!("job '{}', sink '{uid}': it cannot be told whose {} is", self.name, sink.place());
                    Error::new(no_place(is_first), message, Some(error))
                })?;
            let output = sink.place();
            let job = restored.map(|checkpoint| checkpoint.job);
            let began = restored.is_some_and(|checkpoint| checkpoint.checkpoint > CheckpointId(0));
            let mismatch = match owner {
                Ownership::Claimed(owner) if Some(owner) == job => continue,
                Ownership::Untracked => continue,
                Ownership::Unclaimed if !began => continue,
                Ownership::Unclaimed => format!(
                    "the state in {place} is that of a job that has published, but the output in {output} bears no mark of it: \
                     is it the right place? Bring back the output, or delete the state to start over"
                ),
                Ownership::Claimed(owner) => {
                    let state = job.map_or_else(|| "new".to_string(), |job| format!("that of job {job}"));
                    format!(
                        "the output in {output} belongs to job {owner}, but the state in {place} is {state}. Going on would publish rows a second time. \
                         Bring back the state that belongs to the output, or move the output away to start over"
                    )
                }
            };
            return Err(Error::refused(format!("job '{}', sink '{uid}': {mismatch}", self.name)));
        }
        Ok(())
    }

    /// Aborts those of `orphans`, which a dead attempt has prepared, that the checkpoint restored does not name. What fails is logged: recovery clears it
    /// away. May block.
    pub fn abort_orphans(&self, restored: &CheckpointMetadata, orphans: &[(String, PreparedTransaction)]) {
        let named = |uid: &String, transaction: &PreparedTransaction| {
            let mut operators = restored.operators.iter().filter(|operator| operator.uid == *uid);
            operators.any(|operator| operator.subtasks.iter().any(|one| one.transactions.contains(transaction)))
        };
        for (uid, sink) in self.sinks() {
            let of_sink = orphans.iter().filter(|(orphan, transaction)| *orphan == uid && !named(orphan, transaction));
            for (_, transaction) in of_sink {
                let aborted = panic_site::catch(|| sink.abort(&transaction.bytes));
                let error = match aborted {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error,
                    Err((_, message)) => format!("it panicked: {message}").into(),
                };
                let (job, checkpoint) = (&self.name, transaction.checkpoint);
                log::warn!(
                    "job '{job}', sink '{uid}': a transaction prepared for checkpoint {checkpoint}, which never completed, could not be aborted, and is \
                     left for recovery to clear away: {error}"
                );
            }
        }
    }

    /// Refuses to go back to `checkpoint` if a sink knows that it has published past it. Changes nothing. May block.
    pub fn check_published(&self, checkpoint: &CheckpointMetadata, place: &str) -> Result<(), Error> {
        for (uid, sink) in self.sinks() {
            let context = self.sink_context(&uid, checkpoint, checkpoint.attempt, place);
            let published = self.catch_sink(&uid, || sink.published(&context))?.map_err(|error| {
                let message = format!(
                    "job '{}', sink '{uid}': it cannot be told what is published in {}",
                    self.name,
                    sink.place()
                );
                Error::new(ErrorKind::Refused, message, Some(error))
            })?;
            let Some(published) = published.filter(|published| *published > checkpoint.checkpoint) else { continue };
            return Err(Error::refused(format!(
                "job '{}', sink '{uid}' has published up to checkpoint {published} in {}: going back to checkpoint {} would publish \
                 rows a second time. Nothing was changed; start without naming a checkpoint to go on from the newest, or name one from {published} on",
                self.name,
                sink.place(),
                checkpoint.checkpoint
            )));
        }
        Ok(())
    }

    fn sink_context(&self, uid: &str, restored: &CheckpointMetadata, attempt: Attempt, place: &str) -> SinkContext {
        SinkContext {
            job: restored.job,
            job_name: self.name.to_string(),
            operator: uid.to_string(),
            attempt,
            restored: restored.checkpoint,
            state_place: place.to_string(),
        }
    }

    /// Claims every two-phase sink's place, publishes what the checkpoint has prepared, and clears away what dead attempts left. To be called
    /// once an attempt before anything runs, with nothing of the attempt before still running. May block.
    pub fn recover_sinks(
        &self,
        checkpoint: &CheckpointMetadata,
        attempt: Attempt,
        place: &str,
        is_first: bool,
    ) -> Result<(), Error> {
        for (uid, sink) in self.sinks() {
            let context = self.sink_context(&uid, checkpoint, attempt, place);
            let claimed = [Point::ClaimBefore, Point::ClaimAfter];
            self.call_sink(&uid, claimed, checkpoint.checkpoint, || sink.claim(&context))?.map_err(|error| {
                let message = format!("job '{}', sink '{uid}' cannot use {}", self.name, sink.place());
                Error::new(no_place(is_first), message, Some(error))
            })?;
            let stored = checkpoint.operators.iter().find(|operator| operator.uid == uid);
            let snapshots = stored.map_or(&[][..], |operator| &operator.subtasks);
            if mutation::is(Mutation::RecoverSkipped) {
                continue;
            }
            let recovered = [Point::RecoverBefore, Point::RecoverAfter];
            let result =
                self.call_sink(&uid, recovered, checkpoint.checkpoint, || sink.recover(&context, snapshots))?;
            result.map_err(|error| match error.downcast::<Error>() {
                Ok(refusal) => *refusal,
                Err(error) => {
                    let output = sink.place();
                    let message = format!("job '{}', sink '{uid}' could not take up its output in {output}", self.name);
                    Error::new(ErrorKind::Operator, message, Some(error))
                }
            })?;
        }
        Ok(())
    }

    /// Every subtask, anew. Quick: nothing is opened yet.
    pub fn deploy(
        &self,
        attempt: Attempt,
        restored: Arc<CheckpointMetadata>,
        reader: Arc<dyn StateReader>,
        place: &str,
    ) -> Vec<Deployed> {
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
                failed_records: Arc::default(),
                fail_points: self.settings.fail_points.clone(),
                state_place: place.clone(),
            };
            self.deploy_subtask(id, context, &offsets)
        });
        deployed.collect()
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
        for edge in &template.outputs {
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

/// What it is that a sink cannot have its place: at a process's first try a refusal, which whoever started the job is told at once; later on, when the same sink has had
/// it before, a failure that may pass.
fn no_place(is_first: bool) -> ErrorKind {
    if is_first { ErrorKind::Refused } else { ErrorKind::Operator }
}

fn steps(graph: &Graph) -> impl Iterator<Item = (StepIndex, &crate::topology::graph::StepInfo)> {
    (0u32..).map(StepIndex).zip(&graph.steps)
}

/// Everything that is wrong with a topology.
fn faults(graph: &Graph, settings: &Settings, parallelism: &[u32]) -> Vec<TopologyFault> {
    let mut faults = settings.checkpoints.faults(settings.is_durable);
    faults.extend(settings.restart.faults());
    if !(1..=BATCH_MAX).contains(&settings.batch_size) {
        let message = format!("the batch size is {}: it must be from 1 to {BATCH_MAX}", settings.batch_size);
        faults.push(TopologyFault::Setting { message });
    }
    if settings.max_parallelism == 0 {
        faults.push(TopologyFault::Setting {
            message: "max_parallelism is 0: there must be at least one key group".to_string(),
        });
    }
    if !graph.steps.iter().any(|step| step.operator == Some(OperatorKind::Source)) {
        faults.push(TopologyFault::NoSource);
    }
    let dangling = steps(graph).filter(|(_, step)| !step.consumed);
    faults.extend(dangling.map(|(index, step)| TopologyFault::NoSink { step: step.display_name(index) }));
    faults.extend(name_faults(graph));
    faults.extend(parallelism_faults(graph, settings, parallelism));
    faults.extend(nested_loops(graph));
    if settings.checkpoints.interval.is_none() {
        faults.extend(unpublished(graph));
    }
    faults
}

fn name_faults(graph: &Graph) -> Vec<TopologyFault> {
    let mut faults = Vec::new();
    let (mut names, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for (index, step) in steps(graph) {
        let name = step.display_name(index);
        if name.is_empty() || step.address(index).is_empty() {
            faults.push(TopologyFault::Unnamed { kind: step.kind });
            continue;
        }
        *addresses.entry(step.address(index)).or_insert(0) += 1;
        *names.entry(name).or_insert(0) += 1;
    }
    let twice =
        |counts: BTreeMap<String, i32>| counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name);
    let mut duplicates: Vec<_> = twice(names).chain(twice(addresses)).collect();
    duplicates.sort();
    duplicates.dedup();
    faults.extend(duplicates.into_iter().map(|name| TopologyFault::DuplicateName { name }));
    faults
}

fn parallelism_faults(graph: &Graph, settings: &Settings, parallelism: &[u32]) -> Vec<TopologyFault> {
    let max_parallelism = settings.max_parallelism;
    let fits = |parallelism: u32| (1..=u32::from(max_parallelism)).contains(&parallelism);
    let fault = |step: String, parallelism| TopologyFault::Parallelism { step, parallelism, max_parallelism };
    let mut faults = Vec::new();
    if !fits(settings.parallelism) {
        faults.push(fault("the job".to_string(), settings.parallelism));
    }
    for (chain, parallelism) in graph.chains.iter().zip(parallelism) {
        if chain.parallelism.is_some() && !fits(*parallelism) {
            let first = chain
                .steps
                .first()
                .map_or_else(|| "a chain".to_string(), |step| graph.steps[step.0 as usize].display_name(*step));
            faults.push(fault(first, *parallelism));
        }
    }
    faults
}

/// Loops whose heads lead to each other.
fn nested_loops(graph: &Graph) -> Vec<TopologyFault> {
    let is_head = |chain: usize| {
        let mut inputs = graph.chains[chain].inputs.iter();
        inputs.any(|edge| graph.edges[edge.0].kind == EdgeKind::Feedback)
    };
    let heads: Vec<_> = (0..graph.chains.len()).filter(|chain| is_head(*chain)).collect();
    let name = |chain: usize| {
        let step = graph.chains[chain].steps.first();
        step.map_or_else(String::new, |step| graph.steps[step.0 as usize].display_name(*step))
    };
    let mut faults = fed_loops(graph, &heads, &name);
    for (place, outer) in heads.iter().enumerate() {
        let within = heads[place + 1..]
            .iter()
            .filter(|inner| upstream_of(graph, **inner).contains(outer) && upstream_of(graph, *outer).contains(inner));
        faults.extend(within.map(|inner| TopologyFault::NestedLoop { inner: name(*inner), outer: name(*outer) }));
    }
    faults
}

/// Loops into which something leads that does not lead to their head.
fn fed_loops(graph: &Graph, heads: &[usize], name: &impl Fn(usize) -> String) -> Vec<TopologyFault> {
    let mut faults = Vec::new();
    for head in heads {
        let inputs = graph.chains[*head].inputs.iter().map(|edge| &graph.edges[edge.0]);
        let feedback = inputs.filter(|edge| edge.kind == EdgeKind::Feedback).filter_map(|edge| edge.from);
        let within: Vec<_> = feedback.flat_map(|from| upstream_without(graph, from, *head)).collect();
        let is_of_loop = |chain: usize| upstream_of(graph, chain).contains(head);
        let foreign = within.iter().find(|chain| **chain != *head && !is_of_loop(**chain));
        faults.extend(foreign.map(|chain| {
            let last = graph.chains[*chain].steps.last();
            let by = last.map_or_else(String::new, |step| graph.steps[step.0 as usize].display_name(*step));
            TopologyFault::FedLoop { name: name(*head), by }
        }));
    }
    faults
}

/// [`upstream_of`], as far as there is a way that does not pass `head`.
fn upstream_without(graph: &Graph, chain: usize, head: usize) -> Vec<usize> {
    let mut found = vec![chain];
    let mut next = 0;
    while let Some(current) = found.get(next).copied() {
        next += 1;
        let inputs = graph.chains[current].inputs.iter().filter(|_| current != head);
        for from in inputs.filter_map(|edge| graph.edges[edge.0].from) {
            if !found.contains(&from) {
                found.push(from);
            }
        }
    }
    found
}

/// Two-phase sinks that an unbounded source leads to.
fn unpublished(graph: &Graph) -> Vec<TopologyFault> {
    let name = |step: &StepIndex| graph.steps[step.0 as usize].display_name(*step);
    let mut faults = Vec::new();
    for (number, chain) in graph.chains.iter().enumerate().filter(|(_, chain)| chain.sink.is_some()) {
        let endless = upstream_of(graph, number)
            .into_iter()
            .flat_map(|chain| &graph.chains[chain].steps)
            .find(|step| graph.steps[step.0 as usize].is_unbounded);
        if let (Some(source), Some(sink)) = (endless, chain.steps.last()) {
            faults.push(TopologyFault::UnpublishedSink { sink: name(sink), source: name(source) });
        }
    }
    faults
}

/// A chain and every chain that leads to it.
fn upstream_of(graph: &Graph, chain: usize) -> Vec<usize> {
    let mut found = vec![chain];
    let mut next = 0;
    while let Some(current) = found.get(next).copied() {
        next += 1;
        for edge in &graph.chains[current].inputs {
            let Some(from) = graph.edges[edge.0].from else { continue };
            if !found.contains(&from) {
                found.push(from);
            }
        }
    }
    found
}
