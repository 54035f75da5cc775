//! Keeps Cofferdam's checkpoints.
//!
//! ```text
//!                    StateBackend::open            CheckpointStore
//! Memory            ---------------->  in the process, gone with it
//! Lmdb::at("dir/")  ---------------->  one LMDB environment in a directory, survives a crash
//! ```
//! Both keep one job's newest checkpoint, whole or not at all, and obey the same contract
//! ([`CheckpointStore`](cofferdam_engine::checkpoint::store::CheckpointStore)). What a commit changes is decided once for both, in `plan`.

mod lmdb;
mod memory;
mod plan;

pub use lmdb::{Inspection, Lmdb};
pub use memory::Memory;
