//! Keeps Cofferdam's checkpoints.
//!
//! ```text
//!                                StateBackend::open            CheckpointStore
//! Memory                         ---------------->  in the process, gone with it
//! Lmdb::at("dir/")               ---------------->  one LMDB environment in a directory, survives a crash
//! FileSystem::uri("s3://b/p")?   ---------------->  files or objects, on a disk, in S3, in HDFS
//! ```
//! Each keeps one job's checkpoints, whole or not at all, and obeys the same contract
//! ([`CheckpointStore`](cofferdam_engine::checkpoint::store::CheckpointStore)). What a commit changes is decided once for all, in `plan`.

#[cfg(feature = "filesystem")]
mod filesystem;
mod inspection;
mod lmdb;
mod memory;
mod plan;

#[cfg(feature = "filesystem")]
pub use filesystem::FileSystem;
pub use inspection::Inspection;
pub use lmdb::Lmdb;
pub use memory::Memory;
