//! The example `flight_weather`, over departures of three days, of which some are late.

use std::collections::BTreeMap;

use cofferdam::connector::FileSink;
use cofferdam_engine::topology::Topology;
use cofferdam_examples::{
    flight_weather::{DepartureRow, WeatherRow, topology},
    nexmark::{digest::final_rows, queries::Updates},
};

use super::{nexmark::published, sorted};
use crate::io::Io;

const AIRPORTS: [&str; 2] = ["EWR", "JFK"];
const HOURS: u64 = 72;
const DEPARTURES: u64 = 160;

/// The last row of a day, an airport and a kind of weather has the most flights.
const UPDATES: Updates = Updates { key: &["day", "airport", "wind", "visibility"], count: "flights" };

/// Airport, hour, minute, and the delay, if it has left.
type Departure = (&'static str, u64, u64, Option<i64>);

/// Every ninth is so late that its day is over; the others are out of order by an hour.
fn departure(place: u64) -> Departure {
    let hour = place * HOURS / DEPARTURES;
    let hour = if place % 9 == 8 { hour.saturating_sub(19) } else { hour ^ 1 };
    let delay = (place % 7 != 3).then_some(place as i64 * 11 % 50 - 12);
    (AIRPORTS[(place % 2) as usize], hour, place * 13 % 60, delay)
}

/// Miles an hour of the wind, and miles that one sees; of some hours nothing is known.
fn weather(airport: &str, hour: u64) -> Option<(u64, u64)> {
    let number = hour + if airport == AIRPORTS[0] { 5 } else { 0 };
    (number % 6 != 4).then_some((number * 7 % 25, number * 3 % 11))
}

/// In UTC. The days of New York begin at 5 o'clock.
fn moment(hour: u64) -> String {
    let hour = hour + 5;
    format!("2013-01-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24)
}

fn read<'a, T: serde::Deserialize<'a>>(row: &'a str) -> T {
    serde_json::from_str(row).unwrap_or_else(|error| panic!("{row}: {error}"))
}

fn departures() -> Vec<DepartureRow> {
    let row = |(airport, hour, minute, delay): Departure| {
        let [left, delay] = [delay.map(|_| 900), delay].map(|n| n.map_or_else(|| "NA".to_string(), |n| n.to_string()));
        let time = moment(hour);
        read(&format!(
            r#"{{"origin":"{airport}","dep_time":"{left}","dep_delay":"{delay}","minute":{minute},"time_hour":"{time}"}}"#
        ))
    };
    (0..DEPARTURES).map(departure).map(row).collect()
}

fn weathers() -> Vec<WeatherRow> {
    let known = AIRPORTS.into_iter().flat_map(|airport| (0..HOURS).map(move |hour| (airport, hour)));
    let row = |(airport, hour)| {
        let (wind, visib) = weather(airport, hour)?;
        let time = moment(hour);
        let row = format!(r#"{{"origin":"{airport}","wind_speed":"{wind}","visib":"{visib}","time_hour":"{time}"}}"#);
        Some(read(&row))
    };
    known.filter_map(row).collect()
}

/// The example, as it is.
pub(super) fn flights_and_weather(io: &Io) -> Topology {
    let (out, rows) = (io.directory(), io.directory());
    // A day has another row with each departure that is late.
    io.output_elsewhere(move || match published(&rows) {
        Ok(text) => {
            let rows = final_rows(text.lines(), Some(&UPDATES));
            rows.map_or_else(|error| vec![error], |rows| rows.into_iter().map(str::to_string).collect())
        }
        Err(error) => vec![error.to_string()],
    });
    let rows = FileSink::json_lines(out);
    let topology = topology(io.source(departures()), io.source(weathers()), rows);
    topology.unwrap_or_else(|error| panic!("{error}"))
}

/// Adds up by a map. The rows are written as the example writes them.
pub(super) fn flights_and_weather_oracle() -> Vec<Vec<String>> {
    let mut sums = BTreeMap::<_, (u64, u64, i64, Option<i64>)>::new();
    for (airport, hour, _, delay) in (0..DEPARTURES).map(departure) {
        let (wind, visibility) = weather(airport, hour).map_or(("unknown", "unknown"), |(wind, visib)| {
            let wind = if wind < 8 {
                "calm"
            } else if wind < 18 {
                "fresh"
            } else {
                "strong"
            };
            (
                wind,
                if visib < 3 {
                    "poor"
                } else if visib < 10 {
                    "fair"
                } else {
                    "good"
                },
            )
        });
        let sums = sums.entry((hour / 24, airport, wind, visibility)).or_default();
        *sums = (sums.0 + 1, sums.1 + u64::from(delay.is_none()), sums.2 + delay.unwrap_or(0), sums.3.max(delay));
    }
    let rows = sums.into_iter().map(|((day, airport, wind, visibility), (flights, cancelled, sum, max))| {
        let (day, max) = (day + 1, max.map_or_else(|| "null".to_string(), |max| max.to_string()));
        format!(
            r#"{{"day":"2013-01-{day:02}","airport":"{airport}","wind":"{wind}","visibility":"{visibility}","flights":{flights},"cancelled":{cancelled},"dep_delay_sum":{sum},"dep_delay_max":{max}}}"#
        )
    });
    vec![sorted(rows)]
}
