//! Opens subtasks, as many at a time as there are cores.

use std::sync::Arc;

use cofferdam_engine::{Error, ErrorKind, failed_records::FailedRecords, topology::plan::Deployed};

/// Opens subtasks, which are told what records have failed. May block: to be run on a blocking thread.
pub(crate) fn open_subtasks(deployed: &mut [Deployed], failed: &Arc<FailedRecords>) -> Result<(), Error> {
    deployed.iter_mut().for_each(|one| one.context.failed_records = failed.clone());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    for together in deployed.chunks_mut(cores) {
        std::thread::scope(|scope| {
            let opening: Vec<_> =
                together.iter_mut().map(|one| scope.spawn(|| one.subtask.open(&one.context))).collect();
            opening.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Panic, "a subtask panicked while it was opened", None))
                })
            })
        })?;
    }
    Ok(())
}
