//! What a file sink publishes, when, and which directories it refuses.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cofferdam::connector::{FileSink, FileTransaction, FileWriter, FileWriterState, Roll};
use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, JobId, Ownership, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink,
};
use serde::Serialize;
use tempfile::TempDir;

fn context(attempt: u64, restored: u64) -> SinkContext {
    SinkContext {
        job: JobId(7),
        job_name: "word-count".to_string(),
        operator: "counts".to_string(),
        attempt: Attempt(attempt),
        restored: CheckpointId(restored),
        state_place: "/somewhere/state".to_string(),
    }
}

fn operator(operator: &str, attempt: u64, restored: u64) -> SinkContext {
    SinkContext { operator: operator.to_string(), ..context(attempt, restored) }
}

fn lines(dir: &Path) -> FileSink<String> {
    FileSink::lines(dir)
}

/// A claimed directory and a writer of attempt 1.
fn started(sink: &FileSink<String>) -> FileWriter<String> {
    sink.claim(&context(1, 0)).unwrap();
    sink.recover(&context(1, 0), vec![], &[]).unwrap();
    sink.open(&context(1, 0), SubtaskIndex(0), vec![]).unwrap()
}

fn write(writer: &mut FileWriter<String>, records: &[&str]) {
    for record in records {
        writer.write(record.to_string()).unwrap();
    }
}

/// The barrier and what follows it, as far as the acknowledgement.
fn barrier(
    sink: &FileSink<String>,
    writer: &mut FileWriter<String>,
    checkpoint: u64,
    last: bool,
) -> (Option<FileTransaction>, FileWriterState) {
    let (frozen, state) = writer.freeze(CheckpointId(checkpoint), last).unwrap();
    (sink.pre_commit(frozen).unwrap(), state)
}

/// Published files with their contents.
fn published(dir: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
    files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())).collect()
}

fn files(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(name, content)| (name.to_string(), content.to_string())).collect()
}

fn pending(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join(".cofferdam/pending")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    // Not there yet: the sink creates it.
    let dir = temp.path().join("out/counts");
    (temp, dir)
}

/// As a checkpoint keeps it.
fn stored(transaction: &FileTransaction) -> FileTransaction {
    postcard::from_bytes(&postcard::to_stdvec(transaction).unwrap()).unwrap()
}

fn message<T>(result: Result<T, BoxError>) -> String {
    result.err().expect("should have been refused").to_string()
}

#[test]
fn nothing_is_visible_before_the_commit_and_everything_after() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["to", "be"]);
    assert_eq!(published(&dir), files(&[]));
    let (frozen, _) = writer.freeze(CheckpointId(1), false).unwrap();
    write(&mut writer, &["later"]);
    assert_eq!(published(&dir), files(&[]));
    let transaction = sink.pre_commit(frozen).unwrap().unwrap();
    assert_eq!(published(&dir), files(&[]));
    sink.commit(&stored(&transaction)).unwrap();
    assert_eq!(published(&dir), files(&[("part-word--count-counts-0-1.txt", "to\nbe\n")]));
}

#[test]
fn an_interval_without_records_makes_no_file() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    let (transaction, state) = barrier(&sink, &mut writer, 1, true);
    assert!(transaction.is_none());
    assert_eq!(state, FileWriterState::default());
    assert!(pending(&dir).is_empty());
}

#[test]
fn a_transaction_can_be_committed_any_number_of_times() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["once"]);
    let transaction = barrier(&sink, &mut writer, 1, false).0.unwrap();
    for _ in 0..3 {
        sink.commit(&transaction).unwrap();
        assert_eq!(published(&dir), files(&[("part-word--count-counts-0-1.txt", "once\n")]));
    }
}

#[test]
fn a_published_file_that_was_moved_away_is_not_published_again() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["once"]);
    let transaction = barrier(&sink, &mut writer, 1, false).0.unwrap();
    sink.commit(&transaction).unwrap();
    fs::rename(dir.join("part-word--count-counts-0-1.txt"), dir.parent().unwrap().join("taken")).unwrap();
    sink.commit(&transaction).unwrap();
    sink.recover(&context(2, 1), vec![transaction], &[]).unwrap();
    assert_eq!(published(&dir), files(&[]));
}

#[test]
fn a_published_file_is_never_overwritten() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["mine"]);
    let transaction = barrier(&sink, &mut writer, 1, false).0.unwrap();
    let taken = dir.join("part-word--count-counts-0-1.txt");
    fs::write(&taken, "somebody else's").unwrap();
    let error = message(sink.commit(&transaction));
    assert!(error.contains(taken.to_str().unwrap()) && error.contains("pending"), "{error}");
    assert_eq!(fs::read_to_string(taken).unwrap(), "somebody else's");
}

#[test]
fn recovery_publishes_what_the_checkpoint_holds_and_removes_what_it_does_not() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["in the checkpoint"]);
    let transaction = barrier(&sink, &mut writer, 1, false).0.unwrap();
    write(&mut writer, &["prepared, but never in a checkpoint"]);
    barrier(&sink, &mut writer, 2, false);
    write(&mut writer, &["cut off"]);
    drop(writer);
    assert!(!pending(&dir).is_empty());
    sink.recover(&context(2, 1), vec![transaction], &[]).unwrap();
    assert_eq!(published(&dir), files(&[("part-word--count-counts-0-1.txt", "in the checkpoint\n")]));
    assert!(pending(&dir).is_empty());
}

#[test]
fn recovery_leaves_the_files_of_the_jobs_other_operators_alone() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    started(&sink);
    // The names begin alike, and one looks as if numbers followed.
    for other in ["counts-0-1", "count", "counts2", "counts-", ""] {
        let context = operator(other, 1, 0);
        sink.claim(&context).unwrap();
        let mut writer = sink.open(&context, SubtaskIndex(0), vec![]).unwrap();
        write(&mut writer, &["kept"]);
        let transaction = barrier(&sink, &mut writer, 9, false).0.unwrap();
        sink.recover(&operator("counts", 2, 0), vec![], &[]).unwrap();
        sink.commit(&transaction).unwrap();
        // Nor is another operator's newer file a sign that this one's state went back in time.
        sink.recover(&operator("counts", 3, 0), vec![], &[]).unwrap();
    }
    assert_eq!(published(&dir).len(), 5);
}

#[test]
fn a_directory_of_another_job_is_refused_naming_both() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    assert_eq!(sink.owner().unwrap(), Ownership::Unclaimed);
    started(&sink);
    assert_eq!(sink.owner().unwrap(), Ownership::Claimed(JobId(7)));
    sink.claim(&context(2, 0)).unwrap();

    let other = SinkContext { job: JobId(8), state_place: "/elsewhere/state".to_string(), ..context(1, 0) };
    for error in [message(sink.claim(&other)), message(sink.recover(&other, vec![], &[]))] {
        for part in [dir.to_str().unwrap(), "/somewhere/state", "/elsewhere/state", "word-count"] {
            assert!(error.contains(part), "{error}");
        }
    }
    assert_eq!(sink.owner().unwrap(), Ownership::Claimed(JobId(7)));
}

#[test]
fn an_owner_file_with_any_byte_changed_or_cut_off_is_damaged() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    started(&sink);
    let path = dir.join(".cofferdam/owner");
    let whole = fs::read(&path).unwrap();
    let flipped = (0..whole.len() - 1).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    });
    let cut = (0..whole.len() - 1).map(|len| whole[..len].to_vec());
    for damaged in flipped.chain(cut) {
        fs::write(&path, &damaged).unwrap();
        for error in [message(sink.owner()), message(sink.claim(&context(2, 0)))] {
            assert!(error.contains(path.to_str().unwrap()), "{error}: {damaged:?}");
        }
    }
}

#[test]
fn a_state_that_went_back_in_time_is_refused() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    let mut transactions = Vec::new();
    for checkpoint in 1..=3 {
        write(&mut writer, &["record"]);
        let transaction = barrier(&sink, &mut writer, checkpoint, false).0.unwrap();
        sink.commit(&transaction).unwrap();
        transactions.push(transaction);
    }
    sink.recover(&context(2, 3), vec![stored(&transactions[2])], &[]).unwrap();
    let error = message(sink.recover(&context(2, 2), vec![stored(&transactions[1])], &[]));
    for part in ["part-word--count-counts-0-3.txt", dir.to_str().unwrap(), "/somewhere/state"] {
        assert!(error.contains(part), "{error}");
    }
    // Its file was moved away by a consumer: it has been published all the same.
    fs::remove_file(dir.join("part-word--count-counts-0-3.txt")).unwrap();
    let error = message(sink.recover(&context(2, 2), vec![stored(&transactions[1])], &[]));
    let mark = dir.join(".cofferdam/published-counts-0");
    for part in ["back in time", mark.to_str().unwrap(), "/somewhere/state"] {
        assert!(error.contains(part), "{error}");
    }
    // Another operator's marks, one that begins alike, say nothing of this one.
    sink.recover(&operator("count", 2, 0), vec![], &[]).unwrap();
    // Removed in agreement with the older state.
    fs::remove_file(mark).unwrap();
    sink.recover(&context(2, 2), vec![stored(&transactions[1])], &[]).unwrap();
}

#[test]
fn a_transaction_that_waits_in_the_directory_before_is_not_forgotten() {
    let (temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["waits"]);
    let transaction = barrier(&sink, &mut writer, 1, true).0.unwrap();
    let moved = lines(&temp.path().join("other"));
    moved.claim(&context(2, 1)).unwrap();
    let error = message(moved.recover(&context(2, 1), vec![stored(&transaction)], &[]));
    assert!(error.contains(dir.to_str().unwrap()) && error.contains("other"), "{error}");
    sink.commit(&transaction).unwrap();
    moved.recover(&context(2, 1), vec![transaction], &[]).unwrap();
}

#[test]
fn a_file_rolled_at_checkpoints_goes_on_where_the_checkpoint_left_it() {
    let (_temp, dir) = temp();
    let sink = lines(&dir).roll_every(Roll::Checkpoints(3));
    let mut writer = started(&sink);
    write(&mut writer, &["a", "b"]);
    let (transaction, state) = barrier(&sink, &mut writer, 1, false);
    assert!(transaction.is_none());
    // Cut off behind the barrier; some of it has reached the file.
    write(&mut writer, &["lost"]);
    barrier(&sink, &mut writer, 2, false);
    drop(writer);

    let restart = context(2, 1);
    sink.recover(&restart, vec![], std::slice::from_ref(&state)).unwrap();
    let mut writer = sink.open(&restart, SubtaskIndex(0), vec![state]).unwrap();
    write(&mut writer, &["c"]);
    assert!(barrier(&sink, &mut writer, 3, false).0.is_none());
    write(&mut writer, &["d"]);
    let (transaction, state) = barrier(&sink, &mut writer, 4, false);
    sink.commit(&transaction.unwrap()).unwrap();
    assert_eq!(state, FileWriterState::default());
    assert_eq!(published(&dir), files(&[("part-word--count-counts-0-4.txt", "a\nb\nc\nd\n")]));
}

#[test]
fn a_file_rolled_by_size_may_end_within_an_interval_or_span_many() {
    let (_temp, dir) = temp();
    let sink = lines(&dir).roll_every(Roll::Bytes(10));
    let mut writer = started(&sink);
    write(&mut writer, &["1234"]);
    assert!(barrier(&sink, &mut writer, 1, false).0.is_none());
    write(&mut writer, &["5678", "another file, too long", "third", "x"]);
    let (transaction, state) = barrier(&sink, &mut writer, 2, false);
    sink.commit(&transaction.unwrap()).unwrap();
    let second = ("part-word--count-counts-0-2-1.txt", "another file, too long\n");
    assert_eq!(published(&dir), files(&[("part-word--count-counts-0-2.txt", "1234\n5678\n"), second]));
    drop(writer);

    let mut writer = sink.open(&context(2, 2), SubtaskIndex(0), vec![state]).unwrap();
    let transaction = barrier(&sink, &mut writer, 3, true).0.unwrap();
    sink.commit(&transaction).unwrap();
    assert_eq!(published(&dir)["part-word--count-counts-0-3.txt"], "third\nx\n");
}

#[test]
fn many_small_files_in_one_interval_are_all_published() {
    let (_temp, dir) = temp();
    let sink = lines(&dir).roll_every(Roll::Bytes(1));
    let mut writer = started(&sink);
    let records: Vec<String> = (0..3_000).map(|i| i.to_string()).collect();
    write(&mut writer, &records.iter().map(String::as_str).collect::<Vec<_>>());
    if cfg!(target_os = "linux") {
        let handles = fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(handles < 1_000, "{handles} files are open");
    }
    let transaction = barrier(&sink, &mut writer, 1, false).0.unwrap();
    sink.commit(&transaction).unwrap();
    let mut found: Vec<u64> = published(&dir).values().map(|content| content.trim_end().parse().unwrap()).collect();
    found.sort();
    assert_eq!(found, (0..3_000).collect::<Vec<_>>());
}

#[test]
fn with_fewer_subtasks_one_file_goes_on_and_the_others_are_published_as_far_as_the_checkpoint() {
    let (_temp, dir) = temp();
    let sink = lines(&dir).roll_every(Roll::Checkpoints(100));
    started(&sink);
    let mut states = Vec::new();
    for subtask in 0..3 {
        let mut writer = sink.open(&context(1, 0), SubtaskIndex(subtask), vec![]).unwrap();
        write(&mut writer, &[&format!("of {subtask}")]);
        states.push(barrier(&sink, &mut writer, 1, false).1);
        write(&mut writer, &["lost"]);
        barrier(&sink, &mut writer, 2, false);
    }
    sink.recover(&context(2, 1), vec![], &states).unwrap();
    let mut writer = sink.open(&context(2, 1), SubtaskIndex(0), states).unwrap();
    write(&mut writer, &["next"]);
    let transaction = barrier(&sink, &mut writer, 3, false).0.unwrap();
    sink.commit(&transaction).unwrap();
    let mut contents: Vec<String> = published(&dir).into_values().collect();
    contents.sort();
    assert_eq!(contents, ["of 1\n", "of 2\n"]);
    let transaction = barrier(&sink, &mut writer, 4, true).0.unwrap();
    sink.commit(&transaction).unwrap();
    assert_eq!(published(&dir)["part-word--count-counts-0-4.txt"], "of 0\nnext\n");
}

#[test]
fn a_growing_file_that_is_shorter_than_the_checkpoint_says_is_damaged() {
    let (_temp, dir) = temp();
    let sink = lines(&dir).roll_every(Roll::Checkpoints(100));
    let mut writer = started(&sink);
    write(&mut writer, &["a", "b"]);
    let (_, state) = barrier(&sink, &mut writer, 1, false);
    drop(writer);
    let path = &pending(&dir)[0];
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3).unwrap();
    let error = message(sink.open(&context(2, 1), SubtaskIndex(0), vec![state.clone()]));
    assert!(error.contains(path.to_str().unwrap()) && error.contains("damaged"), "{error}");
    fs::remove_file(path).unwrap();
    let error = message(sink.open(&context(2, 1), SubtaskIndex(0), vec![state]));
    assert!(error.contains(path.to_str().unwrap()) && error.contains("missing"), "{error}");
}

#[test]
fn odd_names_of_jobs_and_operators_stay_apart_and_in_the_directory() {
    let (temp, dir) = temp();
    let sink = lines(&dir);
    let long = "x".repeat(1_000);
    let names =
        ["../../escape", "a b", "a/b", "a\\b", "ünï", "", ".", "..", "a\nb", long.as_str(), &long[1..], "C:con"];
    for name in names {
        let context = SinkContext { job_name: name.to_string(), ..operator(name, 1, 0) };
        sink.claim(&context).unwrap();
        let mut writer = sink.open(&context, SubtaskIndex(0), vec![]).unwrap();
        write(&mut writer, &[name]);
        let transaction = barrier(&sink, &mut writer, 1, true).0.unwrap();
        sink.commit(&transaction).unwrap();
        let again = SinkContext { attempt: Attempt(2), ..context };
        let error = message(sink.recover(&again, vec![], &[]));
        assert!(error.contains("back in time"), "a file of '{name}' is not known again: {error}");
    }
    let mut contents: Vec<String> = published(&dir).into_values().collect();
    let mut expected = names.map(|name| format!("{name}\n"));
    contents.sort();
    expected.sort();
    assert_eq!(contents, expected);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn a_path_that_is_a_file_or_cannot_be_created_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "x").unwrap();
    for error in [message(lines(&file).owner()), message(lines(&file).claim(&context(1, 0)))] {
        assert!(error.contains(file.to_str().unwrap()) && error.contains("is a file"), "{error}");
    }
    let below = file.join("below");
    let error = message(lines(&below).claim(&context(1, 0)));
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[derive(Serialize)]
struct Count {
    word: String,
    count: u64,
}

fn count(word: &str, count: u64) -> Count {
    Count { word: word.to_string(), count }
}

fn publish_counts(sink: FileSink<Count>, dir: &Path) -> BTreeMap<String, String> {
    sink.claim(&context(1, 0)).unwrap();
    let mut writer = sink.open(&context(1, 0), SubtaskIndex(0), vec![]).unwrap();
    writer.write(count("to", 2)).unwrap();
    let (frozen, state) = writer.freeze(CheckpointId(1), false).unwrap();
    assert!(sink.pre_commit(frozen).unwrap().is_none());
    drop(writer);
    let mut writer = sink.open(&context(2, 1), SubtaskIndex(0), vec![state]).unwrap();
    writer.write(count("be, \"or\"\nnot", 1)).unwrap();
    let (frozen, _) = writer.freeze(CheckpointId(2), false).unwrap();
    sink.commit(&sink.pre_commit(frozen).unwrap().unwrap()).unwrap();
    writer.write(count("next", 3)).unwrap();
    let (frozen, _) = writer.freeze(CheckpointId(3), true).unwrap();
    sink.commit(&sink.pre_commit(frozen).unwrap().unwrap()).unwrap();
    published(dir)
}

#[test]
fn csv_files_have_one_header_each_also_after_a_restart() {
    let (_temp, dir) = temp();
    let sink = FileSink::csv(&dir).roll_every(Roll::Checkpoints(2));
    assert_eq!(
        publish_counts(sink, &dir),
        files(&[
            ("part-word--count-counts-0-2.csv", "word,count\nto,2\n\"be, \"\"or\"\"\nnot\",1\n"),
            ("part-word--count-counts-0-3.csv", "word,count\nnext,3\n"),
        ])
    );
}

#[test]
fn json_lines_are_one_value_each() {
    let (_temp, dir) = temp();
    let sink = FileSink::json_lines(&dir).roll_every(Roll::Checkpoints(2));
    assert_eq!(
        publish_counts(sink, &dir),
        files(&[
            (
                "part-word--count-counts-0-2.jsonl",
                "{\"word\":\"to\",\"count\":2}\n{\"word\":\"be, \\\"or\\\"\\nnot\",\"count\":1}\n"
            ),
            ("part-word--count-counts-0-3.jsonl", "{\"word\":\"next\",\"count\":3}\n"),
        ])
    );
}

#[test]
fn a_csv_file_of_many_rows_is_whole() {
    let (_temp, dir) = temp();
    let sink = FileSink::csv(&dir);
    sink.claim(&context(1, 0)).unwrap();
    let mut writer = sink.open(&context(1, 0), SubtaskIndex(0), vec![]).unwrap();
    let mut expected = "word,count\n".to_string();
    for i in 0..50_000 {
        writer.write(count("word", i)).unwrap();
        expected += &format!("word,{i}\n");
    }
    let (frozen, _) = writer.freeze(CheckpointId(1), false).unwrap();
    sink.commit(&sink.pre_commit(frozen).unwrap().unwrap()).unwrap();
    assert_eq!(published(&dir), files(&[("part-word--count-counts-0-1.csv", &expected)]));
}

#[test]
fn sinks_of_one_job_may_claim_a_directory_at_once() {
    let (_temp, dir) = temp();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let dir = &dir;
            scope.spawn(move || lines(dir).claim(&operator(&format!("sink {i}"), 1, 0)).unwrap());
        }
    });
    assert_eq!(lines(&dir).owner().unwrap(), Ownership::Claimed(JobId(7)));
}

#[test]
fn of_two_running_jobs_with_copies_of_one_state_the_second_is_refused() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    started(&sink);
    // The next attempt of the first.
    sink.claim(&context(2, 0)).unwrap();
    for second in [lines(&dir), sink.clone()] {
        let error = message(second.claim(&context(2, 0)));
        assert!(error.contains(dir.to_str().unwrap()) && error.contains("another running job"), "{error}");
    }
    // Another sink of the job is none of theirs.
    lines(&dir).claim(&operator("more", 1, 0)).unwrap();
    let clone = sink.clone();
    drop(sink);
    clone.claim(&context(2, 0)).unwrap();
}

#[test]
fn a_directory_that_was_taken_away_under_a_running_job_is_locked_anew() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    started(&sink);
    fs::remove_dir_all(&dir).unwrap();
    sink.claim(&context(2, 0)).unwrap();
    assert!(message(lines(&dir).claim(&context(2, 0))).contains("another running job"));
}

#[test]
fn of_two_jobs_that_claim_a_fresh_directory_at_once_one_gets_it() {
    for _ in 0..50 {
        let (_temp, dir) = temp();
        let barrier = std::sync::Barrier::new(2);
        let claim = |job| {
            let (sink, context) = (lines(&dir), SinkContext { job: JobId(job), ..context(1, 0) });
            barrier.wait();
            (job, sink.claim(&context))
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| claim(7));
            (claim(8), other.join().unwrap())
        });
        let (won, lost) = if one.1.is_ok() { (one, other) } else { (other, one) };
        won.1.unwrap();
        let error = message(lost.1);
        assert!(error.contains("belongs to job"), "{error}");
        assert_eq!(lines(&dir).owner().unwrap(), Ownership::Claimed(JobId(won.0)));
    }
}

#[test]
fn an_owner_file_follows_a_state_that_was_moved() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    started(&sink);
    sink.claim(&SinkContext { state_place: "/moved".to_string(), ..context(2, 0) }).unwrap();
    assert!(fs::read_to_string(dir.join(".cofferdam/owner")).unwrap().contains("/moved"));
}

#[test]
fn what_a_recovery_publishes_is_marked_and_a_mark_never_goes_back() {
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    let transactions = [1, 2].map(|checkpoint| {
        write(&mut writer, &["record"]);
        barrier(&sink, &mut writer, checkpoint, false).0.unwrap()
    });
    // Cut off while it wrote a mark.
    let torn = dir.join(".cofferdam/published-counts-0.0123456789abcdef.tmp");
    fs::write(&torn, "").unwrap();
    sink.recover(&context(2, 2), transactions.iter().map(stored).collect(), &[]).unwrap();
    assert!(!torn.exists());
    sink.commit(&transactions[0]).unwrap();
    assert_eq!(fs::read_to_string(dir.join(".cofferdam/published-counts-0")).unwrap(), "2\n");
}

/// Keeps what is logged.
struct Log(std::sync::Mutex<Vec<String>>);

static LOG: Log = Log(std::sync::Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_transaction_of_which_nothing_is_left_is_warned_of() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let (_temp, dir) = temp();
    let sink = lines(&dir);
    let mut writer = started(&sink);
    write(&mut writer, &["record"]);
    let transaction = barrier(&sink, &mut writer, 1, false).0.unwrap();
    let pending = pending(&dir).remove(0);
    let warnings = || {
        let all = LOG.0.lock().unwrap();
        all.iter().filter(|line| line.contains(dir.to_str().unwrap())).cloned().collect::<Vec<_>>()
    };
    sink.recover(&context(2, 1), vec![stored(&transaction)], &[]).unwrap();
    sink.recover(&context(3, 1), vec![stored(&transaction)], &[]).unwrap();
    assert_eq!(warnings(), [""; 0]);
    let published = dir.join("part-word--count-counts-0-1.txt");
    fs::remove_file(&published).unwrap();
    sink.recover(&context(4, 1), vec![stored(&transaction)], &[]).unwrap();
    let warnings = warnings();
    assert_eq!(warnings.len(), 1);
    for path in [pending, published] {
        assert!(warnings[0].contains(path.to_str().unwrap()), "{warnings:?}");
    }
}
