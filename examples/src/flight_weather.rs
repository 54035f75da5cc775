//! Departures and the weather, and the topology that tells what the one did to the other.

use std::{
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use cofferdam::prelude::*;
use cofferdam_engine::{
    Source, TwoPhaseSink,
    state::{Entries, OneValue, StateDescriptor},
    window::{TimeZone, Tumbling, UnknownTimeZone, Windowed},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

const HOUR: Duration = Duration::from_secs(3600);

/// The file is in order of the actual departure, with the cancelled flights of a day behind the others: by schedule most come within so long.
const DISORDER: Duration = Duration::from_secs(2 * 3600);

/// And all of them no more than so long behind the watermark: till then the weather is kept, and days are open.
const LATENESS: Duration = Duration::from_secs(24 * 3600);

/// An airport, and the beginning of an hour.
type AirportHour = (String, Timestamp);

/// The topology of the `flight_weather` example: for each day in New York, airport, and class of wind and of visibility, the delays of departures. A row when the day is over by the schedule,
/// and the row anew with each departure that comes later: the last one has the most flights.
///
/// An error if nobody knows the rules of New York's time.
pub fn topology(
    departures: impl Source<Record = DepartureRow>,
    weather: impl Source<Record = WeatherRow>,
    rows: impl TwoPhaseSink<Row>,
) -> Result<Topology, UnknownTimeZone> {
    let day = Tumbling::days(TimeZone::named("America/New_York")?);
    let topology = Topology::new("flight_weather");
    // One airport's months come behind all of another's: how far time has come is known at the end of the file.
    let at_the_end = WatermarkStrategy::punctuated(|_: &Weather, _| None);
    let weather = topology
        .source("weather", weather)
        .map(Weather::from)
        .event_time("weather-time", at_the_end, |weather| weather.hour)
        .key_by(|weather| (weather.airport.clone(), weather.hour));
    topology
        .source("departures", departures)
        .map(Departure::from)
        .event_time("departure-time", WatermarkStrategy::bounded(DISORDER), Departure::scheduled)
        .key_by(|departure| (departure.airport.clone(), departure.hour))
        .connect(weather)
        .process_fn("weather-of-the-hour", WeatherOfTheHour)
        .key_by(|(departure, wind, visibility)| (departure.airport.clone(), wind.clone(), visibility.clone()))
        .window(day)
        .allowed_lateness(LATENESS)
        .fold("delays", Delays::default(), Delays::add)
        .map(Row::from)
        .sink("rows", rows);
    Ok(topology)
}

/// The columns of the file of departures that count here.
#[derive(Clone, Debug, Deserialize)]
pub struct DepartureRow {
    origin: String,
    #[serde(deserialize_with = "number_or_na")]
    dep_time: Option<i64>,
    #[serde(deserialize_with = "number_or_na")]
    dep_delay: Option<i64>,
    minute: u8,
    #[serde(deserialize_with = "moment")]
    time_hour: Timestamp,
}

/// The columns of the file of the weather that count here.
#[derive(Clone, Debug, Deserialize)]
pub struct WeatherRow {
    origin: String,
    #[serde(deserialize_with = "number_or_na")]
    wind_speed: Option<f64>,
    #[serde(deserialize_with = "number_or_na")]
    visib: Option<f64>,
    #[serde(deserialize_with = "moment")]
    time_hour: Timestamp,
}

impl DepartureRow {
    /// When it was to leave.
    pub fn scheduled(&self) -> Timestamp {
        scheduled(self.time_hour, self.minute)
    }
}

fn scheduled(hour: Timestamp, minute: u8) -> Timestamp {
    hour.after(Duration::from_secs(60 * u64::from(minute)))
}

fn number_or_na<'de, N: FromStr, D: Deserializer<'de>>(field: D) -> Result<Option<N>, D::Error> {
    match <&str>::deserialize(field)? {
        "NA" => Ok(None),
        text => text.parse().map(Some).map_err(|_| D::Error::custom(format!("'{text}' is neither a number nor NA"))),
    }
}

fn moment<'de, D: Deserializer<'de>>(field: D) -> Result<Timestamp, D::Error> {
    let text = <&str>::deserialize(field)?;
    let moment = humantime::parse_rfc3339(text).ok().and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    let millis = moment.and_then(|since| i64::try_from(since.as_millis()).ok());
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| D::Error::custom(format!("'{text}' is no moment such as 2013-01-01T10:00:00Z")))
}

/// A departure on its way through the topology.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Departure {
    airport: String,
    /// In which it was to leave.
    hour: Timestamp,
    minute: u8,
    is_cancelled: bool,
    /// In minutes.
    delay: Option<i64>,
}

impl From<DepartureRow> for Departure {
    fn from(row: DepartureRow) -> Self {
        let DepartureRow { origin, dep_time, dep_delay, minute, time_hour } = row;
        Self { airport: origin, hour: time_hour, minute, is_cancelled: dep_time.is_none(), delay: dep_delay }
    }
}

impl Departure {
    fn scheduled(&self) -> Timestamp {
        scheduled(self.hour, self.minute)
    }
}

/// The weather at an airport in an hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Weather {
    airport: String,
    hour: Timestamp,
    wind: String,
    visibility: String,
}

impl From<WeatherRow> for Weather {
    fn from(WeatherRow { origin, wind_speed, visib, time_hour }: WeatherRow) -> Self {
        let wind = match wind_speed {
            Some(miles_an_hour) if miles_an_hour < 8.0 => "calm",
            Some(miles_an_hour) if miles_an_hour < 18.0 => "fresh",
            Some(_) => "strong",
            None => UNKNOWN,
        };
        let visibility = match visib {
            Some(miles) if miles < 3.0 => "poor",
            Some(miles) if miles < 10.0 => "fair",
            Some(_) => "good",
            None => UNKNOWN,
        };
        Self { airport: origin, hour: time_hour, wind: wind.to_owned(), visibility: visibility.to_owned() }
    }
}

/// What nobody has written down.
const UNKNOWN: &str = "unknown";

/// Joins each departure to the weather of its airport and hour: when time has come to the departure, as the weather is known by then if it ever is; a late departure at once.
#[derive(Clone, Debug)]
struct WeatherOfTheHour;

/// The departures of an hour that wait, by their time; and the hour's weather.
type HourStates = (StateDescriptor<Entries<Timestamp>, Vec<Departure>>, StateDescriptor<OneValue, Weather>);

/// A departure, the class of the wind and that of the visibility.
type Joined = (Departure, String, String);

type HourContext<'a> = Context<'a, AirportHour, HourStates, (), Joined>;

impl KeyedCoProcess<AirportHour, Departure, Weather> for WeatherOfTheHour {
    type States = HourStates;
    type Timer = ();
    type Out = Joined;

    fn states(&self) -> HourStates {
        (state::map("waiting"), state::value("weather"))
    }

    fn on_left(&mut self, departure: Departure, cx: &mut HourContext<'_>) -> Result<(), BoxError> {
        let time = cx.timestamp();
        if time <= cx.event_time() {
            join(vec![departure], cx);
        } else {
            cx.states().0.update(time, Vec::new, |waiting| waiting.push(departure));
            cx.set_timer(time);
        }
        Ok(())
    }

    fn on_right(&mut self, weather: Weather, cx: &mut HourContext<'_>) -> Result<(), BoxError> {
        cx.set_timer(forgotten(cx.key()));
        cx.states().1.set(weather);
        Ok(())
    }

    fn on_timer(&mut self, timer: Fired, cx: &mut HourContext<'_>) -> Result<(), BoxError> {
        let waiting = cx.states().0.remove(&timer.time);
        join(waiting.unwrap_or_default(), cx);
        if timer.time == forgotten(cx.key()) {
            cx.states().1.clear();
        }
        Ok(())
    }
}

/// When no departure of an hour comes any more.
fn forgotten((_, hour): &AirportHour) -> Timestamp {
    hour.after(HOUR + LATENESS)
}

fn join(departures: Vec<Departure>, cx: &mut HourContext<'_>) {
    let weather = cx.states().1.get().map(|weather| (weather.wind.clone(), weather.visibility.clone()));
    let (wind, visibility) = weather.unwrap_or_else(|| (UNKNOWN.to_owned(), UNKNOWN.to_owned()));
    departures.into_iter().for_each(|departure| cx.emit((departure, wind.clone(), visibility.clone())));
}

/// Departures of one day, airport and kind of weather; delays in whole minutes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delays {
    flights: u64,
    cancelled: u64,
    dep_delay_sum: i64,
    dep_delay_max: Option<i64>,
}

impl Delays {
    fn add(&mut self, (departure, ..): Joined) {
        self.flights += 1;
        self.cancelled += u64::from(departure.is_cancelled);
        self.dep_delay_sum += departure.delay.unwrap_or(0);
        // `None` is below every value.
        self.dep_delay_max = self.dep_delay_max.max(departure.delay);
    }
}

/// What is published.
#[derive(Debug, Serialize)]
pub struct Row {
    day: String,
    airport: String,
    wind: String,
    visibility: String,
    #[serde(flatten)]
    delays: Delays,
}

impl From<Windowed<(String, String, String), Delays>> for Row {
    fn from(row: Windowed<(String, String, String), Delays>) -> Self {
        let (airport, wind, visibility) = row.key;
        // New York's midnight is a few hours into the same day of UTC.
        let midnight = UNIX_EPOCH + Duration::from_millis(row.window.start.as_millis().try_into().unwrap_or(0));
        let mut day = humantime::format_rfc3339_seconds(midnight).to_string();
        day.truncate("2013-01-01".len());
        Self { day, airport, wind, visibility, delays: row.value }
    }
}
