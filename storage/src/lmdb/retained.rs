//! The checkpoints that are kept, as the open store knows them.

use std::sync::Arc;

use cofferdam_engine::CheckpointId;

use super::catalog::Catalog;

/// A completed checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Retained {
    pub(super) number: CheckpointId,
    /// `None` if its record or an index is damaged.
    pub(super) catalog: Option<Arc<Catalog>>,
}
