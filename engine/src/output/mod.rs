//! The end of a chain: outputs to other chains, or a sink; and the side outputs that steps within it have.
//!
//! Each output channel has a *lane*: the batch being filled, and elements ready to be sent. The driver takes what is ready as fast as the
//! channel has room. While anything is ready the chain is *blocked* and takes no input: so a lane holds one full batch at most, plus
//! watermarks, barriers and the end of input.

pub(crate) mod exchange;
pub(crate) mod lane;
pub(crate) mod sides;
pub(crate) mod sink;

use crate::{
    checkpoint::snapshot::PreparedTransaction,
    element::{CheckpointBarrier, Copied, StreamElement, Watermark},
    error::BoxError,
    id::{ChannelIndex, ProcessingTime},
    operator::Stateful,
    slice::Flow,
    time::Stamp,
};

/// Where a chain's records end up.
pub(crate) trait Tail<T, S: Stamp>: TailControl + 'static {
    /// Takes a record and its stamp. `Stop::Yield` when no more should come for now.
    fn accept(&mut self, record: T, time: S) -> Flow;
}

/// The rare calls on a chain's end.
pub(crate) trait TailControl: Stateful {
    /// Makes batches that are not full ready to be sent; whether there were any.
    fn flush(&mut self) -> bool {
        false
    }

    /// Says how far event time has come, behind all records: on `all` channels, or only where something is ready and the last watermark is a millisecond
    /// old. Nothing is said twice. Whether something became ready.
    fn mark(&mut self, _mark: Watermark, _all: bool, _now: ProcessingTime) -> bool {
        false
    }

    /// Sends an element on every channel, behind all records.
    fn send_all(&mut self, _element: &dyn Fn() -> StreamElement) {}

    /// Number of output channels.
    fn channels(&self) -> usize {
        0
    }

    /// Whether something is ready for `channel`.
    fn has_ready(&self, _channel: ChannelIndex) -> bool {
        false
    }

    /// Takes the next element that is ready for `channel`.
    fn take_ready(&mut self, _channel: ChannelIndex) -> Option<StreamElement> {
        None
    }

    /// Takes a barrier for `channel` that leaves before what is ready in front of it, with copies of that.
    fn take_overtaking(
        &mut self,
        _channel: ChannelIndex,
        _now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        Ok(None)
    }

    /// Whether a barrier or an end is ready for `channel`.
    fn has_line(&self, _channel: ChannelIndex) -> bool {
        false
    }

    /// When a barrier that waits may overtake.
    fn overtakes_at(&self) -> Option<ProcessingTime> {
        None
    }

    /// Whether something is ready and not yet taken.
    fn is_blocked(&self) -> bool {
        false
    }

    /// Records that left since the last call, those of side outputs too, each copy counted.
    fn take_records_out(&mut self) -> u64;

    /// The `uid` of the two-phase sink, if this is one.
    fn two_phase_sink(&self) -> Option<&str> {
        None
    }

    /// The work of publishing transactions of the two-phase sink.
    fn publication(&self, _due: Vec<PreparedTransaction>) -> Commit {
        Box::new(|| Ok(()))
    }
}

/// Publishes prepared transactions; blocks.
pub type Commit = Box<dyn FnOnce() -> Result<(), BoxError> + Send>;
