//! Requests to a real service on the loopback, which is slow, and hangs up every so often.

#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::until::until;

const RECORDS: u64 = 6_000;
const CAPACITY: usize = 40;

/// Says what three times a number is.
struct Service {
    address: SocketAddr,
    counts: Arc<Counts>,
    _until_dropped: oneshot::Sender<()>,
}

#[derive(Default)]
struct Counts {
    /// Requests in all.
    asked: AtomicU64,
    hung_up: AtomicU64,
    /// It is not slow, it does not answer at all.
    is_silent: AtomicBool,
    /// Futures of the job's that are there, and the most there were.
    alive: AtomicUsize,
    most_alive: AtomicUsize,
}

impl Service {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let (until_dropped, mut dropped) = oneshot::channel();
        let for_thread = counts.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    tokio::select! {
                        _ = &mut dropped => break,
                        accepted = listener.accept() => {
                            tokio::spawn(answer(accepted.unwrap().0, for_thread.clone()));
                        }
                    }
                }
            });
        });
        Self { address, counts, _until_dropped: until_dropped }
    }

    fn alive(&self) -> usize {
        self.counts.alive.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, counts: Arc<Counts>) -> std::io::Result<()> {
    let number = stream.read_u64().await?;
    let asked = counts.asked.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(number * 7 % 5)).await;
    while counts.is_silent.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if asked % 11 == 7 {
        counts.hung_up.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    stream.write_u64(number * 3).await
}

/// As long as a future is.
struct Alive(Arc<Counts>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn ask(address: SocketAddr, counts: Arc<Counts>, number: u64) -> std::io::Result<(u64, u64)> {
    counts.most_alive.fetch_max(1 + counts.alive.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
    let _alive = Alive(counts);
    let mut stream = TcpStream::connect(address).await?;
    stream.write_u64(number).await?;
    Ok((number, stream.read_u64().await?))
}

fn topology(
    service: &Service,
    config: &AsyncConfig,
    (records, rate): (u64, f64),
    sink: &CollectSink<(u64, u64)>,
) -> Topology {
    let (address, counts) = (service.address, service.counts.clone());
    let topology = Topology::new("asking");
    topology
        .source("numbers", Generator::bounded(records, |n| n).rate(rate))
        .parallelism(1)
        .map_async("triple", config.clone(), move |number| ask(address, counts.clone(), number))
        .sink("rows", sink.clone());
    topology
}

/// A loop.
fn rows(records: u64) -> Vec<(u64, u64)> {
    (0..records).map(|n| (n, n * 3)).collect()
}

fn engine(state: &std::path::Path) -> EngineBuilder {
    let restart = RestartStrategy::FixedDelay { attempts: u32::MAX, delay: Duration::from_millis(1) };
    let checkpoints = CheckpointConfig::every(Duration::from_millis(10));
    Engine::builder().parallelism(2).checkpoints(checkpoints).restart(restart).backend(Lmdb::at(state))
}

#[test]
fn a_job_that_is_cancelled_with_requests_under_way_asks_again_and_gives_each_answer_on_once_in_order() {
    let (service, state) = (Service::start(), tempdir().unwrap());
    let (sink, published) = CollectSink::new();
    let backoff = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(20));
    let config = AsyncConfig::ordered(CAPACITY).retries(20, backoff);
    let start =
        || engine(state.path()).start_blocking(topology(&service, &config, (RECORDS, 10_000.0), &sink)).unwrap();
    for _ in 0..3 {
        let before = published.snapshot().len();
        let job = start();
        until("rows, and requests under way", || published.snapshot().len() > before && service.alive() > 0);
        job.cancel_blocking().unwrap();
        assert_eq!(service.alive(), 0, "futures of a job that is gone");
    }
    assert!(published.snapshot().len() < RECORDS as usize, "it was cancelled midway");
    start().wait_blocking().unwrap();
    assert_eq!(published.snapshot(), rows(RECORDS));
    assert!(service.counts.hung_up.load(Ordering::SeqCst) > 0, "all went well");
    assert!(service.counts.asked.load(Ordering::SeqCst) > RECORDS, "nothing was asked again");
    let most_alive = service.counts.most_alive.load(Ordering::SeqCst);
    assert!((2..=CAPACITY).contains(&most_alive), "{most_alive} at once");
}

#[test]
fn an_attempt_that_fails_drops_its_requests_and_the_next_one_asks_again() {
    let (service, state) = (Service::start(), tempdir().unwrap());
    let (sink, published) = CollectSink::new();
    // Whenever the service hangs up, the attempt fails.
    let config = AsyncConfig::ordered(CAPACITY).retries(1, Backoff::constant(Duration::ZERO));
    let job = engine(state.path()).start_blocking(topology(&service, &config, (RECORDS, 1e9), &sink)).unwrap();
    job.wait_blocking().unwrap();
    assert_eq!(published.snapshot(), rows(RECORDS));
    let most_alive = service.counts.most_alive.load(Ordering::SeqCst);
    assert!(most_alive <= CAPACITY, "{most_alive} at once, of two attempts together");
    assert_eq!(service.alive(), 0);
}

/// So many records, at so many a second.
const FEW: (u64, f64) = (300, 500.0);

#[test]
fn checkpoints_are_taken_and_a_stop_is_heard_while_the_service_is_silent() {
    let (service, state) = (Service::start(), tempdir().unwrap());
    service.counts.is_silent.store(true, Ordering::SeqCst);
    let (sink, published) = CollectSink::new();
    let config = AsyncConfig::ordered(1_000).retries(20, Backoff::constant(Duration::from_millis(1)));
    let start = || engine(state.path()).start_blocking(topology(&service, &config, FEW, &sink)).unwrap();
    let job = start();
    until("requests under way", || service.alive() > 10);
    let taken = job.status().checkpoints_completed;
    until("three checkpoints", || job.status().checkpoints_completed > taken + 2);
    job.stop_blocking().unwrap();
    assert_eq!((published.snapshot().len(), service.alive()), (0, 0));
    service.counts.is_silent.store(false, Ordering::SeqCst);
    start().wait_blocking().unwrap();
    assert_eq!(published.snapshot(), rows(FEW.0));
}

#[test]
fn a_service_that_is_silent_for_too_long_ends_the_job_with_an_error_that_names_the_step() {
    let service = Service::start();
    service.counts.is_silent.store(true, Ordering::SeqCst);
    let config = AsyncConfig::unordered(CAPACITY)
        .timeout(Duration::from_millis(20))
        .retries(2, Backoff::constant(Duration::from_millis(1)));
    let topology = topology(&service, &config, (RECORDS, 1e9), &CollectSink::new().0);
    let job = Engine::builder().restart(RestartStrategy::None).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err().to_string();
    let expected = "operator 'triple', subtask 0 failed: failed 3 times, the last time: no answer within 20ms";
    assert!(error.contains(expected), "{error}");
    assert_eq!(service.alive(), 0);
}
