//! The backend on S3: a real server, with signatures checked, over a socket.

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

/// The scenarios' helpers, with S3 as the only backend.
mod support {
    use cofferdam_engine::checkpoint::store::StateBackend;

    pub use crate::shared::*;

    pub fn each_backend(scenario: impl Fn(&dyn StateBackend)) {
        let server = crate::Server::start();
        scenario(&server.place("jobs/test"));
    }
}

use std::net::SocketAddr;

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use support::*;
use tokio::{net::TcpListener, runtime::Runtime};

/// Serves a bucket out of a temporary directory until it is dropped.
struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
    root: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, runtime: Some(runtime), root }
    }

    fn place(&self, prefix: &str) -> FileSystem {
        place(&format!("http://{}", self.address), prefix)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn place(endpoint: &str, prefix: &str) -> FileSystem {
    FileSystem::uri(&format!("s3://bucket/{prefix}"))
        .unwrap()
        .with_option("endpoint", endpoint)
        .with_option("allow_http", "true")
        .with_option("region", "us-east-1")
        .with_option("access_key_id", "key")
        .with_option("secret_access_key", "secret")
}

#[test]
fn of_two_owners_the_older_is_fenced() {
    let server = Server::start();
    scenario::of_two_owners_the_older_is_fenced(|| server.place("job"));
}

#[test]
fn who_looks_sees_all_and_who_deletes_fences_the_owner() {
    let server = Server::start();
    scenario::who_looks_sees_all_and_who_deletes_fences_the_owner(|| server.place("job"));
}

#[test]
fn large_blocks_come_back() {
    let server = Server::start();
    scenario::large_blocks_come_back(&server.place("job"));
}

#[test]
fn a_killed_process_loses_no_commit() {
    if let Some(endpoint) = child::place() {
        return scenario::commit_forever(&place(endpoint.to_str().unwrap(), "job"));
    }
    let server = Server::start();
    let endpoint = format!("http://{}", server.address);
    scenario::a_killed_process_loses_no_commit("a_killed_process_loses_no_commit", &endpoint, &server.place("job"), 10);
}

/// With another secret nothing is read and nothing is written.
#[test]
fn a_server_that_refuses_is_an_error() {
    let server = Server::start();
    let stranger = server.place("job").with_option("secret_access_key", "guessed");
    let (kind, message) = refusal(stranger.open());
    assert_eq!(kind, StoreErrorKind::Io);
    assert!(message.contains("s3://bucket/job"), "{message}");
    assert_eq!(std::fs::read_dir(server.root.path().join("bucket")).unwrap().count(), 0);
    let (kind, message) = refusal(server.place("job").with_option("colour", "red").open());
    assert_eq!(kind, StoreErrorKind::Foreign, "{message}");
}

#[test]
fn a_place_of_others_is_not_taken() {
    let server = Server::start();
    let theirs = server.root.path().join("bucket/job");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("table.csv"), "1,2,3").unwrap();
    let (kind, message) = refusal(server.place("job").open());
    assert_eq!(kind, StoreErrorKind::Foreign);
    assert!(message.contains("table.csv"), "{message}");
}
