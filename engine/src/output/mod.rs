//! The end of a chain: outputs to other chains, or a sink.
//!
//! Each output channel has a *lane*: the batch being filled, and elements ready to be sent. The driver takes what is ready as fast as the
//! channel has room. While anything is ready the chain is *blocked* and takes no input: so a lane holds one full batch at most, plus
//! barriers and the end of input.

pub(crate) mod exchange;
pub(crate) mod lane;
pub(crate) mod sink;

use crate::{
    element::StreamElement,
    error::BoxError,
    id::{ChannelIndex, CheckpointId},
    operator::Stateful,
    slice::Flow,
};

/// Where a chain's records end up.
pub(crate) trait Tail<T>: TailControl + 'static {
    /// Takes a record. `Stop::Yield` when no more should come for now.
    fn accept(&mut self, record: T) -> Flow;
}

/// The rare calls on a chain's end.
pub(crate) trait TailControl: Stateful {
    /// Makes batches that are not full ready to be sent; whether there were any.
    fn flush(&mut self) -> bool {
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

    /// Whether something is ready and not yet taken.
    fn is_blocked(&self) -> bool {
        false
    }

    /// Records that left since the last call, each copy counted.
    fn take_records_out(&mut self) -> u64;

    /// Whether this is a two-phase sink.
    fn is_two_phase(&self) -> bool {
        false
    }

    /// Takes note of what `checkpoint`'s pre-commit has prepared.
    fn prepared(&mut self, _checkpoint: CheckpointId, _transaction: Option<Vec<u8>>) {}

    /// The transactions that a snapshot of `checkpoint` must carry.
    fn transactions_up_to(
        &self,
        _checkpoint: CheckpointId,
    ) -> Option<(String, Vec<crate::checkpoint::snapshot::PreparedTransaction>)> {
        None
    }

    /// The work of publishing every transaction up to `checkpoint`; `None` if there is nothing to publish.
    fn commit_up_to(&mut self, _checkpoint: CheckpointId) -> Option<Commit> {
        None
    }

    /// What [`commit_up_to`](Self::commit_up_to) gave is published: forget it.
    fn committed(&mut self, _checkpoint: CheckpointId) {}
}

/// Publishes prepared transactions; blocks.
pub type Commit = Box<dyn FnOnce() -> Result<(), BoxError> + Send>;
