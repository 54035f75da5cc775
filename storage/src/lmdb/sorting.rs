//! Commits for look-ups: each group's blocks sorted into one, and some groups folded.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, StateAddress, StateBlock},
        store::{StoreError, StoreErrorKind},
    },
};
use heed::{RoTxn, WithoutTls};

use super::{
    block,
    catalog::{Catalog, Group, Index},
    commit::{Committed, Next, Writer},
    environment::Failure,
    fold::{Candidate, Candidates, Credit, Limits},
    layout::BlockKey,
    merge::{self, Pieces},
    reader::{self, Part, Scan},
    record::Job,
    retained::Retained,
    run::{self, Run, Runs, Sorted},
};
use crate::plan::{GroupChange, Plan};

/// What a commit brings. Each group is sorted when it is its turn, so that no more than one is in memory twice.
pub(super) struct Sorting<'a> {
    /// What is stored.
    pub(super) runs: Arc<Runs>,
    pub(super) limits: Limits,
    /// With what this commit earns.
    pub(super) credit: Credit,
    plan: Plan<'a>,
}

impl<'a> Sorting<'a> {
    pub(super) fn of(plan: Plan<'a>, runs: Arc<Runs>, limits: Limits, mut credit: Credit) -> Self {
        credit.earn(plan.values().flat_map(BTreeMap::values).map(sorted_bytes).sum(), limits);
        Self { runs, limits, credit, plan }
    }

    fn get(&self, address: &StateAddress, group: KeyGroup) -> Option<&GroupChange<'a>> {
        self.plan.get(address)?.get(&group)
    }

    /// An error if what comes is no block.
    fn sort(&self, address: &StateAddress, group: KeyGroup, change: &GroupChange<'_>) -> Result<Sorted, StoreError> {
        let kind = if change.replaces { BlockKind::Full } else { BlockKind::Changes };
        let blocks = change.blocks.iter().map(|(_, block)| *block);
        merge::sort(group, kind, self.limits.part, blocks).map_err(|cause| misuse(address, group, cause))
    }
}

/// How long a change is when it is sorted, if no key comes more than once: each entry has a byte that names its version.
pub(super) fn sorted_bytes(change: &GroupChange<'_>) -> u64 {
    change.blocks.iter().map(|(_, block)| block.bytes.len() as u64 + u64::from(block.entries)).sum()
}

fn misuse(address: &StateAddress, group: KeyGroup, cause: BoxError) -> StoreError {
    let message = format!(
        "refused to store a block of state {address}, key group {group}: it cannot be read; nothing was written, and this is a bug in the engine"
    );
    StoreError::new(StoreErrorKind::Io, message, Some(cause))
}

/// A checkpoint as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) number: CheckpointId,
    pub(super) catalog: &'a Catalog,
}

impl Writer<'_, '_> {
    /// Puts what `sorting` brings, folds groups of `stored`, and says what runs there are then.
    pub(super) fn put_sorted(
        &mut self,
        next: &mut Next,
        sorting: &Sorting<'_>,
        stored: Option<Stored<'_>>,
    ) -> Result<(Runs, Credit), Failure> {
        let (mut runs, mut credit) = (Runs::clone(&sorting.runs), sorting.credit);
        let mut candidates =
            Candidates::of(&sorting.runs, sorting.limits, |address, group| sorting.get(address, group));
        while let Some(Candidate { address, group, incoming, .. }) = candidates.next(&mut credit) {
            let Some(stored) = stored else { break };
            let sorted = incoming.map(|change| sorting.sort(address, group, change)).transpose()?;
            let folded = self.fold(stored, address, group, sorted.as_ref(), sorting.limits)?;
            credit.pay(folded.block.bytes.len() as u64);
            self.put_run(next, &mut runs, address, &folded)?;
        }
        for (address, groups) in &sorting.plan {
            next.touch(address);
            for (group, change) in groups {
                if !next.is_full(address, *group) {
                    let sorted = sorting.sort(address, *group, change)?;
                    self.put_run(next, &mut runs, address, &sorted)?;
                }
            }
        }
        Ok((runs, credit))
    }

    fn put_run(
        &mut self,
        next: &mut Next,
        runs: &mut Runs,
        address: &StateAddress,
        sorted: &Sorted,
    ) -> Result<(), Failure> {
        let group = sorted.block.group;
        if sorted.is_full() {
            self.supersede(next, address, group, next.number)?;
        }
        self.put_one_sorted(next, address, sorted)?;
        let run = Run::of(next.number, sorted).map_err(heed::Error::Encoding)?;
        runs.add(address, next.touch(address).number, group, sorted.block.kind, run);
        Ok(())
    }

    fn put_one_sorted(&mut self, next: &mut Next, address: &StateAddress, sorted: &Sorted) -> heed::Result<()> {
        let (number, group) = (next.number, sorted.block.group);
        let index = next.touch(address);
        let key = BlockKey::first_of(index.number, group, number);
        let tally = &mut index.groups.entry(group).or_default().tally;
        next.bytes += block::put_sorted(self.transaction, self.databases, key, sorted, tally)?;
        Ok(())
    }

    /// All of a group in one block: what is stored, and what comes now.
    fn fold(
        &self,
        stored: Stored<'_>,
        address: &StateAddress,
        group: KeyGroup,
        incoming: Option<&Sorted>,
        limits: Limits,
    ) -> Result<Sorted, StoreError> {
        let transaction: &RoTxn<'_, WithoutTls> = self.transaction;
        let nothing = Index::default();
        let index = stored.catalog.states.get(address).map_or(&nothing, |index| index);
        let scan = Scan { directory: self.directory, state: address, index, checkpoint: stored.number };
        let range = KeyGroupRange { start: group.0, end: group.0 + 1 };
        let mut folded = None;
        scan.each_group(transaction, self.databases, range, &mut |_, parts| {
            folded = Some(fold_parts(&scan, group, parts, incoming, limits)?);
            Ok(())
        })?;
        folded.ok_or_else(|| scan.cut_short(group))
    }

    /// Sorts some of `unsorted`, groups of the newest of `kept`, in place: they become one full block each, of the same checkpoint. Says how many.
    pub(super) fn sort_in_place(
        &mut self,
        known: &Job,
        kept: &[Retained],
        newest: (&CheckpointMetadata, &Catalog),
        unsorted: &[(StateAddress, KeyGroup)],
        limits: Limits,
    ) -> Result<(Committed, usize), Failure> {
        self.check_job(known)?;
        let (metadata, catalog) = newest;
        let number = metadata.checkpoint;
        let mut next = Next::new(number, catalog.clone(), kept.len() == 1);
        let mut done = 0;
        for (address, group) in unsorted {
            if next.bytes >= limits.at_once && done > 0 {
                break;
            }
            let sorted = self.fold(Stored { number, catalog }, address, *group, None, limits)?;
            // What others share is before this checkpoint's blocks.
            let from = if next.replaces { CheckpointId(0) } else { number };
            let index = next.touch(address);
            index.groups.insert(*group, Group { since: number, ..Group::default() });
            let index = index.number;
            self.delete_between(index, *group, from, number.next())?;
            self.put_one_sorted(&mut next, address, &sorted)?;
            done += 1;
        }
        let others = &kept[..kept.len() - 1];
        let job = known.checkpoint.clone();
        let committed = self.finish(next, known, metadata, job, others)?;
        Ok((committed, done))
    }
}

fn fold_parts(
    scan: &Scan<'_>,
    group: KeyGroup,
    parts: &[Part<'_>],
    incoming: Option<&Sorted>,
    limits: Limits,
) -> Result<Sorted, StoreError> {
    let mut owned = Vec::new();
    for block in reader::blocks(parts) {
        owned.push(sort_block(scan, group, block, limits)?);
    }
    let mut blocks = Vec::new();
    for (block, sorted) in reader::blocks(parts).zip(&owned) {
        blocks.push(match sorted {
            Some(sorted) => sorted.pieces().collect(),
            None => pieces(block).ok_or_else(|| scan.cut_short(group))?,
        });
    }
    blocks.extend(incoming.map(|sorted| sorted.pieces().collect::<Pieces<'_>>()));
    merge::merge(group, limits.part, blocks).map_err(|cause| scan.unreadable(group, cause))
}

/// Sorts a stored block; `None` if it is.
fn sort_block(
    scan: &Scan<'_>,
    group: KeyGroup,
    parts: &[Part<'_>],
    limits: Limits,
) -> Result<Option<Sorted>, StoreError> {
    if run::is_sorted(first(parts).ok_or_else(|| scan.cut_short(group))?) {
        return Ok(None);
    }
    let (head, bytes) = reader::join(parts).ok_or_else(|| scan.cut_short(group))?;
    let block = StateBlock { group, kind: head.kind, entries: head.entries, bytes: bytes.into_owned() };
    let sorted = merge::sort(group, head.kind, limits.part, [&block]);
    sorted.map(Some).map_err(|cause| scan.unreadable(group, cause))
}

/// The bytes of part 0.
fn first<'t>(parts: &[Part<'t>]) -> Option<&'t [u8]> {
    let part = parts.first().filter(|part| part.key.part == 0)?;
    Some(block::split_head(part.bytes)?.1)
}

/// The entries of a sorted block's parts; `None` if one is missing.
fn pieces<'t>(parts: &[Part<'t>]) -> Option<Pieces<'t>> {
    let (head, start) = block::split_head(parts.first()?.bytes)?;
    let rest = &parts[1..];
    let length = start.len() + rest.iter().map(|part| part.bytes.len()).sum::<usize>();
    let in_order = parts.iter().zip(0..).all(|(part, number)| part.key.part == number);
    let pieces = [run::entries_of(0, start)].into_iter().chain(rest.iter().map(|part| part.bytes));
    (in_order && length as u64 == head.length).then(|| pieces.collect())
}

/// What a look through a checkpoint finds.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) runs: Runs,
    /// Groups with blocks as they were frozen.
    pub(super) unsorted: Vec<(StateAddress, KeyGroup)>,
}

impl Survey {
    /// Takes in one group, found whole.
    pub(super) fn add(&mut self, scan: &Scan<'_>, group: KeyGroup, parts: &[Part<'_>]) -> Result<(), StoreError> {
        for block in reader::blocks(parts) {
            if !run::is_sorted(first(block).ok_or_else(|| scan.cut_short(group))?) {
                self.unsorted.push((scan.state.clone(), group));
                return Ok(());
            }
            let (head, _) = block::split_head(block[0].bytes).ok_or_else(|| scan.cut_short(group))?;
            let mut run = Run::new(block[0].key.checkpoint, head.entries);
            for part in pieces(block).ok_or_else(|| scan.cut_short(group))? {
                run.add_part(part).map_err(|cause| scan.unreadable(group, cause))?;
            }
            self.runs.add(scan.state, scan.index.number, group, head.kind, run);
        }
        Ok(())
    }
}
