//! Exactly-once stream processing inside a Rust service.

mod block_on;
pub mod connector;
mod engine;
mod job_handle;
mod runtime;

pub use engine::{Engine, EngineBuilder};
pub use job_handle::JobHandle;
pub use runtime::status::{JobPhase, JobStatus, StartedFrom, SubtaskStatus};

/// What most programs need.
pub mod prelude {
    pub use cofferdam_engine::{
        Attempt, BoxError, CheckpointId, Collector, Error, ErrorKind, Key, Ownership, ProcessingTime, Read, Record,
        RestartStrategy, Sink, SinkContext, SinkWriter, Source, SplitReader, SubtaskIndex, TwoPhaseSink, ValueState,
        checkpoint::{
            config::{CheckpointConfig, CheckpointMode},
            coordinator::JobEnd,
            stats::{CheckpointHistory, CheckpointStats},
        },
        key_newtype,
        topology::Topology,
    };
    pub use cofferdam_storage::{Lmdb, Memory};

    pub use crate::{
        connector::*,
        engine::{Engine, EngineBuilder},
        job_handle::JobHandle,
        runtime::status::{JobPhase, JobStatus, StartedFrom},
    };
}
