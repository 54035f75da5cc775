//! Live state: what a step declares, how its functions get at it, and how it gets into checkpoints.
//!
//! | a step with a key | | an operator without one | |
//! |---|---|---|---|
//! | [`value()`] | one value | [`list()`] | elements, dealt out on another parallelism |
//! | [`list()`] | elements, each stored apart | [`union()`] | elements, all for everybody |
//! | [`map()`] | entries, each stored apart | [`broadcast()`] | a map that is the same everywhere |
//! | [`reducing()`], [`aggregating()`] | one value, made of many | | |

mod aggregating_state;
mod bits;
pub(crate) mod block;
mod declared;
mod delta_ledger;
pub(crate) mod descriptor;
mod entry_index;
mod entry_key;
mod entry_table;
mod group;
pub(crate) mod keyed_states;
pub(crate) mod keyed_table;
mod list_state;
mod map_state;
mod merge;
pub(crate) mod operator_states;
pub(crate) mod pane_table;
mod partial_group;
mod pieces;
mod read;
mod reducing_state;
mod shelf;
mod sought;
mod stored;
mod stored_group;
mod stored_operator;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tier;
pub(crate) mod timers;
pub(crate) mod ttl;
mod unread;
pub(crate) mod value_format;
pub(crate) mod value_state;
mod value_table;

pub use aggregating_state::{Aggregate, AggregatingState};
pub use block::{Block, BlockEntry, Values, begin_sorted, push_sorted, sorted_length};
pub use declared::DeclaredState;
#[cfg(test)]
pub(crate) use declared::ValueCheck;
pub use descriptor::{
    Aggregated, Broadcast, Elements, Entries, OneValue, Reduced, StateDescriptor, Union, aggregating, broadcast, list,
    map, reducing, union, value,
};
pub use entry_key::EntryKey;
pub use keyed_states::KeyedStates;
pub use list_state::ListState;
pub use map_state::MapState;
pub use merge::Merge;
pub use operator_states::OperatorStates;
pub(crate) use operator_states::SavedState;
pub use read::read_keyed_state;
pub use reducing_state::ReducingState;
pub use stored::{JsonEntries, JsonEntry, StateSize, StoredCheckpoint, StoredEntries};
pub(crate) use stored_group::read as read_stored_group;
pub use stored_operator::StoredSplit;
pub use tier::HeapShare;
pub use ttl::{Forever, Lifetime, Ttl};
pub(crate) use unread::Unread;
pub use value_format::ValueFormat;
