//! Starts a job with a state that no job has made: counts of words that were kept elsewhere until now.
//!
//! ```text
//! COUNTS.csv (word,count) -> savepoint -> word_count goes on counting from there -> counts (JSON lines)
//! ```
//! `cargo run --release --example bootstrap -- COUNTS.csv TEXT`. Started again it goes on with its own state. The topology is in [`cofferdam_examples::words`].

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use cofferdam::{SavepointWriter, prelude::*};
use cofferdam_examples::words;

/// Counts the words of a text, on top of counts from a file
#[derive(Parser)]
struct Options {
    /// What there was before: lines of a word, a comma and a number, below a header
    counts: PathBuf,
    /// The text that comes on top
    text: PathBuf,
    /// Where counts are published
    #[arg(long, default_value = "out/bootstrap")]
    out: PathBuf,
    /// Where state is kept; the savepoint is put beside it
    #[arg(long, default_value = "state/bootstrap")]
    state: PathBuf,
}

fn main() -> ExitCode {
    env_logger::init();
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Options { counts, text, out, state }: &Options) -> Result<(), BoxError> {
    let savepoint = state.with_extension("savepoint");
    if !savepoint.exists() {
        let rows: Result<Vec<(String, u64)>, _> = csv::Reader::from_path(counts)?.into_deserialize().collect();
        std::fs::create_dir_all(savepoint.parent().unwrap_or(&savepoint))?;
        // The job's name and the step's, as the topology has them; 128 is what `max_parallelism` is unless set.
        SavepointWriter::new("word_count", 128)?.keyed_state("count", "value", rows?)?.write(&savepoint)?;
    }
    let topology = words::topology(FileSource::lines(text), FileSink::json_lines(out));
    let job = Engine::builder().backend(Lmdb::at(state)).from_savepoint(&savepoint).start_blocking(topology)?;
    job.wait_blocking()?;
    Ok(())
}
