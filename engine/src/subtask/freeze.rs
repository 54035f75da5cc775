//! The life of a barrier in a subtask.

use super::{Subtask, message::Effects};
use crate::{
    checkpoint::{
        gate::Aligned,
        snapshot::{InFlightBatch, SnapshotStats, SubtaskSnapshot},
    },
    element::{CheckpointBarrier, StreamElement},
    error::BoxError,
    fail_point::Point,
    mutation::{self, Mutation},
    operator::SnapshotBuilder,
    slice::Slice,
};

impl Subtask {
    /// Freezes, sends the barrier on, and leaves the rest to the asynchronous part.
    pub(super) fn checkpoint(
        &mut self,
        aligned: Aligned,
        slice: &mut Slice<'_>,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        let checkpoint = aligned.barrier.checkpoint;
        let is_source = self.chain.head().source_status().is_some();
        if is_source {
            self.reach(Point::SourceSnapshot, checkpoint)?;
        }
        slice.refresh();
        let began = slice.now();
        self.pass_time(true, slice)?;
        let finished = self.participant.is_finished();
        let frozen = self.chain.snapshot(checkpoint, finished || aligned.barrier.halt, slice.wall_time())?;
        slice.refresh();
        let time = self.gate.times();
        let sync = slice.now().since(began);
        if is_source && mutation::is(Mutation::PositionOneOff) {
            // Whether it stops for want of room or of time does not matter.
            let _ = self.chain.run(slice);
        }
        self.send_on(aligned.barrier, is_source)?;
        let is_unaligned = aligned.is_early && !is_source;
        let stats = SnapshotStats { sync, is_unaligned, ..stats(&aligned, &frozen) };
        let rest = if aligned.is_early { self.chain.head().rest_of_batch()? } else { None };
        let in_flight = rest.map(|bytes| InFlightBatch { channel: self.feeding, bytes }).into_iter().collect();
        let is_pending = self.chain.head().is_pending();
        let SnapshotBuilder { deltas, operators, pre_commit, .. } = frozen;
        let snapshot =
            SubtaskSnapshot { deltas, operators, in_flight, finished, is_quiet: false, is_pending, time, stats };
        self.reach(Point::Encoded, checkpoint)?;
        if mutation::is(Mutation::SubsumedTooEarly) {
            self.chain.completed(checkpoint);
        }
        let is_recording = aligned.is_recording && !mutation::is(Mutation::RecordingCutShort);
        let wanted = self.participant.frozen(checkpoint, snapshot, pre_commit, is_recording);
        self.pass_on(wanted, effects)
    }

    fn send_on(&mut self, barrier: CheckpointBarrier, is_source: bool) -> Result<(), BoxError> {
        self.reach(Point::Frozen, barrier.checkpoint)?;
        self.chain.tail().send_all(&|| StreamElement::barrier(barrier));
        self.reach(if is_source { Point::BarrierSent } else { Point::BarrierForwarded }, barrier.checkpoint)?;
        Ok(())
    }
}

/// How long its barriers took, and how much it holds.
fn stats(aligned: &Aligned, frozen: &SnapshotBuilder) -> SnapshotStats {
    let newest = frozen.deltas.iter().filter(|delta| delta.checkpoint == aligned.barrier.checkpoint);
    let keyed: u64 = newest.flat_map(|delta| &delta.blocks).map(|block| block.bytes.len() as u64).sum();
    let other: u64 = frozen.operators.iter().map(|(_, operator)| operator.state.len() as u64).sum();
    SnapshotStats {
        start_delay: aligned.start_delay,
        alignment: aligned.alignment,
        stashed: aligned.stashed,
        bytes: keyed + other,
        bytes_full: frozen.bytes_full + other,
        ..SnapshotStats::default()
    }
}
