//! The queries.
//!
//! A query is a function of a topology to add to, the events, and where its rows go; and a line in [`QUERIES`]. What its rows must be is said again, in SQL, by
//! `integration_tests/nexmark/queries`.

mod bids;
mod bids_of_auctions;
mod days;
mod final_bids;
mod lookup;
mod persons_who_sell;
mod windows;
mod winners;

use std::time::Duration;

use ::nexmark::event::Bid;
use cofferdam::prelude::*;
use cofferdam_engine::{operator::Operator, time::Bounded, topology::Stream};
use serde::{Serialize, Serializer};

use super::{
    rows::Rows,
    source::{Events, NumberedEvent},
};
use crate::paced::Paced;

/// What a query reads.
pub type EventSource = Paced<Events>;

/// Every query there is, by its name. The official q23 came later than the others, and is not here.
pub const QUERIES: &[Query] = &[
    Query::of("q0", "every bid, as it is", bids::q0),
    Query::of("q1", "every bid, its price in euros", bids::q1),
    Query::of("q2", "bids on some auctions", bids::q2),
    Query::of("q3", "who sells in category 10, from three states", persons_who_sell::q3),
    Query::of("q4", "the mean price of each category", winners::q4).replacing(&["id"], "auctions"),
    Query::of("q5", "the auctions with the most bids in ten seconds, every two", windows::q5),
    Query::of("q6", "the mean price of each seller's last auctions", winners::q6).replacing(&["seller"], "auctions"),
    Query::of("q7", "the highest bids of each ten seconds", windows::q7),
    Query::of("q8", "who sells in the ten seconds in which they registered", windows::q8),
    Query::of("q9", "every auction, with the bid that won", winners::q9),
    Query::of("q10", "every bid, by day and minute", bids::q10),
    Query::of("q11", "how many bids each bidder made without a pause", windows::q11),
    Query::of("q12", "how many bids each bidder made in each ten seconds", windows::q12),
    Query::of("q13", "every bid, with what a table says of its auction", lookup::q13),
    Query::of("q14", "bids of some height, by time of day", bids::q14),
    Query::of("q15", "bids, bidders and auctions of each day", days::q15),
    Query::of("q16", "the same for each channel", days::q16),
    Query::of("q17", "bids and prices of each auction's day", days::q17),
    Query::of("q18", "the last bid of each bidder on each auction", final_bids::q18),
    Query::of("q19", "the ten highest bids of each auction", final_bids::q19),
    Query::of("q20", "every bid in category 10, with its auction", bids_of_auctions::q20),
    Query::of("q21", "every bid with a channel's number", bids::q21),
    Query::of("q22", "every bid, by the directories of its page", bids::q22),
];

/// A query.
#[derive(Debug)]
pub struct Query {
    /// As in Nexmark: `q0`.
    pub name: &'static str,
    /// What it asks, in a few words.
    pub asks: &'static str,
    /// If a row can replace an earlier one: how.
    pub updates: Option<Updates>,
    build: fn(&Topology, EventSource, Rows),
}

/// Of the rows with the same key, the one with the highest count is final.
#[derive(Debug)]
pub struct Updates {
    /// The key's fields.
    pub key: &'static [&'static str],
    /// A field that grows with each row of a key.
    pub count: &'static str,
}

impl Query {
    const fn of(name: &'static str, asks: &'static str, build: fn(&Topology, EventSource, Rows)) -> Self {
        Self { name, asks, updates: None, build }
    }

    /// Of the rows of a key, the one with the highest count is final.
    const fn replacing(self, key: &'static [&'static str], count: &'static str) -> Self {
        Self { updates: Some(Updates { key, count }), ..self }
    }

    /// The query of this name.
    ///
    /// # Errors
    /// There is none: the message lists those that there are.
    pub fn named(name: &str) -> Result<&'static Self, Error> {
        QUERIES.iter().find(|query| query.name == name).ok_or_else(|| {
            let known: Vec<&str> = QUERIES.iter().map(|query| query.name).collect();
            Error::refused(format!("there is no query '{name}': there are {}", known.join(", ")))
        })
    }

    /// The job `nexmark-q0`, or whatever the query is.
    pub fn topology(&self, events: EventSource, rows: Rows) -> Topology {
        let topology = Topology::new(format!("nexmark-{}", self.name));
        (self.build)(&topology, events, rows);
        topology
    }
}

/// How far time has come. In a split events are never out of order; four seconds are what the official tables allow for.
fn watermarks() -> WatermarkStrategy<Bounded> {
    WatermarkStrategy::bounded(Duration::from_secs(4))
}

/// A time of the generator's.
fn time_of(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis as i64)
}

/// The events with their times.
fn timed_events(
    topology: &Topology,
    events: EventSource,
) -> Stream<impl Operator<Out = NumberedEvent, Time = Timestamp> + use<>> {
    topology.source("events", events).event_time("time", watermarks(), |event| time_of(event.event.timestamp()))
}

/// The bids with their times and numbers.
fn timed_bids(
    topology: &Topology,
    events: EventSource,
) -> Stream<impl Operator<Out = (u64, Bid), Time = Timestamp> + use<>> {
    timed_events(topology, events).flat_map(NumberedEvent::bid)
}

/// The bids.
fn bids(topology: &Topology, events: EventSource) -> Stream<impl Operator<Out = Bid> + use<>> {
    topology.source("events", events).flat_map(NumberedEvent::bid).map(|(_, bid)| bid)
}

/// A decimal with three digits behind its point; in JSON a string, `"1234.560"`.
#[derive(Clone, Copy, Debug)]
struct Thousandths(u64);

impl Thousandths {
    /// A price in dollars, in euros.
    fn euros(dollars: usize) -> Self {
        Self(dollars as u64 * 908)
    }
}

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}
