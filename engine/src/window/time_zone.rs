//! Zones, for the days in them.

use std::fmt;

use jiff::{
    ToSpan,
    civil::Date,
    tz::{self, AmbiguousOffset},
};

use super::{Window, tumbling::into_cell};
use crate::time::Timestamp;

/// A time zone: when a civil day begins there.
///
/// The rules of a named zone are those of the system's time zone database, or of the copy in this program where the system has none.
///
/// ```
/// use cofferdam_engine::{Timestamp, window::TimeZone};
///
/// let new_york = TimeZone::named("America/New_York")?;
/// let hours = |millis| {
///     let day = new_york.day(Timestamp::from_millis(millis));
///     (day.end.as_millis() - day.start.as_millis()) / 3_600_000
/// };
/// assert_eq!(hours(1_362_916_800_000), 23); // 10 March 2013, noon in UTC
/// assert_eq!(hours(1_383_480_000_000), 25); // 3 November 2013
/// # Ok::<(), cofferdam_engine::window::UnknownTimeZone>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TimeZone(tz::TimeZone);

/// There is no such zone.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no time zone {name}: names are those of the IANA database, such as 'Europe/Berlin', and fixed offsets are from -25 to 25 hours"
)]
pub struct UnknownTimeZone {
    name: String,
    #[source]
    cause: jiff::Error,
}

const DAY: i64 = 24 * 60 * 60 * 1_000;
/// Before this, and from [`LAST`] on, days are those of UTC: the calendar ends some years later. Midnights of UTC, in the years -9995 and 9994.
const FIRST: Timestamp = Timestamp(-4_370_000 * DAY);
const LAST: Timestamp = Timestamp(2_931_000 * DAY);

impl TimeZone {
    /// Days of 24 hours, since the Unix epoch.
    pub const UTC: Self = Self(tz::TimeZone::UTC);

    /// By its name in the IANA database, in capitals or not.
    pub fn named(name: &str) -> Result<Self, UnknownTimeZone> {
        let unknown = |cause| UnknownTimeZone { name: format!("'{name}'"), cause };
        tz::TimeZone::get(name).map(Self).map_err(unknown)
    }

    /// So many hours east of UTC, without summer time.
    pub fn fixed(hours: i8) -> Result<Self, UnknownTimeZone> {
        let unknown = |cause| UnknownTimeZone { name: format!("of {hours} hours"), cause };
        tz::Offset::from_hours(hours).map(|offset| Self(offset.to_time_zone())).map_err(unknown)
    }

    /// The civil day that a moment is of, from its first instant to that of the next one. What a clock that is set back over midnight shows again belongs to the day that has begun.
    pub fn day(&self, time: Timestamp) -> Window {
        let utc = || {
            let into = into_cell(time, DAY, 0);
            Window::around(time, into, DAY - into)
        };
        if time < FIRST || time >= LAST {
            return utc();
        }
        // Within the calendar nothing fails; a day of UTC in its place is still a window.
        let day = self.civil_day(time).unwrap_or_else(|_| utc());
        Window::new(day.start.max(FIRST), day.end.min(LAST))
    }

    fn civil_day(&self, time: Timestamp) -> Result<Window, jiff::Error> {
        let instant = jiff::Timestamp::from_millisecond(time.0)?;
        let mut date = self.0.to_datetime(instant).date();
        let (mut start, mut end) = (self.start(date)?, self.start(date.tomorrow()?)?);
        while end <= time {
            date = date.tomorrow()?;
            (start, end) = (end, self.start(date.tomorrow()?)?);
        }
        while time < start {
            date = date.yesterday()?;
            (start, end) = (self.start(date)?, start);
        }
        Ok(Window::new(start, end))
    }

    /// The first instant of a date; that of the next one if the date was left out. Part of a millisecond counts as a whole one.
    fn start(&self, date: Date) -> Result<Timestamp, jiff::Error> {
        let midnight = date.at(0, 0, 0, 0);
        let first = match self.0.to_ambiguous_timestamp(midnight).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(midnight)?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(midnight)?,
            AmbiguousOffset::Gap { before, .. } => {
                // Midnight was left out: by this instant the clock has been set forward.
                let within = before.to_timestamp(midnight)?;
                let behind = within.checked_add(1.nanosecond())?;
                self.0.preceding(behind).next().map_or(within, |transition| transition.timestamp())
            }
        };
        let nanos = first.as_nanosecond();
        Ok(Timestamp(i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.iana_name(), self.0.to_fixed_offset()) {
            (Some(name), _) => f.write_str(name),
            (None, Ok(offset)) => offset.fmt(f),
            (None, Err(_)) => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZone({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::{Tumbling, Windows};

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn zone(name: &str) -> TimeZone {
        TimeZone::named(name).unwrap()
    }

    /// A moment, from how it is written in UTC.
    fn utc(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn day(name: &str, at: &str) -> (String, i64) {
        let day = zone(name).day(utc(at));
        assert!(day.contains(utc(at)));
        let start = jiff::Timestamp::from_millisecond(day.start.0).unwrap();
        (start.to_string(), (day.end.0 - day.start.0) / MINUTE)
    }

    fn is(start: &str, minutes: i64) -> (String, i64) {
        (start.to_string(), minutes)
    }

    #[test]
    fn days_on_which_clocks_are_set_have_23_and_25_hours() {
        assert_eq!(day("America/New_York", "2013-03-10T12:00:00Z"), is("2013-03-10T05:00:00Z", 23 * 60));
        assert_eq!(day("America/New_York", "2013-11-03T12:00:00Z"), is("2013-11-03T04:00:00Z", 25 * 60));
        assert_eq!(day("America/New_York", "2013-07-04T03:59:59Z"), is("2013-07-03T04:00:00Z", 24 * 60));
        assert_eq!(day("Asia/Kolkata", "2020-01-01T18:29:59.999Z"), is("2019-12-31T18:30:00Z", 24 * 60));
    }

    #[test]
    fn a_day_without_midnight_begins_at_its_first_instant() {
        // 00:00 became 01:00.
        assert_eq!(day("America/Sao_Paulo", "2015-10-18T12:00:00Z"), is("2015-10-18T03:00:00Z", 23 * 60));
        assert_eq!(day("America/Havana", "2013-03-10T12:00:00Z"), is("2013-03-10T05:00:00Z", 23 * 60));
        assert_eq!(day("Asia/Beirut", "2013-03-31T12:00:00Z"), is("2013-03-30T22:00:00Z", 23 * 60));
        // 23:30 became 00:30: the day begins half past midnight.
        assert_eq!(day("America/Toronto", "1919-03-31T12:00:00Z"), is("1919-03-31T04:30:00Z", 23 * 60 + 30));
        assert_eq!(day("America/Toronto", "1919-03-31T04:29:59Z"), is("1919-03-30T05:00:00Z", 23 * 60 + 30));
    }

    #[test]
    fn a_midnight_that_comes_twice_begins_a_day_once() {
        // 01:00 became 00:00.
        assert_eq!(day("America/Havana", "2013-11-03T05:30:00Z"), is("2013-11-03T04:00:00Z", 25 * 60));
        // 00:00 became 23:00 of the day before, which it therefore is again.
        assert_eq!(day("America/Sao_Paulo", "2016-02-21T02:30:00Z"), is("2016-02-20T02:00:00Z", 25 * 60));
        // 00:01 became 23:01: what the clock shows again stays in the day that has begun.
        assert_eq!(day("America/St_Johns", "2010-11-07T02:45:00Z"), is("2010-11-07T02:30:00Z", 25 * 60));
    }

    #[test]
    fn a_date_that_was_left_out_is_no_day() {
        assert_eq!(day("Pacific/Apia", "2011-12-30T09:59:59Z"), is("2011-12-29T10:00:00Z", 24 * 60));
        assert_eq!(day("Pacific/Apia", "2011-12-30T10:00:00Z"), is("2011-12-30T10:00:00Z", 24 * 60));
    }

    #[test]
    fn utc_and_fixed_offsets_need_no_database() {
        assert_eq!(TimeZone::UTC.day(Timestamp(-1)), Window::new(Timestamp(-24 * HOUR), Timestamp(0)));
        let east = TimeZone::fixed(2).unwrap();
        assert_eq!(east.day(Timestamp(-1)), Window::new(Timestamp(-2 * HOUR), Timestamp(22 * HOUR)));
        let error = TimeZone::fixed(100).unwrap_err().to_string();
        assert!(error.starts_with("there is no time zone of 100 hours: "), "{error}");
    }

    #[test]
    fn zones_are_known_where_the_system_has_no_database() {
        let bundled = tz::TimeZoneDatabase::bundled();
        for name in ["America/New_York", "Asia/Beirut", "Pacific/Apia"] {
            assert_eq!(bundled.get(name).unwrap().iana_name(), Some(name));
        }
    }

    #[test]
    fn a_name_that_is_none_is_an_error_that_says_what_names_are() {
        let error = TimeZone::named("America/New_Yrok").unwrap_err().to_string();
        assert!(error.starts_with("there is no time zone 'America/New_Yrok': names are"), "{error}");
    }

    #[test]
    fn days_are_described_by_their_zone_and_have_no_offset() {
        let days = Tumbling::days(zone("america/new_york"));
        assert_eq!(days.describe(), "days of America/New_York");
        assert_eq!(Tumbling::days(TimeZone::UTC).describe(), "days of UTC");
        assert_eq!(Tumbling::days(TimeZone::fixed(-3).unwrap()).describe(), "days of -03");
        assert!(days.faults().is_empty());
        assert_eq!(days.offset(std::time::Duration::from_secs(1)).faults().len(), 1);
    }

    const ZONES: [&str; 11] = [
        "America/New_York",
        "America/Sao_Paulo",
        "America/Havana",
        "America/St_Johns",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Australia/Lord_Howe",
        "Europe/Dublin",
        "Pacific/Apia",
        "Antarctica/Troll",
    ];

    /// The date that clocks show, as days from the epoch; of the zone nothing is asked but its offset.
    fn date(zone: &TimeZone, time: i64) -> i64 {
        let offset = zone.0.to_offset(jiff::Timestamp::from_millisecond(time).unwrap());
        (time + i64::from(offset.seconds()) * 1_000).div_euclid(DAY)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_day_begins_when_clocks_first_show_a_date_that_is_later_than_all_before(
            name in proptest::sample::select(&ZONES[..]), minute in -5_000_000..30_000_000_i64,
        ) {
            let zone = zone(name);
            let time = minute * MINUTE;
            // Minute by minute, from three days before: no zone changed within a minute since 1960.
            let from = time - 72 * HOUR;
            let (mut latest, mut start) = (date(&zone, from), from);
            let mut now = from;
            let end = loop {
                now += MINUTE;
                if date(&zone, now) > latest {
                    if now > time {
                        break now;
                    }
                    (latest, start) = (date(&zone, now), now);
                }
            };
            prop_assert_eq!(zone.day(Timestamp(time)), Window::new(Timestamp(start), Timestamp(end)));
            prop_assert_eq!(zone.day(Timestamp(end - 1)), Window::new(Timestamp(start), Timestamp(end)));
        }

        #[test]
        fn days_of_all_time_lie_one_behind_the_other(
            name in proptest::sample::select(&ZONES[..]),
            time in prop_oneof![
                any::<i64>(),
                FIRST.0 - 3 * DAY..FIRST.0 + 3 * DAY,
                LAST.0 - 3 * DAY..LAST.0 + 3 * DAY,
                -6_000_000_000_000..6_000_000_000_000_i64,
            ],
        ) {
            let time = Timestamp(time.clamp(i64::MIN + 1, i64::MAX - 1));
            let zone = zone(name);
            let day = zone.day(time);
            prop_assert!(day.contains(time), "{:?} is not of {:?}", time, day);
            prop_assert_eq!(zone.day(day.start), day);
            prop_assert_eq!(zone.day(day.max_timestamp()), day);
            if day.end < Timestamp::MAX {
                prop_assert_eq!(zone.day(day.end).start, day.end);
            }
        }
    }
}
