//! A job is a guest: it runs under any host, and blocks none.
#![allow(clippy::unwrap_used)]

use std::{future::Future, time::Duration};

use cofferdam::prelude::*;

fn squares() -> (Topology, Collected<u64>) {
    let topology = Topology::new("squares");
    let (sink, rows) = CollectSink::new();
    topology.source("numbers", Generator::bounded(1000, |i| i)).map(|n| n * n).sink("squares", sink);
    (topology, rows)
}

fn check(rows: &Collected<u64>) {
    let mut rows = rows.snapshot();
    rows.sort_unstable();
    assert_eq!(rows, (0..1000u64).map(|n| n * n).collect::<Vec<_>>());
}

#[test]
fn a_job_runs_in_a_plain_main() {
    let (topology, rows) = squares();
    let job = Engine::builder().start_blocking(topology).unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    check(&rows);
}

#[tokio::test(flavor = "current_thread")]
async fn a_job_runs_under_tokio_and_does_not_block_its_one_thread() {
    let (sink, rows) = CollectSink::new();
    let topology = Topology::new("slow");
    let slow = Generator::bounded(50, |i| i).rate(500);
    topology.source("numbers", slow).inspect(|_| std::thread::sleep(Duration::from_millis(1))).sink("out", sink);
    let job = Engine::builder().parallelism(1).start(topology).await.unwrap();
    let mut ticks = 0;
    let end = loop {
        tokio::select! {
            end = job.wait() => break end.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(5)) => ticks += 1,
        }
    };
    assert_eq!(end, JobEnd::Finished);
    assert_eq!(rows.snapshot().len(), 50);
    assert!(ticks >= 5, "the host's thread got {ticks} turns in 100 ms");
}

#[actix::test]
async fn a_job_runs_inside_a_running_actix_system() {
    let (topology, rows) = squares();
    let job = Engine::builder().start(topology).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), JobEnd::Finished);
    check(&rows);
    assert!(actix::System::try_current().is_some(), "the host's system is untouched");
}

#[test]
fn a_handle_is_send_and_clone_and_every_clone_sees_the_end() {
    let (topology, rows) = squares();
    let job = Engine::builder().start_blocking(topology).unwrap();
    let other = job.clone();
    let waiting = std::thread::spawn(move || other.wait_blocking());
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert_eq!(waiting.join().unwrap().unwrap(), JobEnd::Finished);
    assert!(matches!(job.status().phase, JobPhase::Ended));
    check(&rows);
}

#[test]
fn two_jobs_live_side_by_side() {
    let ((one, one_rows), (two, two_rows)) = (squares(), squares());
    let jobs = [one, two].map(|topology| Engine::builder().start_blocking(topology).unwrap());
    jobs.iter().for_each(|job| assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished));
    check(&one_rows);
    check(&two_rows);
}

#[test]
fn a_start_that_nobody_waits_for_leaves_no_job_behind() {
    let directory = tempfile::tempdir().unwrap();
    let endless = || {
        let topology = Topology::new("abandoned");
        topology.source("numbers", Generator::unbounded(|i| i).rate(1000)).sink("out", CollectSink::new().0);
        topology
    };
    let engine = || {
        Engine::builder()
            .checkpoints(CheckpointConfig::every(Duration::from_millis(10)))
            .backend(Lmdb::at(directory.path()))
    };
    {
        let mut start = std::pin::pin!(engine().start(endless()));
        assert!(start.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending());
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let job = loop {
        match engine().start_blocking(endless()) {
            Ok(job) => break job,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    job.stop_blocking().unwrap();
}
