//! The driver that runs the engine's state machines as actix actors. It holds no protocol and no format.
//!
//! ```text
//! host's thread(s)          the job's own thread, an actix System          worker arbiters, one thread each
//! ----------------          -------------------------------------          --------------------------------
//! Engine::start  ---------> SupervisorActor ----- starts, stops ---------> SubtaskActor 0 of every chain on worker 0
//! JobHandle      <--watch--      |                                         SubtaskActor 1 of every chain on worker 1 ...
//!                           CoordinatorActor <--- control (actix mailboxes) --->      |
//!                                | spawn_blocking                              data: one bounded Mailbox per input channel
//!                           CheckpointStore
//! ```
//!
//! # Two planes
//! *Control* goes through the actors' actix mailboxes: rare and small. `do_send` ignores a mailbox's limit and may overtake, so nothing there
//! may depend on its order with data. *Data* goes through [`mailbox`]es of our own and nothing else: a barrier cannot overtake a record.
//! A subtask's data plane is one `ActorFuture`, polled between control messages, that gives up its thread after about a millisecond; no handler ever
//! awaits with an element half done.
//!
//! # Supervision
//! A panic in user code is caught inside the step, so no actor dies of one. A failed subtask reports and stands still until the supervisor
//! has stopped the whole attempt; actix's own supervision is not used.

mod clock;
pub(crate) mod coordinator_actor;
pub(crate) mod failures;
pub(crate) mod host;
pub(crate) mod mailbox;
mod opening;
pub(crate) mod savepoints;
pub(crate) mod scratch_file;
pub(crate) mod status;
mod subtask_actor;
pub(crate) mod supervisor_actor;
