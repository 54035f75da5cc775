//! The events as a file of JSON lines.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use cofferdam::prelude::*;
use cofferdam_examples::nexmark::source::Events;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Options;

/// How many events there are between two updates of the bar.
const SHOWN_EVERY: u64 = 4096;

/// Writes them, in their order.
pub fn write(options: &Options) -> Result<(), Error> {
    let Some(path) = &options.out else {
        return Err(Error::refused("`events` writes a file: name it with --out"));
    };
    write_to(path, &options.source(1_000_000))
        .map_err(|cause| Error::refused(format!("cannot write '{}': {cause}", path.display())))
}

fn write_to(path: &Path, events: &Events) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} events, {eta} left");
    let bar = ProgressBar::new(events.count()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    for event in events.iter() {
        serde_json::to_writer(&mut file, &event)?;
        file.write_all(b"\n")?;
        if event.seq % SHOWN_EVERY == 0 {
            bar.set_position(event.seq);
        }
    }
    bar.finish_and_clear();
    file.into_inner()?.sync_all()
}
