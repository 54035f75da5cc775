//! How a subtask becomes what it was at the restored checkpoint.

use super::Subtask;
use crate::{
    checkpoint::snapshot::GateTime,
    element::{StreamElement, Watermark},
    error::{BoxError, Error},
    fail_point::Point,
    id::ChannelIndex,
    mutation::{self, Mutation},
    operator::OpenContext,
    panic_site,
    time::Timestamp,
};

impl Subtask {
    /// Restores state, opens readers and writers. To be called once, before the first step; may block.
    pub fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let restored = context.restored.checkpoint;
        let opened = panic_site::catch(|| {
            self.chain.open(context)?;
            self.restore_time(context);
            self.put_back(context)?;
            self.reach(Point::RestoreApplied, restored).map(drop).map_err(|cause| self.failed(cause))
        });
        opened.unwrap_or_else(|panic| Err(self.panicked(panic)))
    }

    /// Takes up what the inputs had said of time at the restored checkpoint. Over several edges the earliest counts. What each channel had said counts only if every chain has as many
    /// subtasks as then: else splits are read by others, and what comes on a channel may be earlier than what it had said, though this edge looks as it did.
    fn restore_time(&mut self, context: &OpenContext) {
        let mut saved = GateTime { event_time: Timestamp::MAX, channels: Vec::new() };
        for edge in &self.inputs {
            let was = (!context.is_rescaled).then_some(context.subtask);
            let GateTime { event_time, channels } =
                edge.layout.restored_time(&context.restored.times, was, context.parallelism);
            saved.channels.extend(channels);
            if edge.is_timed {
                saved.event_time = saved.event_time.min(event_time);
            }
        }
        if self.inputs.iter().any(|edge| edge.is_timed) && !mutation::is(Mutation::MarksNotRestored) {
            self.gate.restore_times(&saved);
            self.time_moved = self.gate.watermark() != Watermark::NONE;
        }
    }

    /// Puts back what was in flight when the restored checkpoint was taken, before what is new. With as many subtasks and channels as then, on its own channel. Otherwise,
    /// where a key decides, each subtask picks its own records; else whole channels are shared out, or copied where each subtask gets every record. Then all of it is put
    /// on the first channel (should it be in flight once more, it still comes before what is new). Watermarks are dropped if any chain has another number of subtasks: on a
    /// channel, records of another one that come behind them would be late.
    fn put_back(&mut self, context: &OpenContext) -> Result<(), Error> {
        let (owned, parallelism) = (context.key_groups(), context.parallelism);
        for edge in &self.inputs {
            let stored = context.restored.in_flight.iter().filter(|stored| stored.edge == edge.layout.name);
            for stored in stored.filter(|stored| edge.takes(context.subtask, parallelism, stored)) {
                let is_like = edge.is_like(parallelism, stored);
                let channel = if is_like { edge.layout.first.0 + stored.channel.0 } else { edge.layout.first.0 };
                for bytes in &stored.batches {
                    if let Some(mark) = Watermark::of_bytes(bytes) {
                        if !context.is_rescaled && edge.is_timed {
                            self.gate.put_back(ChannelIndex(channel), StreamElement::Watermark(mark));
                        }
                        continue;
                    }
                    let batch = match edge.lift {
                        Some(lift) => (lift.decode)(bytes, owned, context.max_parallelism),
                        None => self.chain.head().decode_batch(bytes, owned, context.max_parallelism),
                    };
                    let batch = batch.map_err(|error| not_in_flight(&edge.layout.name, context, &error))?;
                    if !batch.is_empty() && !mutation::is(Mutation::InFlightNotRestored) {
                        self.gate.put_back(ChannelIndex(channel), StreamElement::Batch(batch));
                    }
                }
            }
        }
        Ok(())
    }
}

fn not_in_flight(edge: &str, context: &OpenContext, error: &BoxError) -> Error {
    Error::refused(format!(
        "checkpoint {} in {} holds records in flight on '{edge}' of job '{}' that cannot be read ({error}): they are of another type of record; \
         start the topology that they belong to and stop it, which leaves none in flight, or delete the state to start over",
        context.restored.checkpoint, context.state_place, context.job_name
    ))
}
