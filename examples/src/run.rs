//! Starts a job, shows progress while it runs and a table at its end.

use std::{
    fmt::Display,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{self, Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use crate::{inputs, options::JobOptions};

/// Runs an example to its end: prints what it reports, or else the error.
pub fn run(example: impl FnOnce() -> Result<Report, Error>) -> ExitCode {
    // The engine reports what fails to its caller, here: a second time from its log would only be noise.
    let quiet = "warn,cofferdam::runtime::supervisor_actor=off";
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(quiet)).init();
    match example() {
        Ok(report) => {
            report.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a topology from its newest checkpoint, or from the beginning, until it is finished.
///
/// A failure ends it. The same command resumes it, as it does after `kill -9`; a service would choose a strategy that restarts.
///
/// `inputs` are the files that the topology's source was given.
pub fn run_job(topology: Topology, inputs: &[PathBuf], options: &JobOptions) -> Result<Report, Error> {
    run_job_on(engine(options), topology, inputs, options)
}

/// The engine that the options ask for.
pub fn engine(options: &JobOptions) -> EngineBuilder {
    let engine = Engine::builder()
        .checkpoints(CheckpointConfig::every(Duration::from_millis(options.checkpoint_ms)))
        .backend(Lmdb::at(&options.state))
        .restart(RestartStrategy::None);
    match options.parallelism {
        Some(parallelism) => engine.parallelism(parallelism),
        None => engine,
    }
}

/// [`run_job`], with more settings than the options have: made of [`engine`].
pub fn run_job_on(
    engine: EngineBuilder,
    topology: Topology,
    inputs: &[PathBuf],
    options: &JobOptions,
) -> Result<Report, Error> {
    refuse_one_directory(options)?;
    inputs::check(&options.state, inputs)?;
    let begun = Instant::now();
    let job = engine.start_blocking(topology)?;
    let started_from = job.status().started_from.unwrap_or(StartedFrom::Beginning);
    match started_from {
        StartedFrom::Beginning => say(format_args!("starting from the beginning")),
        StartedFrom::Checkpoint(checkpoint) => say(format_args!("resuming from checkpoint {checkpoint}")),
        StartedFrom::Savepoint(checkpoint) => say(format_args!("starting from a savepoint of checkpoint {checkpoint}")),
        StartedFrom::Finished(checkpoint) => {
            say(format_args!("finished already with checkpoint {checkpoint}: nothing left to do"));
        }
    }
    watch(&job)?;
    Ok(Report::new(&job, started_from, begun.elapsed(), options))
}

/// Prints a line to standard error. Whoever reads it may have gone: the job goes on all the same.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Each would find files of the other among its own.
fn refuse_one_directory(JobOptions { state, out, .. }: &JobOptions) -> Result<(), Error> {
    let place = |path: &Path| fs::canonicalize(path).or_else(|_| path::absolute(path));
    match (place(state), place(out)) {
        (Ok(state), Ok(out)) if state == out => {
            let both = out.display();
            Err(Error::refused(format!("--state and --out are the same directory, {both}: give each one of its own")))
        }
        _ => Ok(()),
    }
}

/// Shows how a job is getting on, until it ends.
fn watch(job: &JobHandle) -> Result<JobEnd, Error> {
    let (sender, end) = mpsc::channel();
    let waiting = job.clone();
    thread::spawn(move || sender.send(waiting.wait_blocking()));
    let mut progress = Progress::new();
    loop {
        match end.recv_timeout(progress.interval) {
            Ok(end) => return end,
            Err(RecvTimeoutError::Timeout) => progress.show(&job.status()),
            // The thread cannot have ended without an answer; the job itself would know.
            Err(RecvTimeoutError::Disconnected) => return job.wait_blocking(),
        }
    }
}

/// A line that changes in place, or, where standard error is not a terminal, a new one each second.
struct Progress {
    bar: Option<ProgressBar>,
    interval: Duration,
    last: (Instant, u64),
}

impl Progress {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        let interval = Duration::from_millis(if bar.is_some() { 200 } else { 1000 });
        Self { bar, interval, last: (Instant::now(), 0) }
    }

    fn show(&mut self, status: &JobStatus) {
        let (then, before) = self.last;
        let rate = status.records_read.saturating_sub(before) as f64 / then.elapsed().as_secs_f64();
        self.last = (Instant::now(), status.records_read);
        let (records, rate) = (HumanCount(status.records_read), HumanCount(rate as u64));
        let checkpoint = status.last_checkpoint.as_ref().map_or("no checkpoint yet".to_owned(), |last| {
            let (duration, bytes) = (milliseconds(last.end_to_end), HumanBytes(last.bytes_written));
            format!("checkpoint {}: {duration}, {bytes}", last.checkpoint)
        });
        let line = format!("{records} records, {rate}/s, {checkpoint}");
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => say(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// What became of a run: the table at its end.
pub struct Report {
    did_run: bool,
    rows: Vec<(String, String)>,
}

impl Report {
    fn new(job: &JobHandle, started_from: StartedFrom, elapsed: Duration, options: &JobOptions) -> Self {
        let mut report = Self { did_run: !matches!(started_from, StartedFrom::Finished(_)), rows: Vec::new() };
        if report.did_run {
            report.add_run(job, elapsed);
        }
        report.add("published in", options.out.display());
        report.add("state kept in", options.state.display());
        if !report.did_run {
            report.add("to start over", "remove both");
        }
        report
    }

    fn add_run(&mut self, job: &JobHandle, elapsed: Duration) {
        let status = job.status();
        self.add("records read in this run", HumanCount(status.records_read));
        if status.late_records > 0 {
            self.add("records dropped as late", HumanCount(status.late_records));
        }
        self.add("rows published in this run", HumanCount(rows_published(&status)));
        self.add("time", format_args!("{:.2} s", elapsed.as_secs_f64()));
        let history = job.checkpoints();
        let mut completed: Vec<_> = history.iter().filter(|one| one.aborted.is_none()).collect();
        completed.sort_by_key(|one| one.end_to_end);
        self.add("checkpoints completed", completed.len());
        if let Some(longest) = completed.last() {
            let median = completed[(completed.len() - 1) / 2].end_to_end;
            let bytes = completed.iter().map(|one| one.bytes_written).sum();
            self.add(
                "their median and longest time",
                format_args!("{}, {}", milliseconds(median), milliseconds(longest.end_to_end)),
            );
            self.add("bytes they wrote", HumanBytes(bytes));
        }
    }

    /// Whether there was anything left to do.
    pub fn did_run(&self) -> bool {
        self.did_run
    }

    /// Adds a row.
    pub fn add(&mut self, what: &str, value: impl Display) {
        self.rows.push((what.to_owned(), value.to_string()));
    }

    fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        for (what, value) in &self.rows {
            table.add_row([what, value]);
        }
        // Whoever reads it may have gone: the job is done all the same.
        let _ = writeln!(io::stdout(), "{table}");
    }
}

/// The records that left the last chain, which is the sink's in these topologies.
pub fn rows_published(status: &JobStatus) -> u64 {
    let Some(last) = status.subtasks.last() else { return 0 };
    status.subtasks.iter().filter(|subtask| subtask.chain == last.chain).map(|subtask| subtask.records_out).sum()
}
