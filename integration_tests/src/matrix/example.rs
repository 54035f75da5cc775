//! What the jobs compute, and what it must come to.

use std::fmt;

use cofferdam_engine::{state::EntryKey, topology::Topology};
use cofferdam_examples::nexmark::queries::{QUERIES, Query};

use super::{
    clocks::{clocks, clocks_oracle},
    flights_and_weather::{flights_and_weather, flights_and_weather_oracle},
    joins::{joins, joins_oracle},
    nexmark::{query, query_oracle},
    requests::{requests, requests_oracle},
    tables::{tables, tables_oracle},
    topologies::{Delays, flight_delays, halvings, held_back, state_types, timers, timers_oracle, word_count},
    triggers::{triggers, triggers_oracle},
    windows::{hot_items, hot_items_oracle, late_windows, late_windows_oracle},
};
use crate::{io::Io, reference, torture::Torture};

/// A topology of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The one of [`reference`](crate::reference).
    Reference,
    /// Counts words.
    WordCount,
    /// Adds up the delays of departures.
    FlightDelays,
    /// Keeps state of every type for each key.
    StateTypes,
    /// Holds numbers back in state of the operator: list, union and broadcast.
    OperatorState,
    /// Halves numbers in a loop.
    Loop,
    /// Counts by window, by timers.
    Timers,
    /// Puts numbers into windows that some of them come too late for.
    LateWindows,
    /// Finds the auctions with the most bids of late, by windows of windows.
    HotItems,
    /// Joins orders and payments, looks what follows what, and which rule is in force.
    Joins,
    /// Asks the outside, in order and in any order, and parts what is answered.
    Requests,
    /// Has windows of so many records and of all time, whose rows come when a trigger says so.
    Triggers,
    /// Joins two streams by windows, by versions and by what is known, and sees both in one step.
    Tables,
    /// Goes by the moments at which records come, and by the clock.
    Clocks,
    /// The example `flight_weather`, over a few departures.
    FlightWeather,
    /// A query of Nexmark, by its place in [`QUERIES`].
    Query(usize),
}

impl Example {
    /// Those that are run in every way.
    pub const ALL: [Self; 5] =
        [Self::Reference, Self::WordCount, Self::FlightDelays, Self::StateTypes, Self::OperatorState];

    /// Those that go by time, but for Nexmark's queries.
    const TIMED: [Self; 9] = [
        Self::Timers,
        Self::LateWindows,
        Self::HotItems,
        Self::Joins,
        Self::Requests,
        Self::Triggers,
        Self::Tables,
        Self::Clocks,
        Self::FlightWeather,
    ];

    /// Those that go by time.
    pub fn timed() -> impl Iterator<Item = Self> {
        Self::TIMED.into_iter().chain((0..QUERIES.len()).map(Self::Query))
    }

    /// Whether it is one of Nexmark's.
    pub fn is_query(self) -> bool {
        matches!(self, Self::Query(_))
    }

    /// Puts it under test.
    pub fn torture(self) -> Torture {
        let torture = Torture::new(move |io| self.build(io));
        match self {
            Self::Reference => torture.state::<u64, u64>("count"),
            Self::WordCount => torture.state::<String, u64>("count"),
            Self::FlightDelays => torture.state::<(String, String), Delays>("delays"),
            Self::StateTypes => torture
                .named_state::<u64, u64>("states", "count")
                .named_state::<EntryKey<u64, u64>, u64>("states", "list")
                .named_state::<EntryKey<u64, u64>, u64>("states", "map")
                .named_state::<EntryKey<u64, u64>, u64>("states", "alive"),
            _ => match self.oracle() {
                Some(expected) => checked(torture, expected),
                None => torture,
            },
        }
    }

    fn build(self, io: &Io) -> Topology {
        match self {
            Self::Reference => reference(io),
            Self::WordCount => word_count(io),
            Self::FlightDelays => flight_delays(io),
            Self::StateTypes => state_types(io),
            Self::OperatorState => held_back(io),
            Self::Loop => halvings(io),
            Self::Timers => timers(io),
            Self::LateWindows => late_windows(io),
            Self::HotItems => hot_items(io),
            Self::Joins => joins(io),
            Self::Requests => requests(io),
            Self::Triggers => triggers(io),
            Self::Tables => tables(io),
            Self::Clocks => clocks(io),
            Self::FlightWeather => flights_and_weather(io),
            Self::Query(place) => query(&QUERIES[place], io),
        }
    }

    /// The rows of each output as something says that shares no code with it.
    fn oracle(self) -> Option<Vec<Vec<String>>> {
        Some(match self {
            Self::Timers => timers_oracle(),
            Self::LateWindows => late_windows_oracle(),
            Self::HotItems => hot_items_oracle(),
            Self::Joins => joins_oracle(),
            Self::Requests => requests_oracle(),
            Self::Triggers => triggers_oracle(),
            Self::Tables => tables_oracle(),
            Self::Clocks => clocks_oracle(),
            Self::FlightWeather => flights_and_weather_oracle(),
            Self::Query(place) => query_oracle(&QUERIES[place]),
            _ => return None,
        })
    }
}

/// Whether the rows of each output are those of an oracle.
fn checked(torture: Torture, expected: Vec<Vec<String>>) -> Torture {
    torture.check("the rows of an independent computation", move |outcome| {
        expected.iter().enumerate().try_for_each(|(output, expected)| {
            let mut rows: Vec<_> = outcome.outputs[output].iter().map(|row| row.text.clone()).collect();
            rows.sort_unstable();
            let missing = expected.iter().find(|row| rows.binary_search(row).is_err());
            match missing {
                _ if rows == *expected => Ok(()),
                Some(row) => Err(format!("output {output}: {row} is missing")),
                None => Err(format!("output {output} has {} rows instead of {}", rows.len(), expected.len())),
            }
        })
    })
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::WordCount => "word count",
            Self::FlightDelays => "flight delays",
            Self::StateTypes => "state types",
            Self::OperatorState => "operator state",
            Self::Loop => "loop",
            Self::Timers => "timers",
            Self::LateWindows => "late windows",
            Self::HotItems => "hot items",
            Self::Joins => "joins",
            Self::Requests => "requests",
            Self::Triggers => "triggers",
            Self::Tables => "tables",
            Self::Clocks => "clocks",
            Self::FlightWeather => "flight weather",
            Self::Query(place) => QUERIES.get(*place).map_or("no query", |query: &Query| query.name),
        })
    }
}
