//! Which checkpoints somebody reads at leisure: they stay, whatever `num_retained` says.
//!
//! A pinned checkpoint is kept as any other is, so nobody holds a read transaction for longer than one read.

use std::sync::{Arc, Weak};

use cofferdam_engine::CheckpointId;

/// Keeps a checkpoint for as long as it lives.
pub(super) struct Pin(#[expect(dead_code, reason = "it is counted, not read")] Arc<()>);

/// What is pinned in an open store.
#[derive(Default)]
pub(super) struct Pins(Vec<(CheckpointId, Weak<()>)>);

impl Pins {
    pub(super) fn add(&mut self, checkpoint: CheckpointId) -> Pin {
        let pin = Arc::new(());
        self.0.push((checkpoint, Arc::downgrade(&pin)));
        Pin(pin)
    }

    /// The checkpoints that are pinned now.
    pub(super) fn pinned(&mut self) -> Vec<CheckpointId> {
        self.0.retain(|(_, pin)| pin.strong_count() > 0);
        self.0.iter().map(|(checkpoint, _)| *checkpoint).collect()
    }
}
