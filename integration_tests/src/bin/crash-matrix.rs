//! Writes `docs/crash-matrix.md`: runs jobs under every fault at every fail point and under drawn schedules, and tells what came of it.
//!
//! The exit status is 1 if a promise was broken, if a fault that fits a point never struck there, or if `--check` finds the page out of date.

// A program: what it prints is its result, and its progress.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use cofferdam_testkit::matrix::{Matrix, Part, SEEDS, parts, quick_parts};

/// Where the page is kept.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/crash-matrix.md");

/// Runs jobs under every fault at every fail point, and writes docs/crash-matrix.md
#[derive(Parser)]
#[command(name = "crash-matrix")]
struct Options {
    /// A bounded part, for CI; writes no page unless --out says where
    #[arg(long)]
    quick: bool,

    /// Fails at once if the committed page tells of failures, or its tables have other rows and columns than they would have now; writes nothing
    #[arg(long, conflicts_with = "out")]
    check: bool,

    /// Drawn schedules of the reference topology [default: 10000, or 400 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,

    /// Only jobs whose description has this in it, as "joins", "LMDB" or "q1,"; writes no page unless --out says where
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Where the page is written
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Options {
    fn parts(&self) -> Vec<Part> {
        let all = if self.quick { quick_parts(self.seeds.unwrap_or(400)) } else { parts(self.seeds.unwrap_or(SEEDS)) };
        let is_wanted = |part: &Part| self.only.as_ref().is_none_or(|text| part.variant.to_string().contains(text));
        all.into_iter().filter(is_wanted).collect()
    }

    fn page(&self) -> Option<&Path> {
        let committed = (!self.quick && !self.check && self.only.is_none()).then_some(Path::new(PAGE));
        self.out.as_deref().or(committed)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(options: &Options) -> io::Result<bool> {
    if options.check && !Matrix::is_shape_of(&fs::read_to_string(PAGE)?) {
        eprintln!("docs/crash-matrix.md is out of date: write it anew with `just crash-matrix`");
        return Ok(false);
    }
    let named = |page: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", page.display()));
    let parts = options.parts();
    if parts.is_empty() {
        let only = options.only.as_deref().unwrap_or_default();
        let message = format!(
            "no job's description has '{only}' in it: they are those of docs/crash-matrix.md, as 'q1, exactly-once'"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut page = None;
    if let Some(path) = options.page() {
        // Now and not after everything was run: a page that cannot be written is known at once.
        let file = fs::File::options().create(true).append(true).open(path).map_err(|error| named(path, error))?;
        page = Some((path, file));
    }
    let matrix = run_parts(&parts);
    for finding in matrix.total().findings {
        println!("{finding}");
    }
    if options.only.is_none() {
        for (point, fault) in matrix.never_struck() {
            println!("{fault} at {} never struck", point.name());
        }
    }
    if let Some((path, file)) = page {
        drop(file);
        fs::write(path, matrix.page()).map_err(|error| named(path, error))?;
    }
    Ok(if options.only.is_some() { matrix.total().findings.is_empty() } else { matrix.holds() })
}

fn run_parts(parts: &[Part]) -> Matrix {
    let mut matrix = Matrix::default();
    let begun = Instant::now();
    for (number, part) in (1..).zip(parts) {
        let part_begun = Instant::now();
        let tally = part.run(|runs| eprintln!("{number}/{}: {}: {runs} runs", parts.len(), part.variant));
        if part.seeds > 0 && number == parts.len() {
            println!("{}, drawn: {}", part.variant, pace(tally.runs, part_begun.elapsed()));
        }
        matrix.parts.push((*part, tally));
    }
    let total = matrix.total();
    println!("{} failures; {}", total.failures, pace(total.runs, begun.elapsed()));
    matrix
}

fn pace(runs: u32, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{runs} schedules in {seconds:.1} s, {:.0} a minute", f64::from(runs) / seconds * 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_of_nothing_is_an_error() {
        let options = Options::parse_from(["crash-matrix", "--only", "no such job"]);
        assert!(run(&options).unwrap_err().to_string().contains("no such job"));
    }
}
