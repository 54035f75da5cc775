//! Decides: topology, operators, state and the checkpoint protocol of Cofferdam.

pub mod checkpoint;
mod element;
mod error;
mod id;
mod key;
mod key_group;
mod record;
mod sink;
mod source;
pub mod topology;

pub use element::{CheckpointBarrier, StreamElement};
pub use error::{BoxError, Error, ErrorKind, Location};
pub use id::{Attempt, ChannelIndex, CheckpointId, JobId, ProcessingTime, SubtaskIndex};
pub use key::Key;
pub use key_group::{KeyGroup, KeyGroupRange};
pub use record::{Batch, Record};
pub use sink::{Sink, SinkContext, SinkWriter, TwoPhaseSink};
pub use source::{Read, Source, SplitReader};
