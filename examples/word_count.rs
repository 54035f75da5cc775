//! Counts the words of text files, and publishes every word's updated count.
//!
//! ```text
//! lines -> flat_map words -> key_by word -> fold count -> counts (JSON lines)
//! ```
//! The topology is in [`cofferdam_examples::words`]. A line that is not UTF-8 is left out and counted.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use cofferdam::{connector::FileSplit, prelude::*};
use cofferdam_examples::{
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job},
    several::Several,
    words,
};

/// Counts the words of text files
#[derive(Parser)]
struct Options {
    /// Text, plain or gzip: paths or globs; a file named twice is read once
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { files, job } = options::parse("word_count");
    run(|| {
        let sources = files.iter().map(|file| FileSource::lines(file).on_bad_record(BadRecord::Skip)).collect();
        let sources = Several::new(sources, FileSplit::canonical_path);
        let skipped = sources.first().map(FileSource::skipped_records).unwrap_or_default();
        let lines = Paced::new(sources, job.rate);
        let counts = FileSink::json_lines(&job.out);
        let mut report = run_job(words::topology(lines, counts), &files, &job)?;
        if report.did_run() {
            report.add("lines skipped (not UTF-8)", skipped.count());
        }
        Ok(report)
    })
}
