//! What a job has read before it goes on.

use std::path::Path;

use cofferdam::{connector::NextNumber, prelude::*};

use super::source::{EventSplit, Events};

/// Refuses events that end in front of one that the job whose state is in `state` has read: its rows would be of neither number of events.
pub fn check(state: &Path, events: &Events) -> Result<(), Error> {
    let (read, count) = (last_read(state).unwrap_or(0), events.count());
    if read <= count {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the job in {} has read event number {read} already, and is now given the first {count}: give it at least {read} (`--events {read}`), or remove state and output to start over",
        state.display()
    )))
}

/// The number of the last event that was read, counted from 1, if there is any. If something is wrong with the state the engine will say so.
fn last_read(state: &Path) -> Option<u64> {
    let inspection = Lmdb::at(state).inspect().ok()?;
    let newest = inspection.checkpoint(*inspection.checkpoints().last()?).ok()?;
    let splits = newest.positions::<EventSplit, NextNumber>("events").ok()?;
    let last = splits.iter().flatten().filter_map(|split| {
        let (next, numbers) = (split.position?.0, split.split.numbers);
        (next > numbers.first).then(|| next - numbers.step + 1)
    });
    last.max()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{queries::Query, rows::Rows},
        *,
    };
    use crate::paced::Paced;

    #[test]
    fn a_job_is_not_gone_on_with_by_fewer_events_than_it_has_read() {
        for parallelism in [2, 3] {
            let directory = tempfile::tempdir().unwrap();
            let (state, out) = (directory.path().join("state"), directory.path().join("out"));
            let check = |count| check(&state, &Events::new(count));
            check(0).unwrap();
            let events = Paced::new(Events::new(299), None);
            let topology = Query::named("q0").unwrap().topology(events, Rows::Files(out));
            let engine = Engine::builder().parallelism(parallelism).backend(Lmdb::at(&state));
            engine.start_blocking(topology).unwrap().wait_blocking().unwrap();
            check(299).unwrap();
            check(300).unwrap();
            let error = check(298).unwrap_err().to_string();
            assert!(error.contains("read event number 299 already") && error.contains("first 298:"), "{error}");
        }
    }
}
