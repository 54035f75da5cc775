//! The `flight_delays` example with a fail point: it kills its own process between a checkpoint's durable commit and the publication
//! of what the checkpoint prepared. The kill suites run it in place of the example, on the same state and output.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use clap::Parser;
use cofferdam::prelude::*;
use cofferdam_engine::{Ownership, SinkContext, SubtaskIndex, TwoPhaseSink};
use cofferdam_examples::{
    flights,
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job, say},
};
use rustix::process::{Signal, getpid, kill_process};

/// Adds up delays until it is about to publish, and is gone
#[derive(Parser)]
struct Options {
    /// Which call that publishes is not made any more, counted from 1
    #[arg(long)]
    kill_at: u64,

    /// Make that call, and die before anybody learns that it was made
    #[arg(long)]
    after: bool,

    #[arg(long)]
    input: PathBuf,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { kill_at, after, input, job } = options::parse("flight_delays");
    run(|| {
        let departures = Paced::new(FileSource::csv(&input), job.rate);
        let rows = KilledAtCommit { sink: FileSink::json_lines(&job.out), kill_at, after, calls: Arc::default() };
        run_job(flights::topology(departures, rows), &[input], &job)
    })
}

/// A sink whose `kill_at`-th commit is its process's last deed. In all else, its stored forms included, it is the sink inside.
struct KilledAtCommit<S> {
    sink: S,
    kill_at: u64,
    after: bool,
    calls: Arc<AtomicU64>,
}

impl<T, S: TwoPhaseSink<T>> TwoPhaseSink<T> for KilledAtCommit<S> {
    type Writer = S::Writer;
    type Frozen = S::Frozen;
    type Transaction = S::Transaction;
    type WriterState = S::WriterState;

    fn owner(&self) -> Result<Ownership, BoxError> {
        self.sink.owner()
    }

    fn place(&self) -> String {
        self.sink.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.sink.claim(context)
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<S::Transaction>,
        writers: &[S::WriterState],
    ) -> Result<(), BoxError> {
        self.sink.recover(context, transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<S::WriterState>,
    ) -> Result<S::Writer, BoxError> {
        self.sink.open(context, subtask, restored)
    }

    fn pre_commit(&self, frozen: S::Frozen) -> Result<Option<S::Transaction>, BoxError> {
        self.sink.pre_commit(frozen)
    }

    fn commit(&self, transaction: &S::Transaction) -> Result<(), BoxError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 != self.kill_at {
            return self.sink.commit(transaction);
        }
        if self.after {
            self.sink.commit(transaction)?;
        }
        let moment = if self.after { "after" } else { "before" };
        say(format_args!("killed {moment} publishing {}", serde_json::to_string(transaction)?));
        kill_process(getpid(), Signal::KILL)?;
        loop {
            // The signal is on its way; nothing more may be done.
            thread::park();
        }
    }
}
