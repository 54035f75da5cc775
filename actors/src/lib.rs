//! Exactly-once stream processing inside a Rust service: typed topologies, checkpoint barriers, a state directory. No cluster and no server.
//!
//! ```
//! use std::time::Duration;
//! use cofferdam::prelude::*;
//!
//! # let directory = tempfile::tempdir()?;
//! # let (state, books, counts) = (directory.path().join("state"), directory.path().join("a.txt"), directory.path().join("counts"));
//! # std::fs::write(&books, "to be or not to be")?;
//! let topology = Topology::new("word-count");
//! topology
//!     .source("lines", FileSource::lines(books))                // replayable: a checkpoint holds its position
//!     .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
//!     .key_by(|word| word.clone())                              // word -> key group -> subtask
//!     .fold("count", 0u64, |count, _word| *count += 1)          // keyed state; the name is its address on disk
//!     .sink("counts", FileSink::json_lines(counts));            // published when the checkpoint completes
//!
//! let job = Engine::builder()
//!     .checkpoints(CheckpointConfig::every(Duration::from_secs(1)))
//!     .backend(Lmdb::at(state))                                 // resumes from the last completed checkpoint
//!     .start_blocking(topology)?;
//! assert_eq!(job.wait_blocking()?, JobEnd::Finished);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Start with [`Engine::builder`](crate::Engine::builder) and [`Topology`](prelude::Topology); sources and sinks are in [`connector`].
//! `docs/architecture.md` in the repository says how it works.

mod async_sink;
mod block_on;
pub mod connector;
mod engine;
mod job_handle;
mod runtime;

pub use cofferdam_engine::{
    SavepointId,
    savepoint::{HeldTransactions, Savepoint, SavepointInfo, SavepointWriter},
    state::{JsonEntry, StateSize, StoredCheckpoint, StoredSplit},
};
pub use cofferdam_storage::Inspection;

pub use async_sink::{AsyncTwoPhaseSink, Asynchronous};
pub use cofferdam_engine::Circulating;
pub use engine::{Engine, EngineBuilder};
pub use job_handle::JobHandle;
pub use runtime::{
    failures::Failure,
    status::{JobPhase, JobStatus, StartedFrom, SubtaskStatus},
};

/// What most programs need.
pub mod prelude {
    pub use cofferdam_engine::{
        Alignment, AsyncConfig, Attempt, Backoff, BoxError, CheckpointId, Collector, Diverted, Error, ErrorKind, Key,
        Location, NotRetryable, Ownership, ProcessingTime, Read, Record, RestartStrategy, Sink, SinkContext,
        SinkWriter, Source, SplitReader, SubtaskIndex, Timestamp, TwoPhaseSink, ValueState, WallTime,
        WatermarkStrategy,
        checkpoint::{
            config::{CheckpointConfig, CheckpointMode, Retention},
            coordinator::JobEnd,
            stats::{CheckpointHistory, CheckpointStats},
        },
        key_newtype,
        operator::Operator,
        pattern::{Match, Pattern},
        state::{self, Aggregate, AggregatingState, ListState, MapState, Merge, ReducingState, Ttl},
        time::{ByClock, NoTime, Offset, Stamp, WatermarkGenerator},
        topology::{
            ConnectedStreams, Context, Fired, KeyedBroadcastProcess, KeyedCoProcess, KeyedProcess, KeyedStream, Part,
            SharedStream, SideOutput, SideTag, Stream, Topology,
        },
        window::{self, Count, Global, Session, Sliding, Trigger, Tumbling, Window, Windowed},
    };
    #[cfg(feature = "filesystem")]
    pub use cofferdam_storage::FileSystem;
    pub use cofferdam_storage::{Lmdb, Memory};

    pub use crate::{
        async_sink::{AsyncTwoPhaseSink, Asynchronous},
        connector::*,
        engine::{Engine, EngineBuilder},
        job_handle::JobHandle,
        runtime::{
            failures::Failure,
            status::{JobPhase, JobStatus, StartedFrom},
        },
    };
}
