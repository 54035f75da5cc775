//! Topologies that are wrong: the harness must find that, and say it in its shortest form.

use cofferdam_engine::{
    BoxError, CheckpointId, Ownership, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink, topology::Topology,
};
use cofferdam_testkit::{Broken, Io, Output, Torture};

/// A sink that publishes each row as it comes, and calls that two phases.
struct Direct(Output<(u64, u64)>);

struct DirectWriter(Output<(u64, u64)>);

impl TwoPhaseSink<(u64, u64)> for Direct {
    type Writer = DirectWriter;
    type Frozen = ();
    type Transaction = ();
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(Ownership::Untracked)
    }

    fn place(&self) -> String {
        "somewhere".to_string()
    }

    fn claim(&self, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn recover(&self, _: &SinkContext, _: Vec<()>, _: &[()]) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, _: &SinkContext, _: SubtaskIndex, _: Vec<()>) -> Result<DirectWriter, BoxError> {
        Ok(DirectWriter(self.0.clone()))
    }

    fn pre_commit(&self, (): ()) -> Result<Option<()>, BoxError> {
        Ok(None)
    }

    fn commit(&self, (): &()) -> Result<(), BoxError> {
        Ok(())
    }
}

impl SinkWriter<(u64, u64)> for DirectWriter {
    type Frozen = ();
    type State = ();

    fn write(&mut self, row: (u64, u64)) -> Result<(), BoxError> {
        self.0.push(row);
        Ok(())
    }

    fn freeze(&mut self, _: CheckpointId, _: bool) -> Result<((), ()), BoxError> {
        Ok(((), ()))
    }
}

fn counts(io: &Io, sink: impl TwoPhaseSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("counts");
    let numbers = topology.source("numbers", io.source((0..60u64).collect()));
    numbers.key_by(|n| n % 3).fold("count", 0u64, |count, _| *count += 1).sink("out", sink);
    topology
}

#[test]
fn a_sink_that_publishes_at_once_is_found_and_the_failure_is_shrunk_to_one_fault() {
    let report = Torture::new(|io| counts(io, Direct(io.output()))).seeds(0..60).run().unwrap();
    let failure = &report.failures()[0];
    assert!(matches!(failure.broken[0], Broken::Extra { output: 0, .. }), "{failure}");
    let shrunk = failure.shrunk.as_ref().unwrap();
    assert_eq!(shrunk.schedule.injections.len(), 1, "{failure}");
    assert_eq!(shrunk.schedule.injections[0].occurrence, 1, "{failure}");
    assert!(shrunk.records.unwrap() <= 16, "{failure}");
    report.assert_at_least_once();

    let again = Torture::new(|io| counts(io, Direct(io.output())))
        .records(shrunk.records.unwrap())
        .schedule(shrunk.schedule.clone())
        .run()
        .unwrap();
    assert_eq!(again.failures().len(), 1, "the line that is printed shows the same failure");
}

#[test]
#[should_panic(expected = ".schedule(Schedule::order(")]
fn a_failure_is_printed_as_a_line_to_be_pasted_into_a_test() {
    Torture::new(|io| counts(io, Direct(io.output()))).seeds(0..20).run().unwrap().assert_exactly_once();
}

/// State outside of the engine's: a restart does not take it back.
#[test]
fn state_that_a_closure_keeps_for_itself_is_found() {
    let report = Torture::new(|io| {
        let topology = Topology::new("numbered");
        let numbers = topology.source("numbers", io.source((0..200u64).collect())).parallelism(1);
        let mut given = 0u64;
        numbers
            .map(move |n| {
                given += 1;
                (n, given)
            })
            .sink("out", io.sink());
        topology
    })
    .every_fail_point()
    .run()
    .unwrap();
    assert!(!report.failures().is_empty());
}

#[test]
fn a_topology_that_fails_by_itself_is_told_apart_from_one_that_fails_under_faults() {
    let failing = Torture::new(|io| {
        let topology = Topology::new("failing");
        let numbers = topology.source("numbers", io.source((0..40u64).collect()));
        numbers.try_map(|n| if n == 7 { Err("seven") } else { Ok(n) }).sink("out", io.sink());
        topology
    });
    let error = failing
        .setup(|mut setup| {
            setup.settings.restart = cofferdam_engine::RestartStrategy::None;
            setup
        })
        .seeds(0..1)
        .run()
        .unwrap_err();
    assert!(error.to_string().contains("seven"), "{error}");
    assert!(Torture::new(|io| counts(io, io.sink())).run().unwrap_err().to_string().contains("no schedule"));
}
