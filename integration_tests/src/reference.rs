//! The topology that the harness is turned on the engine with: two sources, a keyed exchange, a step with two inputs and state, and a two-phase sink.

use cofferdam_engine::{Collector, ValueState, topology::Topology};

use crate::io::Io;

/// Records of each source.
const RECORDS: u64 = 60;

/// A key is touched for a while and then never again, so that what a checkpoint owes is not made up for by the next record. For each record the key and a running count of it; sums of two sources, so that the result does not depend on their order.
pub fn reference(io: &Io) -> Topology {
    let topology = Topology::new("reference");
    let first = topology.source("first", io.source((0..RECORDS).collect()));
    let second = topology.source("second", io.source((RECORDS..2 * RECORDS).collect()));
    first
        .union(second)
        .key_by(|n| n % RECORDS / 6 * 2 + n % 2)
        .process("count", |key: &u64, _n: u64, count: &mut ValueState<'_, u64>, out: &mut Collector<'_, (u64, u64)>| {
            let count = count.update(
                || 0,
                |count| {
                    *count += 1;
                    *count
                },
            );
            out.emit((*key, count));
        })
        .sink("counts", io.sink_in_order_of(|(key, _): &(u64, u64)| *key));
    topology
}
