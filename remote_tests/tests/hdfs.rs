//! The backend on HDFS: a NameNode and a DataNode that run already, named by `COFFERDAM_TEST_HDFS`, such as `hdfs://127.0.0.1:8020`; `hdfs.sh` starts them.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../storage/tests/storage/checkpoints_are_retained.rs"]
mod checkpoints_are_retained;
#[path = "../../storage/tests/storage/child.rs"]
mod child;
#[path = "../../storage/tests/storage/contract.rs"]
mod contract;
#[allow(dead_code)]
#[path = "../../storage/tests/storage/enveloped.rs"]
mod enveloped;
mod scenario;
#[path = "../../storage/tests/storage/support.rs"]
mod shared;

/// The scenarios' helpers, with HDFS as the only backend.
mod support {
    use cofferdam_engine::checkpoint::store::StateBackend;

    pub use crate::shared::*;

    pub fn each_backend(scenario: impl Fn(&dyn StateBackend)) {
        scenario(&crate::place(&crate::fresh()));
    }
}

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use cofferdam_storage::FileSystem;

/// A path that nothing is at.
fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("cofferdam-test/{}-{time}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn place(path: &str) -> FileSystem {
    let server =
        std::env::var("COFFERDAM_TEST_HDFS").expect("COFFERDAM_TEST_HDFS names a running HDFS; hdfs.sh starts one");
    FileSystem::uri(&format!("{server}/{path}")).unwrap()
}

#[test]
fn of_two_owners_the_older_is_fenced() {
    let path = fresh();
    scenario::of_two_owners_the_older_is_fenced(|| place(&path));
}

#[test]
fn who_looks_sees_all_and_who_deletes_fences_the_owner() {
    let path = fresh();
    scenario::who_looks_sees_all_and_who_deletes_fences_the_owner(|| place(&path));
}

#[test]
fn large_blocks_come_back() {
    scenario::large_blocks_come_back(&place(&fresh()));
}

#[test]
fn a_killed_process_loses_no_commit() {
    if let Some(path) = child::place() {
        return scenario::commit_forever(&place(path.to_str().unwrap()));
    }
    let path = fresh();
    scenario::a_killed_process_loses_no_commit("a_killed_process_loses_no_commit", &path, &place(&path), 10);
}
