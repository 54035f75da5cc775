//! The contract of two-phase sinks, row by row.

use std::fmt;

/// A clause of the contract of [`TwoPhaseSink`](cofferdam_engine::TwoPhaseSink).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SinkClause {
    /// `owner` says whose the place is, and changes nothing.
    Owner,
    /// `claim` makes the place this job's, durably, any number of times.
    Claim,
    /// `recover` publishes the transactions that it is given, once, and removes what neither they nor a writer's state name.
    Recover,
    /// `open` gives each subtask, in each attempt, a writer of its own.
    Open,
    /// `write` takes every record.
    Write,
    /// `freeze` hands over what was written before it, and never the same records twice.
    Freeze,
    /// `freeze` with `last` holds nothing back.
    Last,
    /// The state that `freeze` gives is all that the next writer needs, at any parallelism.
    WriterState,
    /// Nothing is visible before its transaction is committed.
    Invisible,
    /// What `pre_commit` returns survives a crash.
    PreCommit,
    /// `commit` makes the transaction visible, all of it.
    Commit,
    /// `commit` of what is committed does nothing.
    CommitAgain,
    /// The transaction of an aborted checkpoint is published with a later one.
    Carried,
    /// `published` says how far the sink has published, if it can tell, and changes nothing.
    Published,
    /// `has_prepared` says whether what a transaction names is here, or was published, and changes nothing.
    HasPrepared,
    /// `has_begun` says whether what a writer's state names is here, or was published, and changes nothing.
    HasBegun,
    /// What was given to `abort`, once or twice, never becomes visible, whatever `recover` does after it; what was not given to it does.
    Abort,
}

impl fmt::Display for SinkClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "`owner` says whose the place is, and changes nothing",
            Self::Claim => "`claim` makes the place this job's, durably, any number of times",
            Self::Recover => {
                "`recover` publishes the transactions that it is given, once, and removes what neither they nor a writer's state name"
            }
            Self::Open => "`open` gives each subtask, in each attempt, a writer of its own",
            Self::Write => "`write` takes every record",
            Self::Freeze => "`freeze` hands over what was written before it, and never the same records twice",
            Self::Last => "`freeze` with `last` holds nothing back",
            Self::WriterState => "the state that `freeze` gives is all that the next writer needs, at any parallelism",
            Self::Invisible => "nothing is visible before its transaction is committed",
            Self::PreCommit => "what `pre_commit` returns survives a crash",
            Self::Commit => "`commit` makes the transaction visible, all of it",
            Self::CommitAgain => "`commit` of what is committed does nothing",
            Self::Published => "`published` says how far the sink has published, if it can tell, and changes nothing",
            Self::HasPrepared => {
                "`has_prepared` says whether what a transaction names is here, or was published, and changes nothing"
            }
            Self::HasBegun => {
                "`has_begun` says whether what a writer's state names is here, or was published, and changes nothing"
            }
            Self::Abort => {
                "what was given to `abort`, once or twice, never becomes visible, whatever `recover` does after it; what was not given to it does"
            }
            Self::Carried => "the transaction of an aborted checkpoint is published with a later one",
        })
    }
}
