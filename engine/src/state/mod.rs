//! Live state.

pub(crate) mod block;
mod group;
pub(crate) mod keyed_table;
pub(crate) mod value_state;
