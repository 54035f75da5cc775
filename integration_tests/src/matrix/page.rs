//! The page: `docs/crash-matrix.md`.

use std::fmt::Write as _;

use cofferdam_engine::fail_point::{Party, Point};

use super::{FailPointRuns, Matrix, Part, SEEDS, Tally, parts};
use crate::schedule::Fault;

/// The command that writes the page.
const COMMAND: &str = "cargo run --release -p cofferdam-testkit --bin crash-matrix";

const NONE_BROKEN: &str = "No run broke a promise.\n";

const ALL_STRUCK: &str = "Every fault struck wherever it fits.\n";

/// How a page ends if all held.
const ALL_HELD: &str = "No run broke a promise.\nEvery fault struck wherever it fits.\n";

impl Matrix {
    /// The page that tells what came of this. The same runs make the same page.
    pub fn page(&self) -> String {
        let total = self.total();
        let sections = [self.what_was_run(&total), points(), cells(&total), self.what_was_found(&total)];
        sections.join("\n")
    }

    /// Whether a page tells that all held, and has the tables that a run would write now: the same jobs, points and faults, whatever the numbers in it.
    pub fn is_shape_of(page: &str) -> bool {
        page.ends_with(ALL_HELD) && !has_failures(page) && Self::has_tables_of(page)
    }

    fn has_tables_of(page: &str) -> bool {
        let nothing_run = parts(SEEDS).into_iter().map(|part| (part, Tally::default()));
        shape(page) == shape(&Self { parts: nothing_run.collect() }.page())
    }

    fn what_was_run(&self, total: &Tally) -> String {
        let drawn: u64 = self.parts.iter().map(|(part, _)| part.seeds).sum();
        let (queries, others): (Vec<_>, Vec<_>) =
            self.parts.iter().partition(|(part, _)| part.variant.example.is_query());
        let [queries, others] =
            [queries, others].map(|parts| parts.iter().map(|(part, tally)| part_row(part, tally)).collect::<String>());
        format!(
            "# Crash matrix

Written by `{COMMAND}`, not by hand. [torture.md](torture.md) says how to do the same with a topology of one's own.

## What was run

Whole jobs in the simulation: the engine's own state machines on one thread, in virtual time. Each run has a schedule of faults, and must publish what a
run without faults publishes; its keyed state must be the same in the end. Jobs that promise *at least once* may publish rows again, and lose none.

The reference topology ([reference.rs](../integration_tests/src/reference.rs)) has two sources, a keyed exchange, a step with two inputs and state, and a two-phase
sink. Word count and flight delays are those of the examples, over a few records. *State types* has every type of keyed state, two of them with a time to live, *operator state* list, union
and broadcast. With a *small heap* next to nothing that is stored stays in memory.

What goes by time is compared with plain loops, too. *Timers* counts by window, with timers by event time and by the clock, from two sources that are aligned. *Late windows* puts numbers into tumbling windows,
with a side output for those that come too late, and into sessions that wait for them. *Hot items* counts in sliding windows, and looks for the most in windows of their counts. *Joins* joins two streams by interval, looks for
a pattern in the pairs, and what rules of a third stream, which is broadcast, are in force. *Requests* asks a service that fails, in order and in any order, splits the answers, and gives some aside. *Triggers* has windows of so many
numbers and of all time, the best of each window, and windows whose parts come when a trigger says so, one of them its own. *Tables* joins two streams in windows and in sessions, by versions, and with what is known when a record comes,
and sees both in one step. *Clocks* has windows and sessions of the moments at which records come, of the clock, and a trigger by the clock. *Flight weather* is the example, over a few departures of three days. These jobs are exactly-once: at least once a
window may count a record twice, and has another row then, so that there is nothing to compare with.

*Savepoints*: *taken*, at moments drawn from the order, by a job that goes on: each must be whole, and from one of them the job must come to the same state. *Followed*: the process dies when it has
written one, and the job goes on from that on another backend at another parallelism. *Stopped with one*: it goes on likewise.

The first jobs are one for each backend. Those below are a selection in which each two values of two
different columns meet. In the three that follow, records are in flight in the checkpoints: barriers overtake, or numbers go round a loop. The next three take savepoints. All others but the last go by time: two of them as they
are if nothing is said, then each in five jobs, in which each two values of two different columns meet, too.

*Each* fail point: with every fault that makes sense there, at its first, second and last time; in the attempt after a failure as well; what delays or loses
something also with the death of the process after it; and that death twice in a row. *Once*: each fault at each point in one of these schedules. *Seeds*: schedules of one to five faults and an order of all channels, messages and calls, drawn from each seed from 0 on.

| topology | mode | parallelism | backend | savepoints | fail points | seeds | runs | failures |
|---|---|--:|---|---|---|--:|--:|--:|
{others}
Nexmark's queries, all of them, as the example has them, over 400 events of a minute; q2, q3 and q8 over 2,000, and q15 to q17 over 400 of more than a day. What they come to is what a database says
(`integration_tests/nexmark`). Each in five jobs, likewise.

| query | mode | parallelism | backend | savepoints | fail points | seeds | runs | failures |
|---|---|--:|---|---|---|--:|--:|--:|
{queries}
| | seeds | runs | failures |
|---|--:|--:|--:|
| **all** | {drawn} | {} | {} |

Not in these numbers: the same points, with `SIGKILL` to a real process (`cargo test -p cofferdam-testkit --test kill_suites points`), and with the other faults on real
threads (`--test armed_threads`).
",
            total.runs, total.failures
        )
    }

    fn what_was_found(&self, total: &Tally) -> String {
        let mut text = String::from("## What was found\n\n");
        if total.findings.is_empty() {
            text += NONE_BROKEN;
        }
        for finding in &total.findings {
            let _ = write!(text, "```text\n{finding}\n```\n");
        }
        let never = self.never_struck();
        text += if never.is_empty() {
            ALL_STRUCK
        } else {
            "\nFaults that fit and never struck, so that nothing is known of them:\n\n"
        };
        for (point, fault) in never {
            let _ = writeln!(text, "- {} at `{}`", fault.name(), point.name());
        }
        text
    }
}

fn part_row(part: &Part, tally: &Tally) -> String {
    let Part { variant, fail_points, seeds } = part;
    let (mode, backend, savepoints) = (variant.mode_name(), variant.backend_name(), variant.savepoints_name());
    let each = match fail_points {
        FailPointRuns::None => "",
        FailPointRuns::Once => "once",
        FailPointRuns::Each => "each",
    };
    let Tally { runs, failures, .. } = tally;
    format!(
        "| {} | {mode} | {} | {backend} | {savepoints} | {each} | {seeds} | {runs} | {failures} |\n",
        variant.example, variant.parallelism
    )
}

/// What the points are: a row each.
fn points() -> String {
    let mut text = String::from("## The fail points\n\n| point | passed by | what it is |\n|---|---|---|\n");
    for point in Point::ALL {
        let _ = writeln!(text, "| `{}` | {} | {} |", point.name(), passed_by(point), point.what());
    }
    text
}

fn passed_by(point: Point) -> &'static str {
    match point.party() {
        Party::Coordinator => "coordinator",
        Party::Subtask => "subtask",
        Party::Message => "subtask, with a message",
        Party::Store => "store",
        Party::Sink => "sink",
        Party::Opening => "opening of an attempt",
        Party::Savepoint => "export of a savepoint",
    }
}

/// Points by faults, and a row of sums.
fn cells(total: &Tally) -> String {
    let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    let mut text = format!(
        "## What struck where

Runs in which the fault struck at the point, and after the stroke those of them that broke a promise. `·`: the fault makes no sense there. A run with several
faults counts in each of its cells. The faults are explained in [torture.md](torture.md#the-faults).

| point | {} |
|---|{}
",
        names.join(" | "),
        "--:|".repeat(names.len())
    );
    for point in Point::ALL {
        let cells: Vec<_> = Fault::ALL.iter().map(|fault| cell(total, point, *fault)).collect();
        let _ = writeln!(text, "| `{}` | {} |", point.name(), cells.join(" | "));
    }
    let sums: Vec<_> = Fault::ALL.iter().map(|fault| sum(total, *fault)).collect();
    let _ = writeln!(text, "| **all** | {} |", sums.join(" | "));
    text
}

fn cell(total: &Tally, point: Point, fault: Fault) -> String {
    if !fault.fits(point) {
        return "·".to_string();
    }
    let cell = total.cells.get(&(point, fault)).copied().unwrap_or_default();
    format!("{}/{}", cell.runs, cell.failures)
}

fn sum(total: &Tally, fault: Fault) -> String {
    let cells = || total.cells.iter().filter(|((_, at), _)| *at == fault).map(|(_, cell)| cell);
    format!("{}/{}", cells().map(|cell| cell.runs).sum::<u32>(), cells().map(|cell| cell.failures).sum::<u32>())
}

/// Whether a cell of the faults' table counts a failure.
fn has_failures(page: &str) -> bool {
    let rows = page.lines().filter(|line| line.starts_with("| `") || line.starts_with("| **all**"));
    let mut cells = rows.flat_map(|row| row.split('|')).filter_map(|cell| cell.trim().split_once('/'));
    cells.any(|(runs, failures)| runs.parse::<u32>().is_ok() && failures != "0")
}

/// The cells of a page's tables, with all numbers taken for the same.
fn shape(page: &str) -> Vec<Vec<&str>> {
    let is_number = |cell: &str| cell.starts_with(|first: char| first.is_ascii_digit());
    let rows = page.lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').map(str::trim).map(|cell| if is_number(cell) { "0" } else { cell }).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        Matrix { parts: parts(7).into_iter().map(|part| (part, Tally::default())).collect() }.page()
    }

    #[test]
    fn a_page_is_out_of_date_when_a_point_a_fault_or_a_job_is_missing_and_not_when_numbers_differ() {
        assert!(Matrix::has_tables_of(&page()), "other seeds, other numbers");
        for change in
            ["| `stash` |", "| clock-back ", "| word count | exactly-once | 1 |", "An attempt is about to be opened."]
        {
            assert!(page().contains(change), "{change}");
            assert!(!Matrix::has_tables_of(&page().replace(change, "")), "{change}");
        }
    }

    #[test]
    fn a_page_that_tells_of_failures_or_of_points_not_reached_is_not_accepted() {
        let held = include_str!("../../../docs/crash-matrix.md");
        assert!(Matrix::is_shape_of(held));
        assert!(!Matrix::is_shape_of(&page()), "nothing was run");
        assert!(!Matrix::is_shape_of(&held.replacen("/0 |", "/1 |", 1)));
        assert!(!Matrix::is_shape_of(&held.replace("No run broke a promise.", "All is lost.")));
    }

    #[test]
    fn a_fault_that_never_struck_is_said_to_be_unknown() {
        assert!(page().contains("- tear at `commit.noting`"));
        assert!(page().contains("| `commit.noting` | 0/0 |"));
    }
}
