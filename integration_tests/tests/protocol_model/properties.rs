//! What must hold in every state, and what must be seen in some, so that it holds of more than of nothing.

use cofferdam_engine::{Attempt, CheckpointId, checkpoint::coordinator::SubtaskReport, subtask::Control};
use stateright::Property;

use crate::{
    durable::{Transaction, transaction},
    job::Record,
    liveness,
    model::{ProtocolModel, State, Work},
    running::Running,
};

pub const ACKNOWLEDGED: &str = "no checkpoint completes without every acknowledgement of its attempt";
pub const CONSISTENT: &str = "a completed checkpoint is consistent";
pub const ONCE: &str = "no transaction is published twice";
pub const KEPT: &str = "no transaction is dropped";
pub const DURABLE: &str = "completion is announced of nothing that is not durable";
pub const CLEAN: &str = "nothing that an earlier attempt prepared is left over";
pub const SOUND: &str = "the coordinator does not fail by itself";
pub const LIVE: &str = "without further faults the next checkpoint completes";

pub fn all(model: &ProtocolModel) -> Vec<Property<ProtocolModel>> {
    let mut properties = vec![
        Property::always(ACKNOWLEDGED, is_acknowledged),
        Property::always(CONSISTENT, is_consistent),
        Property::always(ONCE, is_published_once),
        Property::always(KEPT, is_kept),
        Property::always(DURABLE, is_announced_durable),
        Property::always(CLEAN, is_clean),
        Property::always(SOUND, |_, state: &State| !state.broken),
        Property::always(LIVE, liveness::is_live),
        Property::sometimes("a completed checkpoint carries records", |_, state: &State| {
            !state.store.carried.is_empty()
        }),
    ];
    let mut sometimes = |applies, name, condition| {
        if applies {
            properties.push(Property::sometimes(name, condition));
        }
    };
    let (losses, failures) = (model.losses > 0, model.failures > 0);
    let is_joined = model.job.sources > 1;
    sometimes(losses && is_joined, "the buffer behind barriers is full", is_held_back);
    sometimes(losses, "a checkpoint is aborted", is_aborting);
    sometimes(losses, "a transaction of an aborted checkpoint is carried by the next", carries_older);
    sometimes(losses && is_joined, "a checkpoint is declined for a newer barrier", is_declining);
    sometimes(failures, "a restart publishes what the checkpoint carries", publishes_at_restart);
    sometimes(failures, "a restart removes what no checkpoint carries", removes_at_restart);
    sometimes(failures, "a checkpoint completes after a restart", |_, state: &State| state.store.attempt > Attempt(1));
    sometimes(model.overlap, "a number is acknowledged while the next is pending", is_late);
    sometimes(model.ends, "the job ends", |_, state: &State| state.done);
    properties
}

fn any_node(state: &State, test: impl Fn(&Running, usize) -> bool) -> bool {
    state.running.as_ref().is_some_and(|running| (0..running.nodes.len()).any(|node| test(running, node)))
}

fn is_acknowledged(_: &ProtocolModel, state: &State) -> bool {
    state.calls.iter().all(|call| !matches!(call.work, Work::Commit { whole: false, .. }))
}

/// Each record is in all of the cut or in none of it: behind its source's position, counted once in its operator's state, and published or to
/// be published.
fn is_consistent(model: &ProtocolModel, state: &State) -> bool {
    let job = &model.job;
    job.all_records().all(|record| {
        let is_in = is_in_cut(model, state, record);
        let (source, _) = job.origin(record);
        let operator = job.index(job.route(source, record));
        let applied = state.store.applied[operator].iter().filter(|other| **other == record).count();
        let carried = state.store.carried.iter().any(|prepared| prepared.bytes[2..].contains(&record));
        applied == usize::from(is_in) && (carried || state.place.count(record) > 0) == is_in
    })
}

fn is_in_cut(model: &ProtocolModel, state: &State, record: Record) -> bool {
    let (source, position) = model.job.origin(record);
    position < state.store.positions[source]
}

fn is_published_once(model: &ProtocolModel, state: &State) -> bool {
    model.job.all_records().all(|record| state.place.count(record) <= 1)
}

/// What a completed checkpoint counts is published, or the sink has it pending and the checkpoint names it.
fn is_kept(model: &ProtocolModel, state: &State) -> bool {
    let carried = || state.store.carried.iter().map(transaction).filter(|named| state.place.pending.contains(named));
    !state.place.lost
        && model
            .job
            .all_records()
            .filter(|record| is_in_cut(model, state, *record))
            .all(|record| state.place.count(record) == 1 || carried().any(|(_, bytes)| bytes[2..].contains(&record)))
}

fn is_announced_durable(_: &ProtocolModel, state: &State) -> bool {
    let is_early = |control: &Control| matches!(control, Control::Completed(n) if *n > state.store.checkpoint);
    !any_node(state, |running, node| running.controls[node].iter().any(is_early))
}

fn is_clean(_: &ProtocolModel, state: &State) -> bool {
    state.running.is_none() || state.place.pending.iter().all(|(_, bytes)| u64::from(bytes[0]) == state.attempt.0)
}

fn is_held_back(_: &ProtocolModel, state: &State) -> bool {
    any_node(state, |running, node| running.nodes[node].is_held_back())
}

fn is_aborting(_: &ProtocolModel, state: &State) -> bool {
    let is_abort = |control: &Control| matches!(control, Control::Aborted(_));
    any_node(state, |running, node| running.controls[node].iter().any(is_abort))
}

fn carries_older(_: &ProtocolModel, state: &State) -> bool {
    state.store.carried.iter().any(|prepared| prepared.checkpoint < state.store.checkpoint)
}

fn is_declining(_: &ProtocolModel, state: &State) -> bool {
    let is_decline = |report: &SubtaskReport| matches!(report, SubtaskReport::Declined(..));
    any_node(state, |running, node| running.reports[node].iter().any(is_decline))
}

fn publishes_at_restart(_: &ProtocolModel, state: &State) -> bool {
    let is_pending = |prepared| state.place.pending.contains(&transaction(prepared));
    state.running.is_none() && state.calls.is_empty() && state.store.carried.iter().any(is_pending)
}

fn removes_at_restart(_: &ProtocolModel, state: &State) -> bool {
    let is_carried = |pending: &Transaction| state.store.carried.iter().any(|carried| transaction(carried) == *pending);
    state.running.is_none() && !state.place.pending.iter().all(is_carried)
}

fn is_late(_: &ProtocolModel, state: &State) -> bool {
    any_node(state, |running, node| {
        let is_older = |number: CheckpointId| number.next() < running.next_checkpoint();
        let mut reports = running.reports[node].iter();
        running.acknowledged.is_some()
            && reports.any(|report| matches!(report, SubtaskReport::Acknowledged(number, _) if is_older(*number)))
    })
}
