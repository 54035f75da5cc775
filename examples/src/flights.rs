//! Departures, and the topology that adds up their delays.

use cofferdam::prelude::*;
use cofferdam_engine::{Source, TwoPhaseSink};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The topology of the `flight_delays` example: for each departure, the row of its carrier and origin as it then is.
pub fn topology(departures: impl Source<Record = CsvRow>, rows: impl TwoPhaseSink<Row>) -> Topology {
    let topology = Topology::new("flight_delays");
    topology
        .source("departures", departures)
        .map(Departure::from)
        .key_by(|departure| (departure.carrier.clone(), departure.origin.clone()))
        .fold("delays", Delays::default(), Delays::add)
        .map(|((carrier, origin), delays)| Row { carrier, origin, delays })
        .sink("rows", rows);
    topology
}

/// The columns of the file that count here.
#[derive(Debug, Deserialize)]
pub struct CsvRow {
    carrier: String,
    origin: String,
    #[serde(deserialize_with = "number_or_na")]
    dep_time: Option<i64>,
    #[serde(deserialize_with = "number_or_na")]
    dep_delay: Option<i64>,
    #[serde(deserialize_with = "number_or_na")]
    arr_delay: Option<i64>,
}

fn number_or_na<'de, D: Deserializer<'de>>(field: D) -> Result<Option<i64>, D::Error> {
    match <&str>::deserialize(field)? {
        "NA" => Ok(None),
        text => {
            text.parse().map(Some).map_err(|_| D::Error::custom(format!("'{text}' is neither a whole number nor NA")))
        }
    }
}

/// A departure on its way through the topology. Not the [`CsvRow`]: what travels is read back in the form it is written in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Departure {
    carrier: String,
    origin: String,
    cancelled: bool,
    dep_delay: Option<i64>,
    arr_delay: Option<i64>,
}

impl From<CsvRow> for Departure {
    fn from(row: CsvRow) -> Self {
        let CsvRow { carrier, origin, dep_time, dep_delay, arr_delay } = row;
        Self { carrier, origin, cancelled: dep_time.is_none(), dep_delay, arr_delay }
    }
}

/// What is known of one carrier at one origin; delays in whole minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    flights: u64,
    cancelled: u64,
    dep_delay_sum: i64,
    dep_delay_max: Option<i64>,
    arr_delay_sum: i64,
    arr_delay_max: Option<i64>,
}

impl Delays {
    fn add(&mut self, departure: Departure) {
        self.flights += 1;
        self.cancelled += u64::from(departure.cancelled);
        self.dep_delay_sum += departure.dep_delay.unwrap_or(0);
        self.arr_delay_sum += departure.arr_delay.unwrap_or(0);
        // `None` is below every value.
        self.dep_delay_max = self.dep_delay_max.max(departure.dep_delay);
        self.arr_delay_max = self.arr_delay_max.max(departure.arr_delay);
    }
}

/// What is published.
#[derive(Debug, Serialize)]
pub struct Row {
    carrier: String,
    origin: String,
    #[serde(flatten)]
    delays: Delays,
}
