//! The checkpoint protocol: asynchronous barrier snapshots (Carbone et al., *Lightweight Asynchronous Snapshots for Distributed
//! Dataflows*, arXiv 1506.08603), with sinks that commit in two phases.
//!
//! # One barrier, from the tick to the disk
//!
//! ```text
//!   coordinator                  source subtask              other subtasks               store        sinks
//!        |                             |                            |                       |            |
//!  1 tick|--- Trigger(n) ------------->|                            |                       |            |
//!  2     |                 snapshot positions                       |                       |            |
//!        |                 barrier n --|==== data channels ========>|                       |            |
//!  3     |                             |                   gate: stash behind n             |            |
//!  4     |                             |                   last barrier in: freeze,         |            |
//!        |                             |                   barrier n on, replay the stash   |            |
//!  5     |                             |                            |--- pre_commit ------------------->|
//!        |<-- Acknowledge(n, snapshot) |<---------------------------|                       |            |
//!  6 all |--- Commit: positions, state, transactions, mark, in one step ------------------->|            |
//!  7     |--- Completed(n) ----------->|--------------------------->|--- commit ----------------------->|
//!        |<-- Published(n) ----------------------------------------|                       |            |
//!  8 late, or declined: Aborted(n); changes and transactions are carried by the next acknowledgement
//! ```
//!
//! | step | file | function |
//! |---|---|---|
//! | 0 checkpoint 0, before the first record | `topology/plan.rs` | `Plan::genesis` |
//! | 1 trigger | `checkpoint/coordinator.rs` | `Coordinator::tick` |
//! | 2 source answers | `subtask.rs`, `operator/source.rs` | `Subtask::boundary`, `SourceStep::snapshot` |
//! | 3 align, stash | `checkpoint/gate.rs` | `InputGate::receive` |
//! | 4 freeze, forward, replay | `subtask.rs`, `state/keyed_table.rs` | `Subtask::checkpoint`, `KeyedTable::freeze`, `InputGate::replay` |
//! | 5 pre-commit, acknowledge | `checkpoint/participant.rs`, `output/sink.rs` | `Participant::frozen`, `TwoPhaseTail::snapshot` |
//! | 6 complete | `checkpoint/coordinator.rs`, `checkpoint/store.rs` | `Coordinator::acknowledge`, `CheckpointStore::commit` |
//! | 7 publish | `checkpoint/participant.rs`, `output/sink.rs` | `Participant::completed`, `TwoPhaseTail::publication` |
//! | 8 abort | `checkpoint/coordinator.rs` | `Coordinator::abort` |
//! | after a failure | `supervisor.rs`, `topology/plan.rs` | `Supervisor::stopped`, `Plan::recover_sinks`, `Plan::deploy` |
//!
//! Why nothing is lost and nothing doubled: a record is either before barrier *n* on its channel, and then its effect is in the snapshots of
//! *n* and its output in the transactions of *n*, or behind it, and then in neither; step 6 makes all of *n* durable or none of it; and a
//! restart begins at the newest *n* that step 6 made durable, with sources behind the records of *n* and sinks publishing what *n* names.

pub mod config;
pub mod coordinator;
pub mod gate;
pub mod participant;
pub mod snapshot;
pub mod stats;
pub mod store;
