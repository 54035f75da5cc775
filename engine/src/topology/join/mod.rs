//! Joins of two streams cut by one key.
//!
//! Each is a process function of two streams: its state is maps by key, what it drops it drops by timers, and so exactly once, another parallelism, and the end of input are theirs. A key has
//! one timer at a time, for the first moment at which something of it has to be done.
//!
//! | file | holds |
//! |---|---|
//! | `interval` | pairs whose times are near each other |
//! | `temporal` | each record with the version of a table that was valid at its time |
//! | `lookup` | each record with what a table holds when it comes |
//! | `late` | where late records end |
//! | `waiting` | what a side keeps of its records, and the timer |

mod interval;
mod late;
mod lookup;
mod temporal;
mod waiting;

pub(crate) use late::LateSides;

#[cfg(test)]
mod tests;
