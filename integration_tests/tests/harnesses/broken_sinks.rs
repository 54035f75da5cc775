//! Sinks that break one clause each: the harness names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, JobId, Ownership, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink,
};
use cofferdam_testkit::{BrokenClause, SinkClause, SinkHarness};
use serde::{Deserialize, Serialize};

/// What is wrong with a [`Shelf`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Says that a new place is another job's.
    OwnedByNobody,
    /// Forgets whose the place is.
    OwnerUnknown,
    /// The claim is not durable.
    ClaimInMemory,
    /// The claim can come only once.
    ClaimOnce,
    /// Another job's claim seems to succeed.
    ClaimDoesNothing,
    /// A record is refused.
    WriteFails,
    /// Publishes when it prepares.
    PreCommitPublishes,
    /// Publishes each record at once.
    WritePublishes,
    /// What was handed over stays in the writer.
    FrozenTwice,
    /// What is written behind the barrier goes into what was handed over.
    FrozenShared,
    /// What was held back is forgotten.
    FreezeLoses,
    /// Holds back as at any other checkpoint.
    LastHeldBack,
    /// Publishes nothing.
    CommitDoesNothing,
    /// Publishes half.
    CommitHalf,
    /// Publishes again.
    CommitAppends,
    /// Fails when there is nothing left to publish.
    CommitOnce,
    /// Subtasks write to one file.
    SubtasksMeet,
    /// A writer goes on with what one that died had been given.
    AttemptsMeet,
    /// Prepares in the memory of the process.
    PreparedInMemory,
    /// Prepares in the place of what was prepared before.
    PreparedReplaced,
    /// Publishes what it is given though it was published.
    RecoverAppends,
    /// Publishes nothing.
    RecoverDoesNothing,
    /// Leaves what is not named, and goes on with it.
    LeftoversStay,
    /// The next writer begins anew.
    StateIgnored,
    /// A writer takes up the work of one other only.
    StateOfOne,
    /// The state is what is held back, and the next checkpoint's.
    StateTooMuch,
    /// Publishes what it is to give up.
    AbortPublishes,
    /// Gives up everything that is prepared.
    AbortTakesAll,
    /// Fails when there is nothing left to give up.
    AbortOnce,
    /// Says that what is prepared is published.
    PublishedTooFar,
    /// Says what was published first.
    PublishedStale,
    /// Forgets with the process how far it has published.
    PublishedInMemory,
    /// Says no of what was published.
    PreparedUnknown,
    /// Says yes of what is not here, and publishes nothing of it.
    PreparedAnywhere,
    /// Takes what it is asked for.
    PreparedTaken,
    /// Says no of what was held back.
    BegunUnknown,
    /// Publishes what it is asked for.
    BegunPublishes,
}

/// Where a job, an attempt and a subtask put what they prepare for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(Attempt, SubtaskIndex, CheckpointId);

#[derive(Default)]
struct Disk {
    owner: Option<JobId>,
    pending: BTreeMap<Name, Vec<u64>>,
    published: Vec<u64>,
    /// Checkpoints of which something is published.
    checkpoints: BTreeSet<CheckpointId>,
}

/// Publishes numbers, at every second checkpoint.
struct Shelf {
    fault: Fault,
    disk: Arc<Mutex<Disk>>,
    /// What a crash takes with it.
    memory: Mutex<Disk>,
    /// Of every writer opened, likewise.
    rows: Mutex<BTreeMap<SubtaskIndex, Arc<Mutex<Vec<u64>>>>>,
}

impl Shelf {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    fn pending_in(&self) -> MutexGuard<'_, Disk> {
        if self.fault == Fault::PreparedInMemory { self.memory.lock().unwrap() } else { self.disk() }
    }

    fn take(&self, name: &Name) -> Option<Vec<u64>> {
        let mut disk = self.pending_in();
        match self.fault {
            Fault::CommitAppends => disk.pending.get(name).cloned(),
            _ => disk.pending.remove(name),
        }
    }
}

impl TwoPhaseSink<u64> for Shelf {
    type Writer = Writer;
    type Frozen = (Name, Arc<Mutex<Vec<u64>>>);
    type Transaction = (Name, Vec<u64>);
    type WriterState = Vec<u64>;

    fn owner(&self) -> Result<Ownership, BoxError> {
        let owner = match self.fault {
            Fault::ClaimInMemory => self.memory.lock().unwrap().owner,
            Fault::OwnerUnknown => None,
            Fault::OwnedByNobody => Some(self.disk().owner.unwrap_or(JobId(0))),
            _ => self.disk().owner,
        };
        Ok(owner.map_or(Ownership::Unclaimed, Ownership::Claimed))
    }

    fn place(&self) -> String {
        "a shelf".to_string()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        let mut memory = self.memory.lock().unwrap();
        let mut disk = self.disk();
        let owner = if self.fault == Fault::ClaimInMemory { &mut memory.owner } else { &mut disk.owner };
        match owner {
            Some(_) if self.fault == Fault::ClaimOnce => Err("it has been claimed".into()),
            Some(_) if self.fault == Fault::ClaimDoesNothing => Ok(()),
            Some(owner) if *owner != context.job => Err("it is taken".into()),
            owner => {
                *owner = Some(context.job);
                Ok(())
            }
        }
    }

    fn published(&self, _context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        let (memory, disk) = (self.memory.lock().unwrap(), self.disk());
        Ok(match self.fault {
            Fault::PublishedTooFar => {
                disk.pending.keys().map(|name| name.2).chain(disk.checkpoints.last().copied()).max()
            }
            Fault::PublishedStale => disk.checkpoints.first().copied(),
            Fault::PublishedInMemory => memory.checkpoints.last().copied(),
            _ => disk.checkpoints.last().copied(),
        })
    }

    fn has_prepared(&self, _context: &SinkContext, (name, _): &(Name, Vec<u64>)) -> Result<bool, BoxError> {
        let is_pending = self.pending_in().pending.contains_key(name);
        Ok(match self.fault {
            Fault::PreparedUnknown => is_pending,
            Fault::PreparedAnywhere => true,
            Fault::PreparedTaken => self.take(name).is_some() || self.disk().checkpoints.contains(&name.2),
            _ => is_pending || self.disk().checkpoints.contains(&name.2),
        })
    }

    fn has_begun(&self, _context: &SinkContext, held: &Vec<u64>) -> Result<bool, BoxError> {
        if self.fault == Fault::BegunPublishes {
            self.disk().published.extend(held);
        }
        Ok(self.fault != Fault::BegunUnknown || held.is_empty())
    }

    fn recover(
        &self,
        _context: &SinkContext,
        transactions: Vec<(Name, Vec<u64>)>,
        _writers: &[Vec<u64>],
    ) -> Result<(), BoxError> {
        for (name, rows) in &transactions {
            match self.fault {
                Fault::RecoverAppends => self.disk().published.extend(rows),
                Fault::RecoverDoesNothing => {}
                Fault::CommitOnce => drop(self.take(name).map(|rows| self.disk().published.extend(rows))),
                _ => self.commit(&(name.clone(), rows.clone()))?,
            }
        }
        if self.fault != Fault::LeftoversStay {
            self.disk().pending.clear();
        }
        Ok(())
    }

    fn open(&self, context: &SinkContext, subtask: SubtaskIndex, restored: Vec<Vec<u64>>) -> Result<Writer, BoxError> {
        let rows = match self.fault {
            Fault::StateIgnored => Vec::new(),
            Fault::StateOfOne => restored.into_iter().next().unwrap_or_default(),
            _ => restored.concat(),
        };
        let subtask = if self.fault == Fault::SubtasksMeet { SubtaskIndex(0) } else { subtask };
        let attempt = if self.fault == Fault::LeftoversStay { Attempt(0) } else { context.attempt };
        let mut rows = Arc::new(Mutex::new(rows));
        if self.fault == Fault::AttemptsMeet {
            rows = self.rows.lock().unwrap().entry(subtask).or_insert(rows).clone();
        }
        Ok(Writer { fault: self.fault, attempt, subtask, rows, disk: self.disk.clone() })
    }

    fn pre_commit(&self, (name, rows): Self::Frozen) -> Result<Option<(Name, Vec<u64>)>, BoxError> {
        let rows = rows.lock().unwrap().clone();
        if rows.is_empty() {
            return Ok(None);
        }
        if self.fault == Fault::PreCommitPublishes {
            self.disk().published.extend(&rows);
            return Ok(None);
        }
        let mut disk = self.pending_in();
        if self.fault == Fault::PreparedReplaced {
            disk.pending.retain(|other, _| other.1 != name.1);
        }
        if self.fault == Fault::LeftoversStay {
            disk.pending.entry(name.clone()).or_default().extend(&rows);
        } else {
            disk.pending.insert(name.clone(), rows.clone());
        }
        Ok(Some((name, rows)))
    }

    fn abort(&self, transaction: &(Name, Vec<u64>)) -> Result<(), BoxError> {
        match self.fault {
            Fault::AbortPublishes => self.commit(transaction),
            Fault::AbortTakesAll => {
                self.disk().pending.clear();
                Ok(())
            }
            Fault::AbortOnce => self.take(&transaction.0).map(drop).ok_or_else(|| "there is no such file".into()),
            _ => {
                self.take(&transaction.0);
                Ok(())
            }
        }
    }

    fn commit(&self, (name, _): &(Name, Vec<u64>)) -> Result<(), BoxError> {
        if self.fault == Fault::CommitDoesNothing {
            return Ok(());
        }
        match self.take(name) {
            Some(mut rows) => {
                if self.fault == Fault::CommitHalf {
                    rows.truncate(rows.len() / 2);
                }
                self.memory.lock().unwrap().checkpoints.insert(name.2);
                let mut disk = self.disk();
                disk.published.extend(rows);
                disk.checkpoints.insert(name.2);
                Ok(())
            }
            None if self.fault == Fault::CommitOnce => Err("there is no such file".into()),
            None => Ok(()),
        }
    }
}

struct Writer {
    fault: Fault,
    attempt: Attempt,
    subtask: SubtaskIndex,
    rows: Arc<Mutex<Vec<u64>>>,
    disk: Arc<Mutex<Disk>>,
}

impl SinkWriter<u64> for Writer {
    type Frozen = (Name, Arc<Mutex<Vec<u64>>>);
    type State = Vec<u64>;

    fn write(&mut self, record: u64) -> Result<(), BoxError> {
        match self.fault {
            Fault::WriteFails if record == 10 => return Err("it is full".into()),
            Fault::WritePublishes => self.disk.lock().unwrap().published.push(record),
            _ => self.rows.lock().unwrap().push(record),
        }
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, last: bool) -> Result<(Self::Frozen, Vec<u64>), BoxError> {
        let name = Name(self.attempt, self.subtask, checkpoint);
        let holds_back = checkpoint.0 % 2 == 1 && (!last || self.fault == Fault::LastHeldBack);
        if holds_back {
            let held = self.rows.lock().unwrap().clone();
            return Ok(((name, Arc::default()), held));
        }
        let rows = match self.fault {
            Fault::FrozenTwice => Arc::new(Mutex::new(self.rows.lock().unwrap().clone())),
            Fault::FrozenShared => self.rows.clone(),
            Fault::FreezeLoses => {
                self.rows = Arc::default();
                Arc::default()
            }
            _ => mem::take(&mut self.rows),
        };
        let state = if self.fault == Fault::StateTooMuch { rows.lock().unwrap().clone() } else { Vec::new() };
        Ok(((name, rows), state))
    }
}

fn check(fault: Fault) -> Result<(), BrokenClause<SinkClause>> {
    let sink = move |disk: &Arc<Mutex<Disk>>| Shelf {
        fault,
        disk: disk.clone(),
        memory: Mutex::default(),
        rows: Mutex::default(),
    };
    let published = |disk: &Arc<Mutex<Disk>>| disk.lock().unwrap().published.clone();
    SinkHarness::new(Arc::<Mutex<Disk>>::default, sink, published, |number| number).check()
}

#[test]
fn the_sink_without_a_fault_keeps_the_contract() {
    check(Fault::None).unwrap();
}

#[test]
fn each_broken_clause_of_a_sink_is_named() {
    let faults = [
        (Fault::OwnedByNobody, SinkClause::Owner),
        (Fault::OwnerUnknown, SinkClause::Owner),
        (Fault::ClaimInMemory, SinkClause::Claim),
        (Fault::ClaimOnce, SinkClause::Claim),
        (Fault::ClaimDoesNothing, SinkClause::Claim),
        (Fault::WriteFails, SinkClause::Write),
        (Fault::PreCommitPublishes, SinkClause::Invisible),
        (Fault::WritePublishes, SinkClause::Invisible),
        (Fault::FrozenTwice, SinkClause::Freeze),
        (Fault::FrozenShared, SinkClause::Freeze),
        (Fault::FreezeLoses, SinkClause::Freeze),
        (Fault::LastHeldBack, SinkClause::Last),
        (Fault::CommitDoesNothing, SinkClause::Commit),
        (Fault::CommitHalf, SinkClause::Commit),
        (Fault::CommitAppends, SinkClause::CommitAgain),
        (Fault::CommitOnce, SinkClause::CommitAgain),
        (Fault::SubtasksMeet, SinkClause::Open),
        (Fault::AttemptsMeet, SinkClause::Open),
        (Fault::PreparedInMemory, SinkClause::PreCommit),
        (Fault::PreparedReplaced, SinkClause::Carried),
        (Fault::RecoverAppends, SinkClause::Recover),
        (Fault::RecoverDoesNothing, SinkClause::Recover),
        (Fault::LeftoversStay, SinkClause::Recover),
        (Fault::StateIgnored, SinkClause::WriterState),
        (Fault::StateOfOne, SinkClause::WriterState),
        (Fault::StateTooMuch, SinkClause::WriterState),
        (Fault::AbortPublishes, SinkClause::Abort),
        (Fault::AbortTakesAll, SinkClause::Abort),
        (Fault::AbortOnce, SinkClause::Abort),
        (Fault::PublishedTooFar, SinkClause::Published),
        (Fault::PublishedStale, SinkClause::Published),
        (Fault::PublishedInMemory, SinkClause::Published),
        (Fault::PreparedUnknown, SinkClause::HasPrepared),
        (Fault::PreparedAnywhere, SinkClause::HasPrepared),
        (Fault::PreparedTaken, SinkClause::HasPrepared),
        (Fault::BegunUnknown, SinkClause::HasBegun),
        (Fault::BegunPublishes, SinkClause::HasBegun),
    ];
    let mut wrong = Vec::new();
    for (fault, clause) in faults {
        match check(fault) {
            Err(broken) if broken.clause == clause => {}
            other => wrong.push(format!("{fault:?}, expected {clause:?}: {other:#?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_broken_says_what_was_expected_what_was_seen_and_where() {
    let broken = check(Fault::CommitAppends).unwrap_err();
    let expected = "broken: `commit` of what is committed does nothing\n\
        attempt 1, parallelism 1, last barrier 2, last checkpoint stored 2: after every `commit` came twice, records 0..6 were to be visible, \
        each once, and no other: too many [0, 1, 2, 3, 4, 5], of which the first is 0";
    assert_eq!(broken.to_string(), expected);

    let broken = check(Fault::ClaimOnce).unwrap_err();
    assert!(broken.detail.ends_with(": `claim` failed: it has been claimed"), "{broken}");
}
