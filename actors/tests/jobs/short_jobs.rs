//! Jobs that are over before all of their parts know of each other.
#![allow(clippy::unwrap_used)]

use cofferdam::prelude::*;

/// A subtask that ends at once reports so from its own thread, perhaps before the coordinator has been told whom to trigger. The job then hung
/// until its last checkpoint timed out.
#[test]
fn a_job_of_three_records_ends_every_time() {
    for _ in 0..500 {
        let topology = Topology::new("short");
        let (sink, rows) = CollectSink::new();
        topology.source("numbers", Collection::new(vec![1u64, 2, 3])).map(|n| n * n).sink("squares", sink);
        let job = Engine::builder().parallelism(1).start_blocking(topology).unwrap();
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
        assert_eq!(rows.snapshot(), [1, 4, 9]);
    }
}
