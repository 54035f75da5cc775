//! Deletes one checkpoint that is kept beside the newest, while no job runs.
//!
//! The transaction counts the attempt up as well: a crash before the note leaves what a start knows as an attempt that was begun.

use cofferdam_engine::CheckpointId;

use super::{commit::Writer, environment::Failure, record::Job, retained::Retained};

impl Writer<'_, '_> {
    /// Deletes `number`, one of `retained` and not the newest, with what it alone needs. If an older one stays, what lies between that and the next goes when that one goes.
    pub(super) fn forget(
        &mut self,
        known: &Job,
        number: CheckpointId,
        retained: &[Retained],
    ) -> Result<(Job, Vec<Retained>), Failure> {
        self.check_job(known)?;
        let (dropped, kept): (Vec<_>, Vec<_>) = retained.iter().cloned().partition(|one| one.number == number);
        let checkpoint = known.checkpoint.as_ref().map(|checkpoint| checkpoint.without(number));
        let (job, _) = self.put_job(Job::new(known.attempt.next(), self.id(), checkpoint))?;
        self.drop_records(&dropped)?;
        if let Some(oldest) = kept.first() {
            self.prune(&dropped, oldest)?;
        }
        Ok((job, kept))
    }
}
