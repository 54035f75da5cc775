//! Everything that is wrong with a topology, found before anything starts.

use std::collections::BTreeMap;

use crate::{
    checkpoint::snapshot::OperatorKind,
    state::DeclaredState,
    topology::{
        fault::TopologyFault,
        graph::{EdgeKind, Graph, SideInfo, StepIndex},
        plan::Settings,
    },
};

/// The most records per batch: memory is reserved for a whole one.
const BATCH_MAX: usize = 1 << 20;

/// Lists all of it.
pub(super) fn faults(graph: &Graph, settings: &Settings, parallelism: &[u32]) -> Vec<TopologyFault> {
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
    if settings.heap_limit.is_some() && settings.checkpoints.interval.is_none() {
        let message = "the backend's heap_limit moves state to disk when it is in a completed checkpoint, and no checkpoint interval is set";
        faults.push(TopologyFault::Setting { message: message.to_string() });
    }
    if !graph.steps.iter().any(|step| step.operator == Some(OperatorKind::Source)) {
        faults.push(TopologyFault::NoSource);
    }
    let is_side = |index: StepIndex| graph.sides.iter().any(|side| side.step == index);
    let dangling = graph.numbered_steps().filter(|(index, step)| !step.consumed && !is_side(*index));
    faults.extend(dangling.map(|(index, step)| TopologyFault::NoSink { step: step.display_name(index) }));
    faults.extend(graph.sides.iter().flat_map(|side| side_faults(graph, side)));
    faults.extend(name_faults(graph));
    faults.extend(state_faults(graph));
    faults.extend(parallelism_faults(graph, settings, parallelism));
    faults.extend(nested_loops(graph));
    faults.extend(graph.faults.iter().cloned());
    faults.extend(aligned_twice(graph));
    if settings.checkpoints.interval.is_none() {
        faults.extend(unpublished(graph));
    }
    faults
}

/// What is wrong with a side output.
fn side_faults(graph: &Graph, info: &SideInfo) -> Vec<TopologyFault> {
    let name = |step: StepIndex| graph.steps[step.0 as usize].display_name(step);
    let is_consumed = |step: StepIndex| graph.steps[step.0 as usize].consumed;
    let side = || name(info.step);
    let mut faults = Vec::new();
    let chain = graph.edges[info.edge.0].from.map(|chain| &graph.chains[chain]);
    match (&*info.bound_to, chain) {
        ([], _) => faults.push(TopologyFault::SideWithoutStep { side: side() }),
        // Without a sink behind, its step is of no chain yet, and that is the fault.
        ([step], None) if is_consumed(*step) => {
            faults.push(TopologyFault::SideOfExchange { side: side(), exchange: name(*step) });
        }
        ([step], Some(chain)) if graph.edges[info.edge.0].is_timed => {
            let behind = chain.steps.iter().skip_while(|other| *other != step).skip(1);
            let mut giving_time = behind.filter(|step| graph.steps[step.0 as usize].gives_time);
            faults.extend(
                giving_time.next().map(|step| TopologyFault::TimeBehindSide { side: side(), step: name(*step) }),
            );
        }
        ([_], _) => {}
        ([first, second, ..], _) => {
            faults.push(TopologyFault::SideTwice { side: side(), first: name(*first), second: name(*second) })
        }
    }
    if !is_consumed(info.step) {
        faults.push(TopologyFault::SideWithoutSink { side: side() });
    } else if info.reads > 1 {
        faults.push(TopologyFault::SideReadTwice { side: side() });
    }
    faults
}

fn name_faults(graph: &Graph) -> Vec<TopologyFault> {
    let mut faults = Vec::new();
    let (mut names, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for (index, step) in graph.numbered_steps() {
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

fn state_faults(graph: &Graph) -> Vec<TopologyFault> {
    let mut faults = Vec::new();
    for (index, step) in graph.numbered_steps() {
        let name = || step.display_name(index);
        for (place, state) in step.states.iter().enumerate() {
            let is_same = |other: &&DeclaredState| other.record.name == state.record.name;
            if state.record.name.is_empty() {
                faults.push(TopologyFault::UnnamedState { step: name() });
            } else if step.states[..place].iter().filter(is_same).count() == 1 {
                faults.push(TopologyFault::DuplicateState { step: name(), state: state.record.name.clone() });
            }
        }
    }
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

/// Chains in which two steps would hold the same splits.
fn aligned_twice(graph: &Graph) -> impl Iterator<Item = TopologyFault> {
    let name = |index: &StepIndex| graph.steps[index.0 as usize].display_name(*index);
    let is_aligned = |step: &&StepIndex| graph.alignment.iter().any(|(_, steps)| steps.contains(step));
    graph.chains.iter().filter_map(move |chain| {
        let aligned: Vec<_> = chain.steps.iter().filter(is_aligned).collect();
        let [one, other, ..] = &aligned[..] else { return None };
        let message = format!(
            "'{}' and '{}' would both align the same source: give `align` to one of them",
            name(one),
            name(other)
        );
        Some(TopologyFault::Setting { message })
    })
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
        let within = heads[place + 1..].iter().filter(|inner| {
            graph.upstream_of(**inner, None).contains(outer) && graph.upstream_of(*outer, None).contains(inner)
        });
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
        let within: Vec<_> = feedback.flat_map(|from| graph.upstream_of(from, Some(*head))).collect();
        let is_of_loop = |chain: usize| graph.upstream_of(chain, None).contains(head);
        let foreign = within.iter().find(|chain| **chain != *head && !is_of_loop(**chain));
        faults.extend(foreign.map(|chain| {
            let last = graph.chains[*chain].steps.last();
            let by = last.map_or_else(String::new, |step| graph.steps[step.0 as usize].display_name(*step));
            TopologyFault::FedLoop { name: name(*head), by }
        }));
    }
    faults
}

/// Two-phase sinks that an unbounded source leads to.
fn unpublished(graph: &Graph) -> Vec<TopologyFault> {
    let name = |step: &StepIndex| graph.steps[step.0 as usize].display_name(*step);
    let mut faults = Vec::new();
    for (number, chain) in graph.chains.iter().enumerate().filter(|(_, chain)| chain.sink.is_some()) {
        let endless = graph
            .upstream_of(number, None)
            .into_iter()
            .flat_map(|chain| &graph.chains[chain].steps)
            .find(|step| graph.steps[step.0 as usize].is_unbounded);
        if let (Some(source), Some(sink)) = (endless, chain.steps.last()) {
            faults.push(TopologyFault::UnpublishedSink { sink: name(sink), source: name(source) });
        }
    }
    faults
}
