//! `kill -9` of the `collatz` example as people run it: what was on its way round its loop is neither lost nor goes round twice.

use std::{thread, time::Duration};

use crate::kill_support::{Place, Program, Random, assert_same_lines};

const NUMBERS: u64 = 20_000;
const KILLS: u32 = 25;

/// So slow that the kills come before the end.
const PACED: [&str; 8] = ["--numbers", "20000", "--rate", "1500", "--checkpoint-ms", "25", "--parallelism", "2"];

/// The rows of a plain loop.
fn oracle() -> Vec<String> {
    let row = |number: u64| {
        let (mut now, mut steps) = (number, 0);
        while now > 1 {
            now = if now % 2 == 0 { now / 2 } else { 3 * now + 1 };
            steps += 1;
        }
        format!(r#"{{"number":{number},"steps":{steps}}}"#)
    };
    let mut rows: Vec<_> = (1..=NUMBERS).map(row).collect();
    rows.sort();
    rows
}

#[test]
fn after_many_kills_every_number_has_gone_round_as_often_as_in_a_plain_loop() {
    let mut random = Random::from_env();
    let place = Place::empty();
    let (mut resumes, mut published) = (0, 0);
    for kill in 0..KILLS {
        let running = place.start(Program::Collatz, &PACED);
        if running.wait_until_started() {
            thread::sleep(Duration::from_millis(random.below(400)));
        }
        let ended = running.kill();
        assert!(ended.was_killed(), "kill {kill} came too late: {ended:#?}");
        resumes += u32::from(ended.resumed_from().is_some_and(|checkpoint| checkpoint > 0));
        let now = place.lines().len();
        assert!(now >= published, "kill {kill}: {published} rows were published, and {now} are there");
        published = now;
    }
    println!("{resumes} starts resumed; {published} rows were published before the last one");
    assert!(resumes >= 10, "only {resumes} starts resumed: the kills tell nothing");
    assert!(published > 0 && published < NUMBERS as usize, "{published} rows before the last start");

    place.run(Program::Collatz, &["--numbers", "20000", "--parallelism", "3"]).assert_success();
    assert_same_lines(&place.lines(), &oracle(), "after the kills");
}
