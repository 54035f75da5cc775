//! How far each number is from 1, if it is halved when it is even, and else tripled and given one (Collatz): a loop.

use cofferdam::prelude::*;
use serde::{Deserialize, Serialize};

/// A number, and where its walk has come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Walk {
    first: u64,
    now: u64,
}

/// A row of the output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Steps {
    /// The number.
    pub number: u64,
    /// To 1.
    pub steps: u64,
}

/// Whatever gives the numbers and takes the rows. The steps are counted in state, by the number: a record that were lost on its way round, or went round twice, would
/// show in the rows.
pub fn topology(numbers: impl Source<Record = u64>, rows: impl TwoPhaseSink<Steps>) -> Topology {
    let topology = Topology::new("collatz");
    topology
        .source("numbers", numbers)
        .map(|number| Walk { first: number, now: number })
        .iterate("walk", |looped| {
            let walks = looped
                .key_by(|walk| walk.first)
                .process("steps", |_first: &u64, walk: Walk, steps: &mut ValueState<u64>, out: &mut Collector<_>| {
                    let walk = match walk.now {
                        0 | 1 => {
                            let taken = steps.get().copied().unwrap_or(0);
                            steps.clear();
                            Err(Steps { number: walk.first, steps: taken })
                        }
                        now => {
                            steps.update(|| 0, |steps| *steps += 1);
                            Ok(Walk { now: if now % 2 == 0 { now / 2 } else { 3 * now + 1 }, ..walk })
                        }
                    };
                    out.emit(walk);
                })
                .share();
            (walks.stream().flat_map(Result::ok), walks.stream().flat_map(Result::err))
        })
        .sink("rows", rows);
    topology
}
