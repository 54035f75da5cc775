//! `kill -9`, fifty times, of the `flight_delays` example as people run it.

#![cfg(unix)]
// Helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod kill_support;

use std::{collections::BTreeMap, thread, time::Duration};

use cofferdam_testkit::Point;
use kill_support::{Ended, Place, Program, Random, assert_same_lines, checkpoint_of, flights_oracle};

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// So long after it was spawned: perhaps before it has opened its state.
    AfterSpawn(Duration),
    /// So long after it said where it starts from.
    AfterStart(Duration),
    /// By itself, at its n-th attempt to publish: between a checkpoint's durable commit and its publication.
    BeforePublishing(u32),
}

/// Fifty kills in an order drawn from the seed.
fn kills(random: &mut Random) -> Vec<Kill> {
    let mut kills = Vec::new();
    kills.extend((0..5).map(|_| Kill::AfterSpawn(Duration::from_millis(random.below(60)))));
    kills.extend((0..33).map(|_| Kill::AfterStart(Duration::from_millis(60 + random.below(500)))));
    kills.extend((0..12).map(|_| Kill::BeforePublishing(1 + random.below(8) as u32)));
    random.shuffle(&mut kills);
    kills
}

/// So slow that fifty short lives do not get through the input, and fast enough for thousands of rows between kills.
const PACED: [&str; 6] = ["--rate", "3500", "--checkpoint-ms", "25", "--parallelism", "2"];

#[test]
fn fifty_kills_lose_no_row_and_publish_none_twice() {
    let mut random = Random::from_env();
    let place = Place::with_flights(usize::MAX);
    let mut seen = Seen::default();
    for (number, kill) in kills(&mut random).into_iter().enumerate() {
        seen.life(&place, kill, &format!("kill {number}, {kill:?}"));
    }
    println!(
        "{} kills after a completed checkpoint, {} between commit and publication; {} checkpoints completed, {} restarts resumed",
        seen.after_checkpoint, seen.between, seen.completed, seen.resumes
    );
    assert!(seen.completed >= 20, "only {} checkpoints completed: the kills tell nothing", seen.completed);
    assert!(seen.after_checkpoint >= 25, "only {} kills fell after a completed checkpoint", seen.after_checkpoint);
    assert!(seen.between >= 10, "only {} kills fell between commit and publication", seen.between);

    let last = place.run(Program::FlightDelays, &["--parallelism", "2"]);
    last.assert_success();
    seen.check_resume(&last, "the last start");
    let published = place.published();
    seen.check_files(&published, "at the end");

    let undisturbed = Place::with_flights(usize::MAX);
    undisturbed.run(Program::FlightDelays, &["--parallelism", "2"]).assert_success();
    let expected = flights_oracle(&place.input);
    assert_eq!(expected.len(), 80_789);
    assert_same_lines(&undisturbed.lines(), &expected, "the undisturbed run against the oracle");
    assert_same_lines(&place.lines(), &expected, "the run with kills against the oracle");
}

/// What the lives so far have shown.
#[derive(Default)]
struct Seen {
    /// The newest checkpoint that is known to be durable.
    durable: u64,
    /// The files that were visible at some kill.
    files: BTreeMap<String, String>,
    /// The files that were visible when the newest checkpoint held others, which nobody has published yet.
    owed_beside: Option<BTreeMap<String, String>>,
    completed: usize,
    resumes: u32,
    /// Kills from outside after the killed process had itself completed a checkpoint.
    after_checkpoint: u32,
    between: u32,
}

impl Seen {
    /// One start of the job, to its kill.
    fn life(&mut self, place: &Place, kill: Kill, what: &str) {
        let ended = match kill {
            Kill::AfterSpawn(moment) => {
                let running = place.start(Program::FlightDelays, &PACED);
                thread::sleep(moment);
                running.kill()
            }
            Kill::AfterStart(moment) => {
                let running = place.start(Program::FlightDelays, &PACED);
                if running.wait_until_started() {
                    thread::sleep(moment);
                }
                running.kill()
            }
            Kill::BeforePublishing(call) => place.run_killed_at(Point::CommitBefore, call, &PACED),
        };
        assert!(ended.was_killed(), "{what} came too late: {ended:#?}");
        self.check_resume(&ended, what);
        let published = place.published();
        self.check_files(&published, what);
        if let Some(checkpoint) = ended.resumed_from()
            && let Some(before) = self.owed_beside.take()
        {
            let was_owed = |name: &String| checkpoint_of(name) <= checkpoint && !before.contains_key(name);
            assert!(published.keys().any(was_owed), "{what}: what was owed is not published after a start");
        }
        let completed = ended.completed();
        self.completed += completed.len();
        self.durable = self.durable.max(completed.last().copied().unwrap_or(0));
        if let Kill::BeforePublishing(_) = kill {
            assert!(!completed.is_empty(), "{what}: nothing was to be published yet");
            self.owed_beside = Some(published);
            self.between += 1;
        } else if !completed.is_empty() {
            self.after_checkpoint += 1;
        }
    }

    /// A start goes on from the newest checkpoint known to be durable, or from one that completed unheard.
    fn check_resume(&mut self, ended: &Ended, what: &str) {
        let Some(checkpoint) = ended.resumed_from() else { return };
        assert!(checkpoint >= self.durable, "{what}: resumed from {checkpoint}, after {} was durable", self.durable);
        for name in self.files.keys() {
            assert!(
                checkpoint_of(name) <= checkpoint,
                "{what}: resumed from {checkpoint}, though '{name}' was visible"
            );
        }
        self.durable = checkpoint;
        self.resumes += u32::from(checkpoint > 0);
    }

    /// What was visible once stays as it is.
    fn check_files(&mut self, published: &BTreeMap<String, String>, what: &str) {
        for (name, text) in &self.files {
            assert!(published.get(name) == Some(text), "{what}: '{name}' was visible before, and has changed");
        }
        self.files = published.clone();
    }
}
