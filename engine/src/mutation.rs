//! Ways to break the engine on purpose, to see whether the harness notices.
//!
//! They exist only in a build with `RUSTFLAGS="--cfg mutation"`: no feature and no dependency can turn that on. Everywhere else [`is`] is `false`
//! at compile time. The program `mutation-check` tries one after the other.

macro_rules! mutations {
    ($($variant:ident $what:literal,)*) => {
        /// What is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $(#[doc = $what] $variant,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: [Self; [$($what),*].len()] = [$(Self::$variant),*];

            /// In words.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }
        }
    };
}

mutations! {
    NoStash "What comes behind a barrier is not held back while others are awaited.",
    BarrierBeforeRecords "The barrier is sent ahead of records that came before it.",
    AcknowledgeBeforeDurable "A subtask acknowledges before its sink has prepared the transaction.",
    CommitWithoutMark "The store writes state and not which checkpoint it is.",
    CompletionAnnouncedEarly "The completion is announced when the store is called, not when it has answered.",
    PositionOneOff "A source reads on between its position and its barrier.",
    StaleAttemptAccepted "The store takes a checkpoint from an attempt that is dead.",
    SubsumedTooEarly "Changes are forgotten when they are frozen, not when their checkpoint has completed.",
    SinkCommitsOnPreCommit "A sink publishes when it is to prepare.",
    ReplayAfterNewInput "What was stashed is handled after what came later.",
    AbortedChangesDropped "The changes that an aborted checkpoint froze are dropped.",
    AbortedTransactionsDropped "The transactions that an aborted checkpoint prepared are dropped.",
    RestoreBeforeCallsReturned "An attempt begins while a call of the one before is still under way.",
    EndOfInputTwice "The end of input is sent twice.",
    RecoverSkipped "A sink is not told of the transactions that a checkpoint still owes.",
    GenesisMissing "Checkpoint 0 is not stored before the first record.",
    InFlightNotRestored "Records that were in flight are not put back.",
    RecordingCutShort "A checkpoint whose barrier overtook is acknowledged before all that was in flight is known.",
    OvertakenNotCopied "A barrier takes along no copies of what it overtakes.",
    LoopEndedEarly "A loop is taken for empty without looking at what came round.",
    OnlyNewestDelta "An acknowledgement carries only its own changes, not those of aborted checkpoints.",
    SpilledNotCopied "A barrier that overtakes takes along no copies of what a loop has spilled.",
    SavepointOwesNothing "A savepoint of a running job does not list the transactions that it holds.",
    SavepointGroupMissing "The last key group is not in a savepoint.",
    ChangedEvicted "Entries leave the heap whose checkpoint has not completed.",
    NeededObjectDeleted "The oldest file that a checkpoint in files needs is deleted.",
    SweptAlive "What expired entries are looked for takes others too.",
    OnlyOwnTransaction "An acknowledgement carries only its own transaction, not those of aborted checkpoints.",
    MarksNotRestored "What a subtask's inputs had said of time is not restored.",
    MarkOvertakenNotCopied "A barrier takes along no copies of the watermarks that it overtakes.",
    ClocksAsMinimum "The clocks of key groups are restored as the least of them.",
    IdleForgotten "A split that was idle is not when it is restored.",
    FiredNotRemoved "A timer that fires stays in the state.",
    SplitTimeNotMoved "A split is restored without what was known of its time.",
    AnswerOvertakenByMark "A watermark does not wait for the answers that it was behind.",
    AskedNotRestored "What a checkpoint was asking about is not asked again.",
    PanesNotRestored "Windows that are kept in panes begin anew when they are restored.",
    LateForgotten "Late records are neither given aside nor counted.",
    AttemptsCountedAnew "A job that comes from a savepoint counts its attempts from one again.",
    MergedSessionLost "Of two sessions that become one, the later one's records are lost.",
}

#[cfg(mutation)]
static CHOSEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Breaks the engine in this way, in the whole process, from now on; `None` mends it.
#[cfg(mutation)]
pub fn choose(mutation: Option<Mutation>) {
    let chosen = mutation.map_or(usize::MAX, |mutation| mutation as usize);
    CHOSEN.store(chosen, std::sync::atomic::Ordering::SeqCst);
}

/// Whether the engine is broken in this way.
#[cfg(mutation)]
pub fn is(mutation: Mutation) -> bool {
    CHOSEN.load(std::sync::atomic::Ordering::Relaxed) == mutation as usize
}

/// Whether the engine is broken in this way: never.
#[cfg(not(mutation))]
#[inline(always)]
pub const fn is(_: Mutation) -> bool {
    false
}
