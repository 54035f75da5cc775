//! Decides: topology, operators, state and the checkpoint protocol of Cofferdam.
//!
//! Nothing here knows of actors, threads, runtimes or databases. [`subtask`], [`checkpoint::gate`], [`checkpoint::coordinator`] and
//! [`supervisor`] are state machines: an input and the time go in, effects come out, and a driver carries them out. Users add the crate
//! `cofferdam`, which has the drivers and re-exports what they touch from here.
//!
//! Where to start reading: [`checkpoint`] follows one barrier through the files.

mod chain;
mod channel_queue;
pub mod checkpoint;
pub mod codec;
mod duration;
mod element;
mod error;
pub mod fail_point;
pub mod failed_records;
mod id;
mod key;
mod key_format;
mod key_group;
pub mod mutation;
pub mod opening;
pub mod operator;
mod output;
mod panic_site;
pub mod pattern;
mod record;
mod request;
mod restart;
mod restore_point;
pub mod savepoint;
mod scratch;
mod sink;
mod slice;
mod source;
mod spill;
pub mod state;
pub mod subtask;
pub mod supervisor;
pub mod time;
pub mod topology;
pub mod window;

pub use channel_queue::{ChannelQueue, Circulating};
pub use element::{CheckpointBarrier, Copied, InFlight, StreamElement, Watermark, overtake};
pub use error::{BoxError, Error, ErrorKind, Location, NotRetryable};
pub use id::{
    AlignmentGroup, Attempt, ChannelIndex, CheckpointId, JobId, ProcessingTime, SavepointId, SubtaskIndex, WallTime,
};
pub use key::Key;
pub use key_format::KeyFormat;
pub use key_group::{KeyGroup, KeyGroupRange};
pub use operator::{divert::Diverted, process::Collector};
pub use output::Commit;
pub use panic_site::message as panic_message;
pub use record::{Batch, Decoder, Record};
pub use request::{Request, RequestId};
pub use restart::RestartStrategy;
pub use scratch::{NewScratch, Scratch};
pub use sink::{Ownership, Sink, SinkContext, SinkWriter, TwoPhaseSink};
pub use slice::{Clock, Slice};
pub use source::{Read, Source, SplitReader};
pub use state::value_state::ValueState;
pub use time::{Alignment, ByClock, InTime, IntoTimestamp, NoTime, Stamp, Stamped, Timestamp, WatermarkStrategy};
pub use topology::{AsyncConfig, Backoff};
