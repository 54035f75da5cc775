//! How many events a second each query reads, beside how many the generator gives.

use std::{
    hint::black_box,
    io::{self, Write as _},
    thread,
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_examples::{
    beside,
    nexmark::{
        queries::{QUERIES, Query},
        rows::Rows,
        source::Events,
    },
    paced::Paced,
    run::rows_published,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::Options;

/// Prints a line of `name=value` for the generator and for each query, or for one of them.
pub fn run(options: &Options, only: Option<&str>) -> Result<(), Error> {
    let chosen: Vec<&Query> = match only {
        Some(name) => vec![Query::named(name)?],
        None => QUERIES.iter().collect(),
    };
    let events = options.source(10_000_000);
    refuse_what_would_not_be_measured(options, &events, &chosen)?;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let parallelism = options.parallelism.unwrap_or(cores);
    let generator = rate(&events, generated(&events, parallelism));
    print(format_args!("query=generator events={} parallelism={parallelism} rate={generator:.0}", events.count()));
    for query in chosen {
        let Run { seconds, rows, checkpoints } = queried(query, &events, parallelism, options)?;
        let rate = rate(&events, seconds);
        print(format_args!(
            "query={} events={} parallelism={parallelism} seconds={seconds:.3} rate={rate:.0} rows={rows} checkpoints={checkpoints} \
             of_generator={:.3}",
            query.name,
            events.count(),
            rate / generator
        ));
    }
    Ok(())
}

/// Rates of no events are none, rows go nowhere, and a job that goes on reads only what is left.
fn refuse_what_would_not_be_measured(options: &Options, events: &Events, chosen: &[&Query]) -> Result<(), Error> {
    if events.count() == 0 {
        return Err(Error::refused("--bench measures events a second: say a number of --events above 0"));
    }
    if let Some(out) = &options.out {
        let message = format!("--bench publishes no rows: leave out '--out {}', or leave out --bench", out.display());
        return Err(Error::refused(message));
    }
    let states = options.state.iter().flat_map(|state| chosen.iter().map(move |query| state.join(query.name)));
    match states.into_iter().find(|state| beside::has_state(state)) {
        Some(state) => Err(Error::refused(format!(
            "--bench measures whole runs, and a job has begun in {} before: give --state a directory of its own",
            state.display()
        ))),
        None => Ok(()),
    }
}

struct Run {
    seconds: f64,
    rows: u64,
    checkpoints: u64,
}

/// As many threads as subtasks make the events, and drop them.
fn generated(events: &Events, parallelism: u32) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for first in 0..parallelism {
            let share = events.share(first.into(), parallelism.into());
            scope.spawn(move || share.for_each(|event| drop(black_box(event))));
        }
    });
    began.elapsed().as_secs_f64()
}

/// Runs a query to its end: with checkpoints if that is asked for, on disk if a directory is.
fn queried(query: &Query, events: &Events, parallelism: u32, options: &Options) -> Result<Run, Error> {
    let engine = Engine::builder().parallelism(parallelism).restart(RestartStrategy::None);
    let engine = match options.checkpoint_ms {
        Some(millis) => engine.checkpoints(CheckpointConfig::every(Duration::from_millis(millis))),
        None => engine,
    };
    let engine = match &options.state {
        Some(directory) => engine.backend(Lmdb::at(directory.join(query.name))),
        None => engine.backend(Memory::new()),
    };
    let began = Instant::now();
    let job = engine.start_blocking(query.topology(Paced::new(events.clone(), options.rate), Rows::Nowhere))?;
    show(&job, query, events.count());
    job.wait_blocking()?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Run { seconds, rows: rows_published(&job.status()), checkpoints: job.checkpoints().completed() })
}

/// Shows how far a query is, until all events are read or it has ended.
fn show(job: &JobHandle, query: &Query, count: u64) {
    let style = ProgressStyle::with_template("{msg:4} {bar:40} {human_pos} of {human_len} events");
    let bar = ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(query.name);
    loop {
        let status = job.status();
        bar.set_position(status.records_read);
        if status.records_read >= count || !matches!(status.phase, JobPhase::Starting | JobPhase::Running) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    bar.finish_and_clear();
}

fn rate(events: &Events, seconds: f64) -> f64 {
    events.count() as f64 / seconds
}

fn print(line: std::fmt::Arguments<'_>) {
    // Whoever reads it may have gone.
    let _ = writeln!(io::stdout(), "{line}");
}
