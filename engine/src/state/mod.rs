//! Live state.

pub(crate) mod block;
mod group;
pub(crate) mod keyed_table;
mod partial_group;
mod read;
mod stored;
mod stored_group;
pub(crate) mod tier;
pub(crate) mod value_format;
pub(crate) mod value_state;

pub use block::{Block, BlockEntry, begin_sorted, push_sorted};
pub use read::read_keyed_state;
pub use stored::{Entries, JsonEntries, JsonEntry, StateSize, StoredCheckpoint};
pub use tier::HeapShare;
pub use value_format::ValueFormat;
