//! A store may be opened, used and dropped within a host's runtime, on its blocking threads, and without any.

use std::sync::Arc;

use cofferdam_engine::checkpoint::store::StateBackend;
use cofferdam_storage::FileSystem;
use object_store::memory::InMemory;
use tokio::runtime::Builder;

use crate::support::*;

fn use_it(backend: &dyn StateBackend) {
    let mut store = backend.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, attempt.0, vec![delta(attempt.0, "total", vec![full(0, b"a")])]);
    assert_eq!(read(&mut *store, "total"), [seen(&full(0, b"a"))]);
    let reader = store.reader().unwrap();
    drop(store);
    drop(reader);
}

#[test]
fn wherever_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Arc::new(InMemory::new());
    let backends = [FileSystem::at(directory.path()), FileSystem::object_store(memory, "")];
    for backend in backends {
        for runtime in [Builder::new_current_thread().build().unwrap(), Builder::new_multi_thread().build().unwrap()] {
            let task = backend.clone();
            runtime.block_on(async move { use_it(&task) });
            let task = backend.clone();
            runtime.block_on(runtime.spawn_blocking(move || use_it(&task))).unwrap();
        }
        use_it(&backend);
    }
}
