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
//! | step | file | function | fail points |
//! |---|---|---|---|
//! | 0 checkpoint 0, before the first record | `topology/plan.rs` | `Plan::genesis` | `commit.*` |
//! | 1 trigger | `checkpoint/coordinator/mod.rs`, `trigger.rs` | `Coordinator::step` | `trigger`, `trigger.heard` |
//! | 2 source answers | `subtask/boundary.rs`, `operator/source.rs` | `Subtask::boundary`, `SourceStep::snapshot` | `source.snapshot`, `barrier.sent` |
//! | 3 align, stash | `checkpoint/gate.rs` | `InputGate::receive` | `barrier.first`, `stash`, `aligned`, `barrier.overtaken`, `recorded` |
//! | 4 freeze, forward, replay | `subtask/freeze.rs`, `state/keyed_table.rs` | `Subtask::checkpoint`, `KeyedTable::freeze`, `InputGate::replay` | `frozen`, `sink.freeze.*`, `barrier.forwarded`, `encoded` |
//! | 5 pre-commit, acknowledge | `checkpoint/participant.rs`, `output/sink.rs` | `Participant::frozen`, `TwoPhaseTail::snapshot` | `sink.pre_commit.*`, `acknowledge` |
//! | 6 complete | `checkpoint/coordinator/`, `checkpoint/store.rs` | `Coordinator::acknowledged`, `CheckpointStore::commit` | `acknowledged`, `acknowledged.last`, `store.handed`, `commit.*` |
//! | 7 publish | `checkpoint/participant.rs`, `output/sink.rs` | `Participant::completed`, `TwoPhaseTail::publication` | `completion.*`, `subsumed`, `sink.commit.*`, `published` |
//! | 8 abort | `checkpoint/coordinator/abort.rs` | `Coordinator::abort` | `abort`, `abort.heard` |
//! | beside 6: a savepoint | `savepoint/export.rs`, `savepoint/import.rs` | `Pinned::export`, `import` | `savepoint.*` |
//! | after a failure | `supervisor.rs`, `opening.rs`, `restore_point.rs`, `topology/sinks.rs`, `topology/plan.rs` | `Supervisor::stopped`, `open_attempt`, `Plan::abort_orphans`, `Plan::recover_sinks`, `Plan::deploy` | `restart` to `replay.begun` |
//!
//! Two variations of steps 2 to 5, by one means: the snapshot is taken before every barrier is in, and what comes in front of the missing ones is recorded. A barrier may
//! overtake the records that it would have to wait for ([`overtake`](crate::overtake), `docs/decisions/0010`); and the head of a loop does not wait for the barrier that goes round
//! (`docs/decisions/0011`). Several checkpoints may be on this way at once; step 6 takes them in their order.
//!
//! What each fail point stands for is in [`fail_point`](crate::fail_point).
//!
//! Why nothing is lost and nothing doubled: a record is either before barrier *n* on its channel, and then its effect is in the snapshots of
//! *n* and its output in the transactions of *n*, or behind it, and then in neither; step 6 makes all of *n* durable or none of it; and a
//! restart begins at the newest *n* that step 6 made durable, with sources behind the records of *n* and sinks publishing what *n* names.

pub mod config;
pub mod coordinator;
pub mod gate;
pub mod inherited;
pub mod input_times;
pub mod layout;
pub mod participant;
pub mod snapshot;
pub mod source_alignment;
pub mod stats;
pub mod store;
