//! Fail points: named places in the life of a barrier and of recovery, where a harness may make something go wrong.
//!
//! A job carries a handle, [`FailPoints`]; whoever passes a point tells it. Without the feature `failpoints` the handle has no size and the call is
//! nothing. With it a job whose handle is empty, as every job's is that nobody armed, pays one branch at each point: for each element or rarer, never for each record.
//!
//! ```
//! use cofferdam_engine::fail_point::Point;
//! for point in Point::ALL {
//!     assert_eq!(Point::of_name(point.name()), Some(point));
//! }
//! ```

use crate::{checkpoint::snapshot::SubtaskId, error::BoxError, id::CheckpointId};

/// Whether fail points are in this build.
pub const ARE_COMPILED: bool = cfg!(feature = "failpoints");

#[cfg(not(feature = "failpoints"))]
const _: () = assert!(size_of::<FailPoints>() == 0, "without the feature it costs nothing");

/// Who passes a point: it says which faults make sense there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The coordinator's state machine.
    Coordinator,
    /// A subtask's state machine.
    Subtask,
    /// A subtask's state machine, about to send or to take a message: the message may be lost.
    Message,
    /// A call of the checkpoint store.
    Store,
    /// A call of a two-phase sink, or what follows it.
    Sink,
    /// The opening of an attempt.
    Opening,
    /// The export of a savepoint, beside the job.
    Savepoint,
}

macro_rules! points {
    ($($variant:ident $name:literal $party:ident $what:literal,)*) => {
        /// Every fail point, in the order of a barrier's life, then of recovery.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $(#[doc = $what] $variant,)*
        }

        impl Point {
            /// All of them, in order.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Its name, as schedules and tables have it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What has just happened, or is about to.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// Who passes it.
            pub const fn party(self) -> Party {
                match self { $(Self::$variant => Party::$party,)* }
            }

            /// The variant's name, for code that is printed.
            pub const fn variant(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

points! {
    Trigger "trigger" Coordinator "The coordinator triggers a checkpoint: sources are about to be told.",
    TriggerHeard "trigger.heard" Message "A source is about to take a trigger.",
    SourceSnapshot "source.snapshot" Subtask "A source is about to take its snapshot.",
    BarrierSent "barrier.sent" Subtask "A source has sent its barrier.",
    FirstBarrier "barrier.first" Subtask "The first barrier of a checkpoint has come in, and others are waited for.",
    Stash "stash" Subtask "An element behind the barrier was put into the alignment buffer.",
    Aligned "aligned" Subtask "The last barrier has come in.",
    Overtaken "barrier.overtaken" Subtask "A barrier has overtaken the records in front of it.",
    Frozen "frozen" Subtask "State is frozen, and the barrier not sent on yet.",
    BarrierForwarded "barrier.forwarded" Subtask "The barrier was sent on.",
    Encoded "encoded" Subtask "The snapshot is encoded, and its asynchronous part about to begin.",
    Recorded "recorded" Subtask "All that was in flight to a subtask is known.",
    PreCommitBefore "sink.pre_commit.before" Sink "A sink is about to prepare a transaction.",
    PreCommitAfter "sink.pre_commit.after" Sink "A sink has prepared a transaction.",
    Acknowledge "acknowledge" Message "A subtask is about to acknowledge.",
    Acknowledged "acknowledged" Coordinator "The coordinator has an acknowledgement.",
    LastAcknowledgement "acknowledged.last" Coordinator "The coordinator has the last acknowledgement.",
    HandedToStore "store.handed" Coordinator "The coordinator is about to hand the checkpoint to the store.",
    CommitBegun "commit.begun" Store "The store is about to be called.",
    CommitWritten "commit.written" Store "Everything is written and nothing durable yet.",
    CommitNoting "commit.noting" Store "LMDB has committed, and the note beside it is about to be written.",
    CommitDurable "commit.durable" Store "The checkpoint is durable.",
    CompletionAnnounced "completion.announced" Coordinator "The coordinator is about to announce the completion.",
    CompletionHeard "completion.heard" Message "A subtask is about to take the completion.",
    Subsumed "subsumed" Subtask "A subtask has dropped what the completed checkpoint holds.",
    CommitBefore "sink.commit.before" Sink "A sink is about to publish.",
    CommitAfter "sink.commit.after" Sink "A sink has published.",
    Published "published" Message "A subtask is about to report what its sink has published.",
    SavepointBegun "savepoint.begun" Savepoint "A savepoint is about to be written from its checkpoint.",
    SavepointWritten "savepoint.written" Savepoint "A savepoint is written, and does not have its name yet.",
    Abort "abort" Coordinator "The coordinator is about to announce that a checkpoint is aborted.",
    AbortHeard "abort.heard" Message "A subtask is about to take the abort.",
    TimePassed "time.passed" Subtask "A subtask has learnt how far time has come, and its outputs have not.",
    TimeFired "time.fired" Subtask "A subtask has done some of what time had made due.",
    LimitHeard "limit.heard" Message "A source is about to take how far others are that it is aligned with.",
    Ask "ask" Subtask "A step is about to ask the outside.",
    Answered "answered" Subtask "An answer has come in, and was not given on yet.",
    InputEnded "input.ended" Subtask "A subtask's input has ended, and it has not passed that on yet.",
    LoopEnded "loop.ended" Subtask "The head of a loop has heard that the loop is empty for good.",
    FreezeBefore "sink.freeze.before" Sink "A sink's writer is about to hand over its records.",
    FreezeAfter "sink.freeze.after" Sink "A sink's writer has handed over its records.",
    Restart "restart" Opening "An attempt is about to be opened.",
    RestoreRead "restore.read" Opening "The newest checkpoint was read, and a new attempt not begun yet.",
    OwnerBefore "sink.owner.before" Sink "A sink is about to be asked whose its place is.",
    OwnerAfter "sink.owner.after" Sink "A sink has said whose its place is.",
    AttemptBegun "attempt.begun" Opening "The store has counted the attempt, and fences those before.",
    SavepointImported "savepoint.imported" Opening "What a savepoint holds is the first checkpoint.",
    ClaimBefore "sink.claim.before" Sink "A sink is about to claim its place.",
    ClaimAfter "sink.claim.after" Sink "A sink has claimed its place.",
    RecoverBefore "sink.recover.before" Sink "A sink is about to publish what is owed and to clear away what is left over.",
    RecoverAfter "sink.recover.after" Sink "A sink has taken up its output.",
    OpenBefore "sink.open.before" Sink "A sink's writer is about to be opened.",
    OpenAfter "sink.open.after" Sink "A sink's writer is open.",
    RestoreApplied "restore.applied" Opening "A subtask's state is restored.",
    ReplayBegun "replay.begun" Subtask "A source is about to read the first record of an attempt.",
}

impl Point {
    /// The point of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

/// A point that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The point.
    pub point: Point,
    /// Who reached it, if it was a subtask.
    pub subtask: Option<SubtaskId>,
    /// The checkpoint it is about; while an attempt is opened, the one restored.
    pub checkpoint: CheckpointId,
}

/// How whoever reached a point goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// As if nothing had been.
    On,
    /// The message at hand is lost. Elsewhere as [`On`](Self::On).
    Lost,
    /// Half of what is about to be written gets to the disk, and then the call fails. Elsewhere as [`On`](Self::On).
    Torn,
}

/// Decides what happens at points. It may also sleep, panic, or end the process.
pub trait FaultPlan: Send + Sync {
    /// A point was reached. An error is that of whoever reached it.
    fn reached(&self, site: Site) -> Result<Passage, BoxError>;
}

/// A job's handle to whatever makes its faults; empty unless a harness armed it.
#[derive(Clone, Default)]
pub struct FailPoints {
    #[cfg(feature = "failpoints")]
    plan: Option<std::sync::Arc<dyn FaultPlan>>,
}

impl FailPoints {
    /// A handle that asks `plan`.
    #[cfg(feature = "failpoints")]
    pub fn armed(plan: std::sync::Arc<dyn FaultPlan>) -> Self {
        Self { plan: Some(plan) }
    }

    /// Tells that a point was reached, and goes on as the plan says.
    #[inline(always)]
    pub fn reach(
        &self,
        point: Point,
        subtask: Option<SubtaskId>,
        checkpoint: CheckpointId,
    ) -> Result<Passage, BoxError> {
        #[cfg(feature = "failpoints")]
        if let Some(plan) = &self.plan {
            return plan.reached(Site { point, subtask, checkpoint });
        }
        let _ = Site { point, subtask, checkpoint };
        Ok(Passage::On)
    }

    /// Calls `code` between two points. What fails at the first one has no effect, what fails at the second one has had it.
    #[inline(always)]
    pub fn around<R>(
        &self,
        [before, after]: [Point; 2],
        subtask: Option<SubtaskId>,
        checkpoint: CheckpointId,
        code: impl FnOnce() -> Result<R, BoxError>,
    ) -> Result<R, BoxError> {
        self.reach(before, subtask, checkpoint)?;
        let result = code()?;
        self.reach(after, subtask, checkpoint)?;
        Ok(result)
    }
}

/// Handles are no part of what a machine's state is.
impl PartialEq for FailPoints {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FailPoints {}

impl std::hash::Hash for FailPoints {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl std::fmt::Debug for FailPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FailPoints")
    }
}
