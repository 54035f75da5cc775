//! `kill -9` of Nexmark's queries as people run them: timers, windows and what they know of time come back as they were, also on another number of subtasks.

use std::{
    thread,
    time::{Duration, Instant},
};

use cofferdam_examples::nexmark::queries::{QUERIES, Query};
use cofferdam_testkit::matrix::nexmark::{Answers, digest};

use crate::kill_support::{Place, Program, Random};

const KILLS: usize = 6;

/// Of queries of which others are as hard to bring back.
const FEW_KILLS: usize = 3;

/// So slow that the kills come before the end.
const RATE: &str = "30000";

/// Those that say something when a window is over. They are killed in the midst of more than a day of event time: that has fewer events, of which the last seventh is of the second day.
const WINDOWED: [&str; 7] = ["q7", "q8", "q11", "q12", "q15", "q16", "q17"];

/// To the end of the first day, and from there on.
const WINDOWED_RATES: [&str; 2] = ["5000", "600"];

/// Kills a query some times, each time on another number of subtasks, lets it come to its end, and compares its rows with those of a database.
fn survives(name: &str, kills: usize) {
    let [ten_seconds, days, ..] = Answers::all();
    let is_windowed = WINDOWED.contains(&name);
    let answers = if is_windowed { days } else { ten_seconds };
    let (count, apart) = (answers.count.to_string(), answers.apart.to_string());
    let options = |parallelism| [name, "--events", &count, "--apart", &apart, "--parallelism", parallelism];
    let mut random = Random::from_env();
    let place = Place::empty();
    let mut resumes = 0;
    for (kill, parallelism) in ["3", "2", "1"].into_iter().cycle().take(kills).enumerate() {
        let rate = if is_windowed { WINDOWED_RATES[usize::from(kill > 1)] } else { RATE };
        let mut arguments = options(parallelism).to_vec();
        arguments.extend(["--rate", rate, "--checkpoint-ms", "25"]);
        let running = place.start(Program::Nexmark, &arguments);
        if running.wait_until_started() {
            thread::sleep(Duration::from_millis(50 + random.below(300)));
        }
        if is_windowed && kill == 1 {
            wait_for_a_window(&place, name);
        }
        let ended = running.kill();
        assert!(ended.was_killed(), "{name}, kill {kill} came too late: {ended:#?}");
        resumes += u32::from(ended.resumed_from().is_some_and(|checkpoint| checkpoint > 0));
    }
    let early = place.lines().len();
    println!("{name}: {resumes} starts resumed, {early} rows before the last one");
    assert!(resumes as usize >= kills / 2, "{name}: only {resumes} starts resumed: the kills tell nothing");

    place.run(Program::Nexmark, &options("2")).assert_success();
    let lines = place.lines();
    let own = digest(Query::named(name).unwrap(), lines.iter().map(String::as_str));
    assert_eq!(own.unwrap(), answers.digests[name], "{name}, after {kills} kills");
}

/// Until the rows of one have been published.
fn wait_for_a_window(place: &Place, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while place.lines().is_empty() {
        assert!(Instant::now() < deadline, "{name}: no window was over");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn means_of_categories_survive_kills() {
    survives("q4", KILLS);
}

#[test]
fn the_most_wanted_auctions_of_sliding_windows_survive_kills() {
    survives("q5", KILLS);
}

#[test]
fn winning_bids_survive_kills() {
    survives("q9", KILLS);
}

#[test]
fn sessions_survive_kills() {
    survives("q11", KILLS);
}

#[test]
fn distinct_counts_of_a_day_survive_kills() {
    survives("q16", KILLS);
}

/// Of those that are not killed above, every second one, from the given one on.
fn others_survive(first: usize) {
    let others = QUERIES.iter().filter(|query| !["q4", "q5", "q9", "q11", "q16"].contains(&query.name));
    others.skip(first).step_by(2).for_each(|query| survives(query.name, FEW_KILLS));
}

#[test]
fn half_of_the_other_queries_survive_kills() {
    others_survive(0);
}

#[test]
fn and_so_does_the_other_half() {
    others_survive(1);
}
