//! Adds up orders in a SQLite database, each of them once.
//!
//! ```text
//! orders -> filter, not cancelled -> accounts (a table; each row is added to)
//! ```
//! The topology is in [`cofferdam_examples::orders`], the sink in [`cofferdam_examples::sqlite_sink`]. Kill it at any moment and start it again: the sums come out right.

use std::process::ExitCode;

use clap::Parser;
use cofferdam::prelude::*;
use cofferdam_examples::{
    options::{self, JobOptions},
    orders,
    paced::Paced,
    run::{run, run_job},
    settings,
};

/// Adds up orders in a SQLite database
#[derive(Parser)]
struct Options {
    /// Make up so many orders: a resumed run has to be told the same number
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    orders: u64,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { orders, job } = options::parse("orders_to_sqlite");
    run(|| {
        settings::check(&job.state, [("--orders", orders.into())])?;
        let orders = Paced::new(Generator::bounded(orders, orders::order), job.rate);
        let accounts = orders::accounts(job.out.join("orders.db"));
        run_job(orders::topology(orders, accounts), &[], &job)
    })
}
