//! What goes with checkpoints that are kept no longer: what comes before all that the oldest one kept needs, or behind the one gone back to.

use std::ops::Bound;

use cofferdam_engine::CheckpointId;
use heed::types::{Bytes, DecodeIgnore};

use super::{
    catalog::Index,
    commit::Writer,
    environment::Failure,
    layout::{BlockKey, index_key, written_with},
    record::Job,
    retained::Retained,
};

impl Writer<'_, '_> {
    /// Deletes what only `dropped` needed, when `oldest` is the oldest one kept.
    ///
    /// Usually one is dropped and both can be read: then only what differs between the two is touched. What cannot be compared is deleted unread. If
    /// `oldest` cannot be read, what it needs is unknown, and all stays until it goes itself.
    pub(super) fn prune(&mut self, dropped: &[Retained], oldest: &Retained) -> heed::Result<()> {
        // What lies behind a pinned one stays until that goes.
        let dropped: Vec<_> = dropped.iter().filter(|one| one.number < oldest.number).collect();
        let (Some(_), Some(catalog)) = (dropped.last(), &oldest.catalog) else { return Ok(()) };
        let before = match dropped[..] {
            [one] => one.catalog.as_ref(),
            _ => None,
        };
        for (address, index) in &catalog.states {
            let Some(before) = before else {
                self.prune_state(index, None)?;
                continue;
            };
            // What is new to the oldest one may have been there in others, dropped while an older one was pinned.
            let before = before.states.get(address);
            if before.is_none_or(|before| before.written != index.written) {
                self.prune_state(index, before.map(|before| &**before))?;
            }
        }
        Ok(())
    }

    fn prune_state(&mut self, index: &Index, before: Option<&Index>) -> heed::Result<()> {
        let (first, end) = (index_key(index.number, CheckpointId(0)), index.key());
        let range = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
        self.databases.checkpoint.delete_range(self.transaction, &range)?;
        for (number, group) in &index.groups {
            let is_same = |before: &Index| before.groups.get(number).is_some_and(|before| before.since == group.since);
            if !before.is_some_and(is_same) {
                self.delete_before(index.number, *number, group.since)?;
            }
        }
        Ok(())
    }

    /// Makes `number`, which is kept, the newest, and deletes everything of newer ones. Needs nothing of those to be readable.
    pub(super) fn go_back(&mut self, known: &Job, number: CheckpointId) -> Result<Job, Failure> {
        self.check_job(known)?;
        let databases = self.databases;
        let is_newer = |key: &[u8]| written_with(key).is_none_or(|written| written > number);
        self.delete_where(&databases.checkpoint, is_newer)?;
        let is_newer = |key: &[u8]| BlockKey::decode(key).is_none_or(|key| key.checkpoint > number);
        self.delete_where(&databases.block, is_newer)?;
        let checkpoint = known.checkpoint.as_ref().map(|checkpoint| checkpoint.back_to(number));
        let (job, _) = self.put_job(Job::new(known.attempt, self.id(), checkpoint))?;
        Ok(job)
    }

    /// Looks at every key, and at no value.
    fn delete_where(
        &mut self,
        database: &heed::Database<Bytes, Bytes>,
        is_outdated: impl Fn(&[u8]) -> bool,
    ) -> heed::Result<()> {
        let mut outdated = Vec::new();
        for entry in database.remap_data_type::<DecodeIgnore>().iter(self.transaction)? {
            let (key, ()) = entry?;
            if is_outdated(key) {
                outdated.push(key.to_vec());
            }
        }
        for key in outdated {
            database.delete(self.transaction, &key)?;
        }
        Ok(())
    }
}
