//! Live state.

pub(crate) mod block;
pub(crate) mod keyed_table;
pub(crate) mod value_state;
