//! The checkpoint protocol, model-checked: every state that the job below can reach, whatever comes late, is lost or fails.
//!
//! | what | who |
//! |---|---|
//! | coordinator, gates, participants | the machines that run in production: `Coordinator`, `InputGate`, `Participant` |
//! | chains, channels, mail, calls, the store, the sinks' place | the model's: `node.rs`, `running.rs`, `model.rs`, `durable.rs` |
//! | what must hold | `properties.rs`, `liveness.rs` |
//! | that a mistake would be found | the tests `the_model_finds_..` below |
//!
//! Every source is connected with every operator, and every operator with every sink; in a loop the operators are its heads, and a body is between
//! them and the sinks. What can happen: an element is taken off a channel, a message comes or is lost, a call returns, a source reads a record, the
//! moment comes for a barrier to overtake, time passes up to the coordinator's deadline, the attempt fails or the process dies (a call under way has or
//! has not done its work), the job goes on from the newest checkpoint.
//!
//! Two numbers are alive in one of two ways. Two checkpoints that "overlap" are both pending, or pending and being committed: the configuration says so.
//! "Two at once": *n* is given up, and its barriers, acknowledgements, pre-commits and publications are still under way while *n* + 1 runs.
//! "One at a time" gives *n* up only when nothing of it is under way.
//!
//! Where barriers "overtake", each does at whatever moment: in a channel, at the gate, in its stash, past the record that is being handled; or never.
//!
//! What is not here: bounded channels and what waits with a sender, keyed state as changes, the order of a channel's records, another parallelism at the
//! restart, a host's stop and drain, failures in the midst of recovery. The simulation has those. That an input has ended and that a loop has are told
//! without loss where nothing else would tell it.
//!
//! States explored, with at most this many numbers, lost messages and failures, and how long it took in release on two cores:
//!
//! | job | numbers | lost | failures | states | |
//! |---|---|---|---|---|---|
//! | 2 + 2 + 2, one at a time | 2 | 1 | 0 | 291,223 | |
//! | 2 + 2 + 2, one at a time | 2 | 0 | 1 | 67,513 | |
//! | 1 + 1 + 1, two records, one at a time | 3 | 2 | 1 | 108,682 | |
//! | 1 + 1 + 1, two at once | 2 | 2 | 1 | 151,790 | |
//! | 1 + 1 + 1, two records, to the end of the input | 2 | 1 | 1 | 39,682 | |
//! | 1 + 1 + 1, overlap | 3 | 1 | 1 | 55,875 | |
//! | 1 + 1 + 1, two records, overlap, overtake | 2 | 0 | 1 | 54,475 | |
//! | 2 + 1 + 1, overtake | 1 | 0 | 1 | 15,363 | |
//! | loop, to its end | 2 | 1 | 1 | 82,809 | |
//! | loop, to its end, overtake | 2 | 0 | 0 | 37,062 | |
//! | loop, two records, to its end | 2 | 0 | 0 | 31,388 | |
//! | 2 + 2 + 2, one at a time | 2 | 2 | 1 | 2,358,207 | 99 s |
//! | 1 + 1 + 1, two at once | 3 | 2 | 1 | 2,846,723 | 49 s |
//! | 2 + 1 + 1, two at once | 2 | 2 | 1 | 5,298,196 | 135 s |
//! | 1 + 1 + 1, two at once, to the end of the input | 2 | 2 | 1 | 1,663,251 | 24 s |
//! | 2 + 1 + 1, two records each, overlap | 2 | 0 | 0 | 240,307 | 3 s |
//! | 2 + 1 + 1, overtake | 2 | 1 | 0 | 490,619 | 6 s |
//! | 2 + 1 + 1, overlap, overtake | 2 | 0 | 0 | 1,103,414 | 18 s |
//! | 1 + 1 + 1, overlap, overtake | 3 | 1 | 1 | 294,958 | 3 s |
//! | loop, two records, to its end | 2 | 1 | 1 | 453,691 | 6 s |
//! | loop, overlap, to its end | 3 | 0 | 1 | 579,294 | 10 s |
//! | loop with two heads, two records, to its end | 2 | 0 | 1 | 356,353 | 5 s |
//! | loop with two sources, to its end | 2 | 0 | 0 | 214,103 | 3 s |
//! | loop, to its end, overtake | 2 | 0 | 1 | 89,979 | 1 s |
//!
//! Those with a time are left out unless asked for:
//! `cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1`
#![allow(clippy::print_stdout)]

mod durable;
mod job;
mod liveness;
mod model;
mod node;
mod properties;
mod running;
mod shared;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    job::Job,
    model::{Mistake, ProtocolModel},
    properties::{ACKNOWLEDGED, CLEAN, CONSISTENT, DURABLE, EMPTY, KEPT, LIVE, ONCE, ORDERED},
};

/// One of each, and two records: so that a transaction is prepared while the one before is published.
const LINE: Job = Job { sources: 1, operators: 1, bodies: 0, sinks: 1, records: 2 };
/// One of each, and one record.
const SHORT_LINE: Job = Job { records: 1, ..LINE };
/// Two sources that one operator joins.
const JOIN: Job = Job { sources: 2, ..SHORT_LINE };
/// Two of each.
const GRID: Job = Job { sources: 2, operators: 2, bodies: 0, sinks: 2, records: 1 };

/// A loop: one record goes round once, the other twice.
const LOOP: Job = Job { bodies: 1, ..LINE };
/// A loop, and one record that goes round once.
const SHORT_LOOP: Job = Job { records: 1, ..LOOP };

/// Explores every state. A model that has shrunk unnoticed would prove less than it says: there are at least as many states as `at_least`.
fn explore(model: ProtocolModel, at_least: usize) {
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{states} states, the farthest {} steps away", checker.max_depth());
    checker.assert_properties();
    assert!(states >= at_least, "{states} states were explored, {at_least} there were once");
}

/// Makes a mistake, and sees it found by the property meant for it.
fn assert_found(mistake: Mistake, property: &'static str, model: ProtocolModel) {
    let model = ProtocolModel { mistake: Some(mistake), ..model };
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().threads(2).finish_when(found).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{mistake:?} was not found");
}

#[test]
fn one_checkpoint_at_a_time_holds_with_a_lost_message() {
    explore(ProtocolModel { losses: 1, ..ProtocolModel::new(GRID, 2) }, 270_000);
}

#[test]
fn one_checkpoint_at_a_time_holds_with_a_failure() {
    explore(ProtocolModel { failures: 1, ..ProtocolModel::new(GRID, 2) }, 65_000);
}

#[test]
fn transactions_that_follow_each_other_hold_with_two_lost_messages_and_a_failure() {
    explore(ProtocolModel { losses: 2, failures: 1, ..ProtocolModel::new(LINE, 3) }, 100_000);
}

#[test]
fn two_checkpoints_at_once_hold_with_two_lost_messages_and_a_failure() {
    explore(ProtocolModel { overlap: true, losses: 2, failures: 1, ..ProtocolModel::new(SHORT_LINE, 2) }, 120_000);
}

#[test]
fn a_job_ends_with_a_lost_message_and_a_failure() {
    explore(ProtocolModel { ends: true, losses: 1, failures: 1, ..ProtocolModel::new(LINE, 2) }, 38_000);
}

#[test]
fn checkpoints_that_overlap_hold_with_a_lost_message_and_a_failure() {
    explore(ProtocolModel { concurrent: 2, losses: 1, failures: 1, ..ProtocolModel::new(SHORT_LINE, 3) }, 55_000);
}

#[test]
fn barriers_that_overtake_hold_with_two_checkpoints_and_a_failure() {
    explore(ProtocolModel { unaligned: true, concurrent: 2, failures: 1, ..ProtocolModel::new(LINE, 2) }, 30_000);
}

#[test]
fn barriers_that_overtake_hold_at_a_gate_that_aligns_with_a_failure() {
    explore(ProtocolModel { unaligned: true, failures: 1, ..ProtocolModel::new(JOIN, 1) }, 6_500);
}

#[test]
fn a_loop_ends_with_a_lost_message_and_a_failure() {
    explore(ProtocolModel { ends: true, losses: 1, failures: 1, ..ProtocolModel::new(SHORT_LOOP, 2) }, 82_000);
}

#[test]
fn a_loop_ends_where_barriers_overtake() {
    explore(ProtocolModel { ends: true, unaligned: true, ..ProtocolModel::new(SHORT_LOOP, 2) }, 37_000);
}

#[test]
fn a_loop_with_two_records_ends() {
    explore(ProtocolModel { ends: true, ..ProtocolModel::new(LOOP, 2) }, 31_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn one_checkpoint_at_a_time_holds_with_two_lost_messages_and_a_failure() {
    explore(ProtocolModel { losses: 2, failures: 1, ..ProtocolModel::new(GRID, 2) }, 2_300_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn two_checkpoints_at_once_and_a_third_hold_with_two_lost_messages_and_a_failure() {
    explore(ProtocolModel { overlap: true, losses: 2, failures: 1, ..ProtocolModel::new(SHORT_LINE, 3) }, 2_000_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn two_checkpoints_at_once_hold_at_a_gate_that_aligns() {
    explore(ProtocolModel { overlap: true, losses: 2, failures: 1, ..ProtocolModel::new(JOIN, 2) }, 5_000_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn a_job_ends_with_two_checkpoints_at_once_two_lost_messages_and_a_failure() {
    let faults = ProtocolModel { overlap: true, losses: 2, failures: 1, ..ProtocolModel::new(SHORT_LINE, 2) };
    explore(ProtocolModel { ends: true, ..faults }, 1_400_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn checkpoints_that_overlap_hold_at_a_gate_that_aligns_with_two_records() {
    explore(ProtocolModel { concurrent: 2, ..ProtocolModel::new(Job { records: 2, ..JOIN }, 2) }, 240_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn barriers_that_overtake_hold_at_a_gate_that_aligns_with_a_lost_message() {
    explore(ProtocolModel { unaligned: true, losses: 1, ..ProtocolModel::new(JOIN, 2) }, 490_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn barriers_that_overtake_hold_at_a_gate_that_aligns_with_two_checkpoints() {
    explore(ProtocolModel { unaligned: true, concurrent: 2, ..ProtocolModel::new(JOIN, 2) }, 1_100_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn barriers_that_overtake_hold_with_three_checkpoints_a_lost_message_and_a_failure() {
    let faults = ProtocolModel { losses: 1, failures: 1, ..ProtocolModel::new(SHORT_LINE, 3) };
    explore(ProtocolModel { unaligned: true, concurrent: 2, ..faults }, 290_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn a_loop_with_two_records_ends_with_a_lost_message_and_a_failure() {
    explore(ProtocolModel { ends: true, losses: 1, failures: 1, ..ProtocolModel::new(LOOP, 2) }, 450_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn a_loop_ends_with_checkpoints_that_overlap_and_a_failure() {
    explore(ProtocolModel { ends: true, concurrent: 2, failures: 1, ..ProtocolModel::new(SHORT_LOOP, 3) }, 570_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn a_loop_with_two_heads_ends_with_a_failure() {
    let heads = Job { operators: 2, ..LOOP };
    explore(ProtocolModel { ends: true, failures: 1, ..ProtocolModel::new(heads, 2) }, 350_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn a_loop_with_two_sources_ends() {
    explore(ProtocolModel { ends: true, ..ProtocolModel::new(Job { sources: 2, ..SHORT_LOOP }, 2) }, 210_000);
}

// cargo test --release -p cofferdam-testkit --test protocol_model -- --ignored --nocapture --test-threads 1
#[test]
#[ignore = "minutes"]
fn a_loop_ends_where_barriers_overtake_with_a_failure() {
    explore(ProtocolModel { ends: true, unaligned: true, failures: 1, ..ProtocolModel::new(SHORT_LOOP, 2) }, 89_000);
}

#[test]
fn the_model_finds_a_checkpoint_completed_without_an_acknowledgement() {
    assert_found(Mistake::ForgedAcknowledgement, ACKNOWLEDGED, ProtocolModel::new(LINE, 1));
}

#[test]
fn the_model_finds_gates_that_do_not_align() {
    assert_found(Mistake::NoAlignment, CONSISTENT, ProtocolModel::new(GRID, 1));
}

#[test]
fn the_model_finds_a_restart_that_does_not_wait_for_calls() {
    assert_found(Mistake::HastyRestart, CLEAN, ProtocolModel { failures: 1, ..ProtocolModel::new(LINE, 2) });
}

#[test]
fn the_model_finds_a_lost_transaction() {
    assert_found(Mistake::ForgottenTransaction, KEPT, ProtocolModel { failures: 1, ..ProtocolModel::new(LINE, 1) });
}

#[test]
fn the_model_finds_a_publication_before_completion() {
    assert_found(Mistake::EarlyPublication, ONCE, ProtocolModel { failures: 1, ..ProtocolModel::new(SHORT_LINE, 2) });
}

#[test]
fn the_model_finds_a_completion_announced_too_early() {
    assert_found(Mistake::EarlyCompletion, DURABLE, ProtocolModel::new(LINE, 1));
}

#[test]
fn the_model_finds_a_checkpoint_that_is_waited_for_without_end() {
    assert_found(Mistake::NoTimeout, LIVE, ProtocolModel { losses: 1, ..ProtocolModel::new(LINE, 1) });
}

#[test]
fn the_model_finds_an_older_checkpoint_that_becomes_durable_after_a_newer_one() {
    assert_found(Mistake::EarlyCompletion, ORDERED, ProtocolModel { concurrent: 2, ..ProtocolModel::new(LINE, 2) });
}

#[test]
fn the_model_finds_records_in_flight_that_a_restart_forgets() {
    let failing = ProtocolModel { failures: 1, ..ProtocolModel::new(LINE, 2) };
    assert_found(Mistake::NotPutBack, CONSISTENT, ProtocolModel { unaligned: true, ..failing });
}

#[test]
fn the_model_finds_a_snapshot_acknowledged_before_all_that_was_in_flight_is_known() {
    assert_found(
        Mistake::EarlyAcknowledgement,
        CONSISTENT,
        ProtocolModel { unaligned: true, ..ProtocolModel::new(JOIN, 1) },
    );
}

#[test]
fn the_model_finds_a_loop_that_is_ended_with_a_record_in_it() {
    assert_found(Mistake::EarlyLoopEnd, EMPTY, ProtocolModel { ends: true, ..ProtocolModel::new(SHORT_LOOP, 1) });
}
