//! Which checkpoint a job goes on from.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

use crate::until::until;
use cofferdam_engine::checkpoint::store::StateBackend as _;

const KEYS: u64 = 10;

/// Checkpoints are those that `stop` takes, so that each run has one of its own; three are kept.
fn engine(state: &Path) -> EngineBuilder {
    Engine::builder()
        .parallelism(1)
        .checkpoints(CheckpointConfig::every(Duration::from_secs(3600)).num_retained(3))
        .backend(Lmdb::at(state))
        .restart(RestartStrategy::None)
}

/// Rows given to a sink without transactions.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<Vec<(u64, u64)>>>);

impl Given {
    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Sink<(u64, u64)> for Given {
    type Writer = Box<dyn FnMut((u64, u64)) -> Result<(), BoxError> + Send>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        let rows = self.0.clone();
        Ok(Box::new(move |row| {
            rows.lock().unwrap().push(row);
            Ok(())
        }))
    }
}

/// A topology that counts numbers by their last digit, and what is to be done with the rows. Each count carries the name of the run that counted last, which makes it easy to find on
/// the disk.
macro_rules! counting {
    ($run:expr, |$rows:ident| $sink:expr) => {{
        let topology = Topology::new("counting");
        let run: &'static str = $run;
        let numbers = topology.source("numbers", Generator::unbounded(|i| i).rate(20_000));
        let counts = numbers.key_by(|number| number % KEYS).fold("count", (0u64, String::new()), move |state, _| {
            *state = (state.0 + 1, run.to_string());
        });
        let $rows = counts.map(|(key, (count, _))| (key, count));
        $sink;
        topology
    }};
}

fn given(run: &'static str, sink: &Given) -> Topology {
    counting!(run, |rows| rows.sink_at_least_once("rows", sink.clone()))
}

/// What the source's numbers from `first` on lead to.
fn rows_from(first: usize, count: usize) -> Vec<(u64, u64)> {
    (first as u64..).take(count).map(|number| (number % KEYS, number / KEYS + 1)).collect()
}

/// The checkpoints that are kept.
fn retained(state: &Path) -> Vec<u64> {
    let retained = Lmdb::at(state).open().unwrap().retained().unwrap();
    retained.iter().map(|kept| kept.checkpoint.0).collect()
}

/// Runs three times, and says for each the checkpoint that it stopped behind and how many numbers had been counted by then.
fn three_runs(state: &Path, sink: &Given) -> Vec<(u64, usize)> {
    let mut counted = 0;
    let runs = ["first run", "second run", "third run"].map(|run| {
        let job = engine(state).start_blocking(given(run, sink)).unwrap();
        until("a hundred rows", || sink.len() >= 100);
        job.stop_blocking().unwrap();
        counted += sink.take().len();
        (*retained(state).last().unwrap(), counted)
    });
    runs.into()
}

fn refused(builder: EngineBuilder, topology: Topology) -> String {
    let error = builder.start_blocking(topology).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.to_string()
}

#[test]
fn a_job_goes_back_to_the_checkpoint_it_is_told_and_on_from_there() {
    let (directory, sink) = (tempfile::tempdir().unwrap(), Given::default());
    let state = directory.path();
    let runs = three_runs(state, &sink);
    assert_eq!(retained(state), runs.iter().map(|(checkpoint, _)| *checkpoint).collect::<Vec<_>>());
    let (checkpoint, counted) = runs[1];
    let chosen = CheckpointId(checkpoint);
    let job = engine(state).restore_from(chosen).start_blocking(given("fourth run", &sink)).unwrap();
    assert_eq!(job.status().started_from, Some(StartedFrom::Checkpoint(chosen)));
    until("a hundred rows", || sink.len() >= 100);
    job.stop_blocking().unwrap();
    let rows = sink.take();
    assert_eq!(rows, rows_from(counted, rows.len()));
    let (third, _) = runs[2];
    assert_eq!(retained(state), [runs[0].0, checkpoint, third + 1], "numbers are not used again");
    // And without a choice it goes on from the newest.
    let job = engine(state).start_blocking(given("fifth run", &sink)).unwrap();
    until("a row", || sink.len() > 0);
    job.stop_blocking().unwrap();
    assert_eq!(sink.take()[0], rows_from(counted + rows.len(), 1)[0]);
}

#[test]
fn a_damaged_newest_checkpoint_is_refused_naming_those_that_are_whole_and_the_way_back() {
    let (directory, sink) = (tempfile::tempdir().unwrap(), Given::default());
    let state = directory.path();
    let runs = three_runs(state, &sink);
    flip(&state.join("data.mdb"), b"third run");
    let message = refused(engine(state), given("fourth run", &sink));
    let [(first, _), (second, counted), (third, _)] = runs[..] else { panic!("{runs:?}") };
    for part in [
        format!("checkpoint {third} in {} is damaged", state.display()),
        format!("older ones that are whole: {first}, {second}."),
        format!("`Engine::builder().restore_from(CheckpointId({second}))`"),
        "key group".to_string(),
    ] {
        assert!(message.contains(&part), "{part}: {message}");
    }
    let message = refused(engine(state).restore_from(CheckpointId(third)), given("fourth run", &sink));
    assert!(
        message.contains(&format!("it is not whole; those kept in {} that are: {first}, {second}", state.display()))
    );
    assert_eq!(retained(state), [first, second, third]);
    assert_eq!(sink.len(), 0, "nothing ran");

    let job = engine(state).restore_from(CheckpointId(second)).start_blocking(given("fourth run", &sink)).unwrap();
    until("a hundred rows", || sink.len() >= 100);
    job.stop_blocking().unwrap();
    let rows = sink.take();
    assert_eq!(rows, rows_from(counted, rows.len()));
}

/// Flips a bit wherever `needle` is.
fn flip(path: &Path, needle: &[u8]) {
    let mut data = fs::read(path).unwrap();
    let places: Vec<_> = (0..data.len() - needle.len()).filter(|at| data[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| data[at] ^= 1);
    fs::write(path, data).unwrap();
}

#[test]
fn a_checkpoint_that_is_not_kept_is_refused_naming_those_that_are() {
    let (directory, sink) = (tempfile::tempdir().unwrap(), Given::default());
    let state = directory.path();
    let message = refused(engine(state).restore_from(CheckpointId(1)), given("first run", &sink));
    assert!(message.contains("nothing is stored"), "{message}");
    let runs = three_runs(state, &sink);
    for missing in [0, 4711] {
        let message = refused(engine(state).restore_from(CheckpointId(missing)), given("fourth run", &sink));
        let kept = runs.iter().map(|(checkpoint, _)| checkpoint.to_string()).collect::<Vec<_>>().join(", ");
        assert!(message.contains(&format!("it keeps {kept}")), "{message}");
    }
}

/// Every file below `path` and what is in it, but for locks.
fn files(path: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.file_name().unwrap().to_str().unwrap().to_lowercase().contains("lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The rows of every published file, in the order of their checkpoints.
fn published(output: &Path) -> Vec<(u64, u64)> {
    let mut files: Vec<_> = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort_by_key(|path| {
        path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse::<u64>().unwrap()
    });
    let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn going_back_past_what_a_file_sink_has_published_is_refused_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (state, output) = (directory.path().join("state"), directory.path().join("output"));
    let topology = || counting!("a run", |rows| rows.sink("rows", FileSink::json_lines(&output)));
    let run = || {
        let job = engine(&state).start_blocking(topology()).unwrap();
        until("a hundred records", || job.status().records_read >= 100);
        job.stop_blocking().unwrap();
    };
    (0..3).for_each(|_| run());
    let kept = retained(&state);
    let [first, second, third] = kept[..] else { panic!("{kept:?}") };
    let (state_before, output_before) = (files(&state), files(&output));
    for (older, moved_away) in [(first, false), (second, false), (second, true)] {
        if moved_away {
            // A consumer has taken them: the marks tell all the same.
            let taken = output_before.keys().filter(|path| path.parent() == Some(output.as_path()));
            taken.for_each(|path| fs::remove_file(path).unwrap());
        }
        let message = refused(engine(&state).restore_from(CheckpointId(older)), topology());
        let part = format!("sink 'rows' has published up to checkpoint {third} in {}", output.display());
        assert!(message.contains(&part) && message.contains("Nothing was changed"), "{message}");
    }
    assert_eq!(files(&state), state_before);
    output_before.iter().for_each(|(path, content)| fs::write(path, content).unwrap());
    assert_eq!(files(&output), output_before);
    // The newest is as good a choice as any, and a start without one goes on.
    let job = engine(&state).restore_from(CheckpointId(third)).start_blocking(topology()).unwrap();
    job.stop_blocking().unwrap();
    run();
    let rows = published(&output);
    assert_eq!(rows, rows_from(0, rows.len()));
}

/// A file sink that has published nothing since is no obstacle.
#[test]
fn going_back_to_the_last_checkpoint_that_published_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let (state, output) = (directory.path().join("state"), directory.path().join("output"));
    let quiet = Arc::new(AtomicBool::new(false));
    let topology = || {
        let quiet = quiet.clone();
        counting!("a run", |rows| rows
            .filter(move |_| !quiet.load(Ordering::SeqCst))
            .sink("rows", FileSink::json_lines(&output)))
    };
    let run = |builder: EngineBuilder| {
        let job = builder.start_blocking(topology()).unwrap();
        until("a hundred records", || job.status().records_read >= 100);
        job.stop_blocking().unwrap();
    };
    run(engine(&state));
    quiet.store(true, Ordering::SeqCst);
    run(engine(&state));
    quiet.store(false, Ordering::SeqCst);
    let chosen = CheckpointId(retained(&state)[1]);
    run(engine(&state).restore_from(chosen));
    let rows = published(&output);
    assert_eq!(rows, rows_from(0, rows.len()), "what was not published is read again");
}

#[test]
fn going_back_past_what_was_collected_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, rows) = CollectSink::new();
    let topology = || counting!("a run", |rows| rows.sink("rows", sink.clone()));
    for _ in 0..2 {
        let job = engine(directory.path()).start_blocking(topology()).unwrap();
        until("a hundred records", || job.status().records_read >= 100);
        job.stop_blocking().unwrap();
    }
    let kept = retained(directory.path());
    let older = kept[kept.len() - 2];
    let message = refused(engine(directory.path()).restore_from(CheckpointId(older)), topology());
    assert!(message.contains("has published up to checkpoint"), "{message}");
    let job = engine(directory.path()).start_blocking(topology()).unwrap();
    job.stop_blocking().unwrap();
    let rows = rows.snapshot();
    assert_eq!(rows, rows_from(0, rows.len()));
}

#[test]
fn the_choice_is_made_once_and_a_restart_goes_on_from_the_newest() {
    let (directory, sink) = (tempfile::tempdir().unwrap(), Given::default());
    let state = directory.path();
    let runs = three_runs(state, &sink);
    let (chosen, counted) = runs[0];
    let fails = Arc::new(AtomicBool::new(false));
    let topology = {
        let (sink, fails) = (sink.clone(), fails.clone());
        let fail = move |row| if fails.swap(false, Ordering::SeqCst) { Err("as asked") } else { Ok(row) };
        counting!("fourth run", |rows| rows.try_map(fail).sink_at_least_once("rows", sink))
    };
    let job = engine(state)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(20)).num_retained(1000))
        .restart(RestartStrategy::FixedDelay { attempts: 3, delay: Duration::ZERO })
        .restore_from(CheckpointId(chosen))
        .start_blocking(topology)
        .unwrap();
    until("five checkpoints", || job.status().checkpoints_completed >= 5);
    let before = sink.take();
    assert_eq!(before, rows_from(counted, before.len()));
    fails.store(true, Ordering::SeqCst);
    until("a restart", || job.status().restarts == 1 && matches!(job.status().phase, JobPhase::Running));
    until("rows", || sink.len() > 1000);
    job.stop_blocking().unwrap();
    let first = sink.take().into_iter().map(|(key, count)| (count - 1) * KEYS + key).min().unwrap();
    assert!(first > counted as u64, "the restart went back to where the start did");
    assert!(retained(state).contains(&chosen), "it could have");
}
