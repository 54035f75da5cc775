//! Days, hours and minutes of UTC.

use std::time::Duration;

use cofferdam::prelude::Timestamp;

/// How long a day is.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const DAY_MILLIS: u64 = DAY.as_millis() as u64;

/// The day of a moment in milliseconds since the epoch: `2015-07-15`.
pub fn day(millis: u64) -> String {
    let (year, month, day) = civil(millis / DAY_MILLIS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Its day's number, counted from the epoch.
pub fn day_number(millis: u64) -> u64 {
    millis / DAY_MILLIS
}

/// The last millisecond of its day.
pub fn end_of_day(millis: u64) -> Timestamp {
    Timestamp::from_millis(((day_number(millis) + 1) * DAY_MILLIS - 1) as i64)
}

/// Its hour.
pub fn hour(millis: u64) -> u64 {
    millis % DAY_MILLIS / (60 * 60 * 1000)
}

/// Its hour and minute: `09:05`.
pub fn minute(millis: u64) -> String {
    format!("{:02}:{:02}", hour(millis), millis / (60 * 1000) % 60)
}

/// Year, month and day of a number of days since the epoch (Howard Hinnant: chrono-compatible low-level date algorithms): years begin in March, so that the day
/// that some years have more is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_minutes_are_those_of_the_calendar() {
        assert_eq!((day(0), minute(0)), ("1970-01-01".into(), "00:00".into()));
        assert_eq!((day(1_436_918_400_000), hour(1_436_918_400_000)), ("2015-07-15".into(), 0));
        assert_eq!((day(951_782_399_999), minute(951_782_399_999)), ("2000-02-28".into(), "23:59".into()));
        assert_eq!(day(951_782_400_000), "2000-02-29");
        assert_eq!(day(951_868_800_000), "2000-03-01");
        assert_eq!(day(4_102_444_799_999), "2099-12-31");
        assert_eq!((day_number(951_782_399_999), end_of_day(951_782_400_000)), (11_015, Timestamp(951_868_799_999)));
    }
}
