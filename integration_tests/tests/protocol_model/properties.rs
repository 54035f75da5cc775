//! What must hold in every state, and what must be seen in some, so that it holds of more than of nothing.

use cofferdam_engine::{Attempt, CheckpointId, checkpoint::coordinator::SubtaskReport, subtask::Control};
use stateright::Property;

use crate::{
    durable::{Transaction, transaction},
    job::Role,
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
pub const ORDERED: &str = "no checkpoint becomes durable after a newer one";
pub const BOUNDED: &str = "no more checkpoints are under way than may be at once";
pub const WHOLE: &str = "a job that has ended has published each record once";
pub const EMPTY: &str = "no loop is ended with a record in it";
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
        Property::always(ORDERED, is_ordered),
        Property::always(BOUNDED, is_bounded),
        Property::always(WHOLE, is_whole),
        Property::always(EMPTY, is_empty),
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
    let (is_concurrent, is_unaligned, has_loop) = (model.concurrent > 1, model.unaligned, model.job.has_loop());
    sometimes(is_concurrent, "two checkpoints are pending", |_, state: &State| {
        state.running.as_ref().is_some_and(|running| running.pending.len() > 1)
    });
    sometimes(is_concurrent, "a whole checkpoint waits until an older one is durable", is_waiting);
    sometimes(is_concurrent && losses, "a checkpoint is subsumed", is_subsumed);
    sometimes(is_unaligned || has_loop, "a completed checkpoint has a record in flight", |_, state: &State| {
        !state.store.in_flight.is_empty()
    });
    sometimes((is_unaligned || has_loop) && failures, "a restart puts a record back", |_, state: &State| {
        state.running.is_none() && !state.done && !state.store.in_flight.is_empty()
    });
    sometimes(has_loop && model.ends, "a loop is ended", |_, state: &State| is_loop_ended(state));
    sometimes(model.ends, "the job ends", |_, state: &State| state.done);
    properties
}

fn any_node(state: &State, test: impl Fn(&Running, usize) -> bool) -> bool {
    state.running.as_ref().is_some_and(|running| (0..running.nodes.len()).any(|node| test(running, node)))
}

fn is_acknowledged(_: &ProtocolModel, state: &State) -> bool {
    state.calls.iter().all(|call| !matches!(call.work, Work::Commit { whole: false, .. }))
}

/// Each record is in all of the cut or in none of it: if it is behind its source's position, it is counted once in each state on its way up to
/// one place, and there it is in flight, or published or to be published.
fn is_consistent(model: &ProtocolModel, state: &State) -> bool {
    let (job, store) = (&model.job, &state.store);
    job.all_records().all(|record| {
        let mut arrives = usize::from(state.is_counted(job, record));
        for (node, record) in job.way(record) {
            let flying = store.in_flight(node, record);
            if flying > arrives {
                return false;
            }
            arrives -= flying;
            if job.role(node) != Role::Sink && store.applied(job, node, record) != arrives {
                return false;
            }
        }
        let is_out = store.is_carried(record) || state.place.count(record) > 0;
        arrives == usize::from(is_out)
    })
}

fn is_published_once(model: &ProtocolModel, state: &State) -> bool {
    model.job.all_records().all(|record| state.place.count(record) <= 1)
}

/// What a completed checkpoint counts is published, or the sink has it pending and the checkpoint names it, or it is in flight in the checkpoint.
fn is_kept(model: &ProtocolModel, state: &State) -> bool {
    let carried = || state.store.carried.iter().map(transaction).filter(|named| state.place.pending.contains(named));
    let is_kept = |record| {
        state.place.count(record) == 1
            || state.store.is_in_flight(record)
            || carried().any(|(_, bytes)| bytes[2..].contains(&record))
    };
    let mut counted = model.job.all_records().filter(|record| state.is_counted(&model.job, *record));
    !state.place.lost && counted.all(is_kept)
}

/// The commits that the attempt waits for.
fn commits(state: &State) -> impl Iterator<Item = CheckpointId> {
    state.calls.iter().filter(|call| call.attempt == state.attempt).filter_map(|call| match &call.work {
        Work::Commit { stored, .. } => Some(stored.checkpoint),
        _ => None,
    })
}

fn is_bounded(model: &ProtocolModel, state: &State) -> bool {
    let is_bounded = |running: &Running| running.pending.len() + commits(state).count() <= model.concurrent as usize;
    state.running.as_ref().is_none_or(is_bounded)
}

fn is_ordered(_: &ProtocolModel, state: &State) -> bool {
    commits(state).all(|checkpoint| checkpoint > state.store.checkpoint)
}

fn is_whole(model: &ProtocolModel, state: &State) -> bool {
    !state.done || model.job.all_records().all(|record| state.place.count(record) == 1)
}

fn is_loop_ended(state: &State) -> bool {
    any_node(state, |running, node| running.controls[node].contains(&Control::EndLoop))
}

/// From the moment on when the head is told.
pub fn is_empty(model: &ProtocolModel, state: &State) -> bool {
    let job = &model.job;
    let mut nodes = job.range(Role::Operator).start..job.range(Role::Body).end;
    !job.has_loop()
        || !is_loop_ended(state)
        || state
            .running
            .as_ref()
            .is_none_or(|running| nodes.all(|node| !running.nodes[node].has_input() && !running.nodes[node].can_turn()))
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
        let is_over = |number: &CheckpointId| !running.pending.contains_key(number);
        let mut reports = running.reports[node].iter();
        !running.pending.is_empty()
            && reports.any(|report| matches!(report, SubtaskReport::Acknowledged(number, _) if is_over(number)))
    })
}

fn is_waiting(model: &ProtocolModel, state: &State) -> bool {
    let is_whole =
        |running: &Running| running.pending.values().any(|pending| pending.acknowledged.len() == model.job.nodes());
    commits(state).next().is_some() && state.running.as_ref().is_some_and(is_whole)
}

fn is_subsumed(_: &ProtocolModel, state: &State) -> bool {
    let is_older = |control: &Control| matches!(control, Control::Aborted(n) if Some(*n) < commits(state).next());
    any_node(state, |running, node| running.controls[node].iter().any(is_older))
}
