//! `kill -9` at every fail point of a real process, at several in a row, and while it recovers.

use std::{fs, ops::RangeInclusive};

use crate::kill_support::{Place, Program, assert_same_lines, flights_oracle};
use crate::reaching::{is_of_every_job, is_of_opening, reaching};
use cofferdam_testkit::{Fault, Point, SCHEDULE_VARIABLE};

const ROWS: usize = 3000;

/// The departures of half of the carriers in one file, and of the others in another: so both sources have something to read, and every row of
/// the output depends on the order in one file only.
struct Flights {
    place: Place,
    expected: Vec<String>,
}

impl Flights {
    fn new() -> Self {
        let mut place = Place::with_flights(ROWS);
        let text = fs::read_to_string(&place.input).unwrap();
        fs::remove_file(&place.input).unwrap();
        let (header, rows) = text.split_once('\n').unwrap();
        let carrier = header.split(',').position(|column| column == "carrier").unwrap();
        let is_early = |row: &&str| row.split(',').nth(carrier).unwrap() < "F";
        let (early, late): (Vec<_>, Vec<_>) = rows.lines().partition(is_early);
        let mut expected = Vec::new();
        for (name, rows) in [("early", early), ("late", late)] {
            let path = place.temp.path().join(format!("{name}.csv"));
            fs::write(&path, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
            expected.extend(flights_oracle(&path));
        }
        expected.sort();
        place.input = place.temp.path().join("*.csv");
        Self { place, expected }
    }

    /// Runs the job until it dies at the point. Nothing is visible then that should not be, and nothing twice.
    fn kill_at(&self, point: Point, occurrence: u32) {
        // Slow, so that the input lasts until the point is reached.
        let rate = if point == Point::InputEnded { "1000000" } else { "1500" };
        let options = ["--rate", rate, "--checkpoint-ms", "20", "--timeout-ms", "200", "--parallelism", "2"];
        let schedule = reaching(point).at(point, occurrence, Fault::Kill);
        self.place.run_killed(&schedule, &options);
        let mut expected = self.expected.iter();
        for line in self.place.lines() {
            assert!(expected.any(|known| *known == line), "killed at {schedule}: {line} is wrong, or came twice");
        }
    }

    /// Runs the job to its end.
    fn finish(&self, what: &str) {
        self.place.run(Program::FlightDelays, &["--parallelism", "2"]).assert_success();
        assert_same_lines(&self.place.lines(), &self.expected, what);
    }
}

fn points() -> impl Iterator<Item = Point> {
    Point::ALL.into_iter().filter(|point| is_of_every_job(*point))
}

/// A process is at most points again and again; but it opens one attempt only, since the example leaves restarts to whoever starts it.
fn occurrences(point: Point) -> RangeInclusive<u32> {
    1..=if is_of_opening(point) { 1 } else { 2 }
}

#[test]
fn a_kill_at_any_point_loses_no_row_and_publishes_none_twice() {
    for point in points() {
        for occurrence in occurrences(point) {
            let flights = Flights::new();
            flights.kill_at(point, occurrence);
            flights.finish(&format!("after a kill at {} #{occurrence}", point.name()));
        }
    }
}

#[test]
fn two_kills_in_a_row_at_different_points_lose_no_row_and_publish_none_twice() {
    let points: Vec<_> = points().collect();
    for (nth, first) in points.iter().enumerate() {
        // Far on in a barrier's life. Every point is once the first, and once the second.
        let second = points[(nth + 17) % points.len()];
        let flights = Flights::new();
        flights.kill_at(*first, 1);
        flights.kill_at(second, 1);
        flights.finish(&format!("after kills at {} and {}", first.name(), second.name()));
    }
}

#[test]
fn kills_while_a_process_recovers_lose_no_row_and_publish_none_twice() {
    for point in Point::ALL.into_iter().filter(|point| is_of_opening(*point)) {
        let flights = Flights::new();
        // Something is to be published then, and something to be cleared away.
        flights.kill_at(Point::CommitBefore, 2);
        flights.kill_at(point, 1);
        flights.kill_at(point, 1);
        flights.finish(&format!("after kills at sink.commit.before and twice at {}", point.name()));
    }
}

#[test]
fn a_schedule_that_cannot_be_read_is_refused() {
    let place = Place::with_flights(1);
    let mut command = place.command(Program::ArmedFlightDelays, &[]);
    let ended = command.env(SCHEDULE_VARIABLE, "0:nowhere#1=kill").output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && stderr.contains("'0:nowhere#1=kill' is no schedule"), "{stderr}");
    assert!(!place.state().exists());
}
