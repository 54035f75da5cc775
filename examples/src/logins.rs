//! Log-ins, and the topology that finds out who may have guessed a password.

use std::time::Duration;

use cofferdam::prelude::*;
use cofferdam_engine::{Source, TwoPhaseSink};
use serde::{Deserialize, Serialize};

const USERS: u64 = 150;

/// Word of a log-in comes up to so much later than that of others.
const DISORDER: Duration = Duration::from_secs(30);

/// Three failures and then a success within so long are a guess.
const WITHIN: Duration = Duration::from_secs(600);

/// The topology of the `guessed_logins` example: three failed log-ins of a user in a row, then a success, all within ten minutes.
pub fn topology(logins: impl Source<Record = Login>, rows: impl TwoPhaseSink<Guess>) -> Topology {
    let guessed = Pattern::begin("failed", |login: &Login| !login.succeeded)
        .times(3)
        .next("succeeded", |login| login.succeeded)
        .within(WITHIN);
    let topology = Topology::new("guessed_logins");
    topology
        .source("log-ins", logins)
        .event_time("time", WatermarkStrategy::bounded(DISORDER), |login| Timestamp::from_millis(login.at_ms))
        .key_by(|login| login.user)
        .pattern("guessed", guessed, |found| Guess {
            user: *found.key(),
            failed_ms: found.all("failed").iter().map(|login| login.at_ms).collect(),
            succeeded_ms: found.ended().as_millis(),
            address: found.first("succeeded").map_or(0, |login| login.address),
        })
        .sink("rows", rows);
    topology
}

/// Somebody has tried to log in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    /// Who.
    pub user: u32,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// From where.
    pub address: u32,
    /// With the right password.
    pub succeeded: bool,
}

impl Login {
    /// The log-in of a number: about one a second, out of order by up to half a minute, no two at one moment. Three of ten fail.
    pub fn numbered(number: u64) -> Self {
        let chance = mixed(number);
        let (second, disorder) = (number as i64, (chance >> 32) as i64 % DISORDER.as_secs() as i64);
        Self {
            user: (chance % USERS) as u32,
            // Those of one second are of different numbers, and so of different milliseconds.
            at_ms: 1_700_000_000_000 + (second - disorder) * 1_000 + second % 1_000,
            address: (chance >> 8) as u32,
            succeeded: chance / USERS % 10 >= 3,
        }
    }
}

/// The finalizer of SplitMix64: what looks like chance, and is the same in each replay.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Three failures and a success.
#[derive(Debug, Serialize)]
pub struct Guess {
    user: u32,
    failed_ms: Vec<i64>,
    succeeded_ms: i64,
    address: u32,
}
