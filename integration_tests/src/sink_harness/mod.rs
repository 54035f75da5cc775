//! A user's two-phase sink, held to its contract.
//!
//! | file | holds |
//! |---|---|
//! | here | what a test calls, and one function for each clause or two |
//! | `clause` | the clauses |
//! | `run` | a job's sink, called in the order of the contract |

mod clause;
mod run;

use std::fmt::Debug;

use cofferdam_engine::{CheckpointId, JobId, Ownership, TwoPhaseSink};

pub use self::clause::SinkClause;
use self::run::{Death, JOB, Run};
use crate::broken_clause::BrokenClause;

type Checked<T> = Result<T, BrokenClause<SinkClause>>;

/// From how many subtasks to how many a job goes when it is restarted.
const RESCALINGS: [(u32, u32); 4] = [(2, 2), (1, 3), (2, 1), (3, 2)];

const DEATHS: [Death; 2] = [Death::Process, Death::Attempt];

/// Checkpoints after which a record that was held back, and should not have been, has come.
const HELD_BACK: u32 = 8;

/// Checks that a [`TwoPhaseSink`] keeps its contract, and says which clause it breaks.
///
/// | row of the contract | clause | checked |
/// |---|---|---|
/// | `owner` | [`Owner`](SinkClause::Owner) | asked twice of a new place and of a claimed one |
/// | `claim` | [`Claim`](SinkClause::Claim) | known after a crash, comes again; another job's is refused and changes nothing, or `owner` says so |
/// | `recover` | [`Recover`](SinkClause::Recover) | comes twice, with transactions committed or not; what was cut off never appears |
/// | `open` | [`Open`](SinkClause::Open) | subtasks with the same checkpoint do not meet, nor does a writer meet one that has died |
/// | `write` | [`Write`](SinkClause::Write) | no call fails |
/// | `freeze` | [`Freeze`](SinkClause::Freeze) | what is written behind it is not in it; no record comes out twice |
/// | `freeze` with `last` | [`Last`](SinkClause::Last) | everything is visible after the commit |
/// | the writer's state | [`WriterState`](SinkClause::WriterState) | encoded, given to as many, to more and to fewer writers, what was cut off is written again: each record once |
/// | "becomes visible when the checkpoint completes" | [`Invisible`](SinkClause::Invisible) | looked for after `write`, `freeze` and `pre_commit` |
/// | `pre_commit` | [`PreCommit`](SinkClause::PreCommit) | its transaction, encoded, is enough for `recover` after a crash |
/// | `commit` | [`Commit`](SinkClause::Commit) | all of a checkpoint is visible |
/// | `commit` comes again | [`CommitAgain`](SinkClause::CommitAgain) | twice at once, and again after later commits |
/// | a checkpoint is aborted | [`Carried`](SinkClause::Carried) | its transaction is committed with the next one's, or recovered with it |
/// | `published` | [`Published`](SinkClause::Published) | before the commit, after it and after a crash: the newest checkpoint committed, or never anything |
/// | `has_prepared` | [`HasPrepared`](SinkClause::HasPrepared) | of what is prepared and of what is published; on another place with the same checkpoint: no, or `recover` publishes it there, or fails |
/// | `has_begun` | [`HasBegun`](SinkClause::HasBegun) | likewise, of what was held back |
/// | `abort` | [`Abort`](SinkClause::Abort) | comes once and twice, before one `recover` and before two, beside a transaction that is not aborted |
///
/// Not checked: which thread makes the calls, that `freeze` is quick, that what is durable survives a loss of power, and that an error ends
/// the attempt, which is the engine's part. A crash here drops the sink and its writers; what they do when dropped would not happen in a
/// process that is killed. A [`Sink`](cofferdam_engine::Sink) without transactions promises nothing that a harness could check.
///
/// A sink may hold records back until a later checkpoint, unless it is told that this one is the last.
///
/// ```
/// use cofferdam::connector::CollectSink;
/// use cofferdam_testkit::SinkHarness;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// SinkHarness::new(
///     CollectSink::<String>::new,           // a new place: here, in memory
///     |(sink, _rows)| sink.clone(),         // the sink that a process makes at its start
///     |(_sink, rows)| rows.snapshot(),      // what everybody can see
///     |number| format!("record {number}"),  // no two alike
/// )
/// .check()?;
/// # Ok(())
/// # }
/// ```
pub struct SinkHarness<P, S, T> {
    place: Box<dyn Fn() -> P>,
    sink: Box<dyn Fn(&P) -> S>,
    published: Box<dyn Fn(&P) -> Vec<T>>,
    record: Box<dyn Fn(u64) -> T>,
}

impl<P, S, T> SinkHarness<P, S, T>
where
    S: TwoPhaseSink<T>,
    T: PartialEq + Debug + 'static,
{
    /// For the sink that `sink` makes at a place. `place` gives a new one, `published` says what is visible there, in any order, and `record`
    /// makes a record of a number, a different one of each.
    pub fn new(
        place: impl Fn() -> P + 'static,
        sink: impl Fn(&P) -> S + 'static,
        published: impl Fn(&P) -> Vec<T> + 'static,
        record: impl Fn(u64) -> T + 'static,
    ) -> Self {
        Self { place: Box::new(place), sink: Box::new(sink), published: Box::new(published), record: Box::new(record) }
    }

    /// Checks every clause; the first that is broken is the error.
    pub fn check(&self) -> Result<(), BrokenClause<SinkClause>> {
        self.check_owner()?;
        self.check_claim()?;
        self.check_invisible()?;
        self.check_last()?;
        self.check_commit(1)?;
        self.check_freeze()?;
        self.check_commit_again()?;
        self.check_commit(3)?;
        self.check_open_again()?;
        RESCALINGS.into_iter().try_for_each(|(before, after)| self.check_pre_commit(before, after))?;
        self.check_carried()?;
        for checkpoints in 1..=3 {
            RESCALINGS
                .into_iter()
                .try_for_each(|(before, after)| self.check_writer_state(checkpoints, before, after))?;
        }
        self.check_abort()?;
        for death in DEATHS {
            self.check_recover_again(death)?;
            RESCALINGS.into_iter().try_for_each(|(before, after)| self.check_leftovers(death, before, after))?;
        }
        self.check_published()?;
        self.check_has_prepared()?;
        self.check_has_begun()
    }

    fn check_owner(&self) -> Checked<()> {
        let clause = SinkClause::Owner;
        let mut run = Run::new(self);
        for asked in ["the first", "the second"] {
            let owner = run.owner()?;
            if matches!(owner, Ownership::Claimed(_)) {
                return run.broken(clause, &format!("the place is new, and {asked} call gave {owner:?}"));
            }
            run.expect(clause, "on a new place", 0..0)?;
        }
        run.start(1)?;
        run.write(0..3)?;
        run.checkpoint(true)?;
        for _ in 0..2 {
            let owner = run.owner()?;
            if !is_ours(owner) {
                return run.broken(clause, &format!("the place was claimed for {JOB:?}, and `owner` gives {owner:?}"));
            }
        }
        Ok(())
    }

    fn check_claim(&self) -> Checked<()> {
        let clause = SinkClause::Claim;
        let mut run = Run::new(self);
        run.claim()?;
        run.crash();
        let owner = run.owner()?;
        if !is_ours(owner) {
            let detail = format!("the place was claimed for {JOB:?}, and after a crash `owner` gives {owner:?}");
            return run.broken(clause, &detail);
        }
        run.claim()?;
        run.claim()?;
        run.crash();
        let others = run.context(JobId(JOB.0 + 1));
        let claimed = run.sink().claim(&others);
        run.crash();
        let now = run.owner()?;
        let expected = if claimed.is_ok() { Ownership::Claimed(others.job) } else { owner };
        if owner == Ownership::Untracked || now == expected {
            return Ok(());
        }
        let how = claimed.map_or_else(|error| format!("was refused ({error})"), |()| "succeeded".to_string());
        let detail =
            format!("the place was {owner:?}; a claim for {:?} {how}, and now `owner` gives {now:?}", others.job);
        run.broken(clause, &detail)
    }

    fn check_invisible(&self) -> Checked<()> {
        let clause = SinkClause::Invisible;
        let mut run = Run::started(self, 1)?;
        run.write(0..5)?;
        run.expect(clause, "after `write`", 0..0)?;
        run.freeze(true)?;
        run.expect(clause, "after `freeze`", 0..0)?;
        run.pre_commit()?;
        run.expect(clause, "after `pre_commit`", 0..0)
    }

    /// The last checkpoint as the first one, the second, ...
    fn check_last(&self) -> Checked<()> {
        for last in 1..=4 {
            let mut run = Run::started(self, 1)?;
            for nth in 1..last {
                run.write(nth..nth + 1)?;
                run.checkpoint(false)?;
            }
            run.write(last..last + 3)?;
            run.barrier(true)?;
            run.complete();
            let committed = run.commit(SinkClause::Commit)?;
            let when = "after the `commit` of the last checkpoint";
            match run.compare(SinkClause::Last, SinkClause::Freeze, when, 1..last + 3) {
                Err(missing) if missing.clause == SinkClause::Last => {
                    let clause = match committed {
                        _ if is_held_back(&mut run) => SinkClause::Last,
                        0 => SinkClause::Freeze,
                        _ => SinkClause::Commit,
                    };
                    return broken(clause, missing.detail);
                }
                compared => compared?,
            }
        }
        Ok(())
    }

    /// Four checkpoints, one of them without a record, each published at once.
    fn check_commit(&self, subtasks: u32) -> Checked<()> {
        let (missing, more) =
            if subtasks == 1 { (SinkClause::Commit, SinkClause::Freeze) } else { (SinkClause::Open, SinkClause::Open) };
        let mut run = Run::started(self, subtasks)?;
        for (from, to) in [(0, 4), (4, 4), (4, 8), (8, 12)] {
            run.write(from..to)?;
            run.barrier(to == 12)?;
            run.complete();
            run.commit(missing)?;
            run.forget();
            run.expect_no_more(more, "after `commit`", 0..to)?;
        }
        run.compare(missing, more, "after the last `commit`", 0..12)
    }

    /// Records between `freeze` and `pre_commit`, which may be on different threads.
    fn check_freeze(&self) -> Checked<()> {
        let clause = SinkClause::Freeze;
        let mut run = Run::started(self, 1)?;
        run.write(0..3)?;
        run.freeze(false)?;
        run.write(3..6)?;
        run.pre_commit()?;
        run.complete();
        run.write(6..8)?;
        run.commit(SinkClause::Commit)?;
        run.forget();
        run.expect_no_more(clause, "after the first `commit`, with three more written behind `freeze`", 0..3)?;
        run.checkpoint(true)?;
        run.expect(clause, "after the last `commit`", 0..8)
    }

    fn check_commit_again(&self) -> Checked<()> {
        let clause = SinkClause::CommitAgain;
        let mut run = Run::started(self, 1)?;
        run.write(0..3)?;
        run.barrier(false)?;
        run.write(3..6)?;
        run.barrier(false)?;
        run.complete();
        run.commit(SinkClause::Commit)?;
        run.commit(clause)?;
        run.expect_no_more(clause, "after every `commit` came twice", 0..6)?;
        // The subtasks have not heard of it, so the next checkpoint carries them once more.
        run.write(6..9)?;
        run.barrier(true)?;
        run.complete();
        run.commit(clause)?;
        run.commit(clause)?;
        run.expect_no_more(clause, "after every `commit` came again, with the next checkpoint's", 0..9)
    }

    /// Records that died with their writer come again.
    fn check_open_again(&self) -> Checked<()> {
        let clause = SinkClause::Open;
        for death in DEATHS {
            let mut run = Run::started(self, 2)?;
            run.write(0..5)?;
            run.restart(death, 2)?;
            run.expect_no_more(clause, "after a restart before the first checkpoint", 0..0)?;
            run.write(0..6)?;
            run.checkpoint(true)?;
            run.expect_no_more(clause, "after a restart before the first checkpoint, and that checkpoint", 0..6)?;
        }
        Ok(())
    }

    fn check_pre_commit(&self, before: u32, after: u32) -> Checked<()> {
        let mut run = Run::started(self, before)?;
        run.write(0..5)?;
        run.barrier(true)?;
        run.complete();
        run.restart(Death::Process, after)?;
        let when = "after a crash behind the checkpoint, and `recover` with its transactions";
        match run.compare(SinkClause::PreCommit, SinkClause::Recover, when, 0..5) {
            Err(lost) if lost.clause == SinkClause::PreCommit && self.survives(before)? => {
                broken(SinkClause::Recover, lost.detail)
            }
            compared => compared,
        }
    }

    /// Whether a new process can commit what a dead one has prepared: to tell who has lost it.
    fn survives(&self, subtasks: u32) -> Checked<bool> {
        let mut run = Run::started(self, subtasks)?;
        run.write(0..5)?;
        run.barrier(true)?;
        run.complete();
        run.crash();
        run.claim()?;
        Ok(run.commit(SinkClause::PreCommit).is_ok() && !run.published().is_empty())
    }

    fn check_carried(&self) -> Checked<()> {
        let clause = SinkClause::Carried;
        for crashes in [false, true] {
            let mut run = Run::started(self, 2)?;
            run.write(0..3)?;
            run.barrier(false)?;
            run.write(3..6)?;
            run.barrier(false)?;
            run.write(6..9)?;
            run.barrier(true)?;
            run.complete();
            if crashes {
                run.restart(Death::Process, 2)?;
            } else {
                run.commit(SinkClause::Commit)?;
            }
            run.expect(clause, "after checkpoints 1 and 2 were aborted and 3 completed", 0..9)?;
        }
        Ok(())
    }

    fn check_recover_again(&self, death: Death) -> Checked<()> {
        let clause = SinkClause::Recover;
        let mut run = Run::started(self, 2)?;
        run.write(0..4)?;
        run.barrier(true)?;
        run.complete();
        run.commit(SinkClause::Commit)?;
        for _ in 0..2 {
            run.restart(death, 2)?;
            run.expect(clause, "after `recover` with transactions that were committed", 0..4)?;
        }
        // With newer ones.
        run.write(4..8)?;
        run.barrier(true)?;
        run.complete();
        run.restart(death, 1)?;
        run.restart(death, 1)?;
        run.expect(clause, "after `recover` with newer transactions, twice", 0..8)
    }

    /// An attempt dies with a transaction that the stored checkpoint names, committed or not, and one that nothing names.
    fn check_abort(&self) -> Checked<()> {
        let clause = SinkClause::Abort;
        for (is_committed, aborts, recoveries) in [(false, 1, 1), (true, 1, 2), (false, 2, 2), (true, 2, 1)] {
            let mut run = Run::started(self, 2)?;
            run.write(0..4)?;
            run.barrier(true)?;
            run.complete();
            if is_committed {
                run.commit(SinkClause::Commit)?;
            }
            run.write(4..8)?;
            run.barrier(true)?;
            run.end_attempt();
            for _ in 0..aborts {
                run.abort_orphans()?;
            }
            let committed = if is_committed { 0..4 } else { 0..0 };
            run.expect(clause, "after `abort` of what checkpoint 2 prepared", committed)?;
            for _ in 0..recoveries {
                run.restart(Death::Attempt, 2)?;
                run.expect(clause, "after `abort` of what checkpoint 2 prepared, and `recover`", 0..4)?;
            }
            run.write(4..10)?;
            run.checkpoint(true)?;
            run.expect(clause, "after `abort`, `recover` and checkpoint 2 of the next attempt", 0..10)?;
        }
        Ok(())
    }

    fn check_published(&self) -> Checked<()> {
        let clause = SinkClause::Published;
        let mut run = Run::started(self, 2)?;
        let (mut committed, mut can_tell) = (None, None);
        for (checkpoint, records) in [(1, 4), (2, 8), (3, 12)] {
            run.write(records - 4..records)?;
            run.barrier(true)?;
            run.complete();
            run.expect_published_up_to(committed, can_tell)?;
            run.expect(clause, "before the `commit`", 0..records - 4)?;
            run.commit(SinkClause::Commit)?;
            run.forget();
            committed = Some(CheckpointId(checkpoint));
            can_tell = Some(run.published_up_to()?.is_some());
            for dies in [false, true] {
                if dies {
                    run.restart(Death::Process, 2)?;
                }
                run.expect_published_up_to(committed, can_tell)?;
                run.expect(clause, "after the `commit`", 0..records)?;
            }
        }
        Ok(())
    }

    fn check_has_prepared(&self) -> Checked<()> {
        let clause = SinkClause::HasPrepared;
        let mut run = Run::started(self, 2)?;
        run.write(0..6)?;
        run.barrier(true)?;
        run.complete();
        run.crash();
        for visible in [0..0, 0..6] {
            for _ in 0..2 {
                if !run.has_all_prepared()? {
                    return run.broken(clause, "`has_prepared` said no of what is prepared here, or published");
                }
                run.expect(clause, "after `has_prepared`", visible.clone())?;
            }
            run.commit(clause)?;
        }
        run.expect(clause, "after `has_prepared`, and `commit`", 0..6)?;
        let mut other = run.elsewhere();
        let has_all = other.has_all_prepared()?;
        other.expect(clause, "on another place, after `has_prepared`", 0..0)?;
        other.claim()?;
        if has_all && other.recover().is_ok() {
            other.expect(clause, "on another place, where `has_prepared` said yes, after `recover`", 0..6)?;
        }
        Ok(())
    }

    fn check_has_begun(&self) -> Checked<()> {
        let clause = SinkClause::HasBegun;
        for checkpoints in 1..=3 {
            let mut run = Run::started(self, 2)?;
            for nth in 0..checkpoints {
                run.write(4 * nth..4 * nth + 4)?;
                run.checkpoint(false)?;
            }
            let (records, visible) = (0..4 * checkpoints, run.published().len());
            run.crash();
            for _ in 0..2 {
                if !run.has_all_begun()? {
                    return run.broken(clause, "`has_begun` said no of what was begun here, or published");
                }
                if run.published().len() != visible {
                    return run.broken(clause, "what is visible has changed with `has_begun`");
                }
            }
            let mut other = run.elsewhere();
            let has_all = other.has_all_begun()? && other.has_all_prepared()?;
            other.expect(clause, "on another place, after `has_begun`", 0..0)?;
            if has_all && other.start(2).is_ok() {
                other.checkpoint(true)?;
                let when = "on another place, where `has_begun` said yes, after the last checkpoint, or before on the first one";
                other.expect_here_or(&run, clause, when, records.clone())?;
            }
            run.start(2)?;
            run.checkpoint(true)?;
            run.expect(clause, "after `has_begun`, a restart and the last checkpoint", records)?;
        }
        Ok(())
    }

    /// Some checkpoints, and records behind them that are lost with the process, and written again.
    fn check_writer_state(&self, checkpoints: u64, before: u32, after: u32) -> Checked<()> {
        let clause = SinkClause::WriterState;
        let mut run = Run::started(self, before)?;
        for nth in 0..checkpoints {
            run.write(4 * nth..4 * nth + 4)?;
            run.checkpoint(false)?;
        }
        let behind = 4 * checkpoints;
        run.write(behind..behind + 3)?;
        let when = format!("after a crash behind checkpoint {checkpoints}");
        run.restart(Death::Process, after)?;
        run.expect_no_more(SinkClause::Recover, &when, 0..behind)?;
        run.write(behind..behind + 2)?;
        // Again, before any checkpoint of the new writers.
        run.restart(Death::Attempt, after)?;
        run.expect_no_more(SinkClause::Recover, &when, 0..behind)?;
        run.write(behind..behind + 6)?;
        run.checkpoint(false)?;
        run.expect_no_more(clause, &format!("{when}, and one more checkpoint"), 0..behind + 6)?;
        run.restart(Death::Process, before)?;
        run.expect_no_more(SinkClause::Recover, "after a crash behind the checkpoint after that", 0..behind + 6)?;
        run.write(behind + 6..behind + 9)?;
        run.checkpoint(true)?;
        let when = format!("{when}, at parallelism {before}, then {after}, then {before}, and the last `commit`");
        run.expect(clause, &when, 0..behind + 9)
    }

    /// A checkpoint that was prepared and never completed: its number comes again, and so do its records.
    fn check_leftovers(&self, death: Death, before: u32, after: u32) -> Checked<()> {
        let clause = SinkClause::Recover;
        let mut run = Run::started(self, before)?;
        run.write(0..4)?;
        run.checkpoint(false)?;
        run.write(4..8)?;
        run.barrier(true)?;
        run.restart(death, after)?;
        run.expect_no_more(clause, "after a restart before checkpoint 2 was stored", 0..4)?;
        run.write(4..10)?;
        run.checkpoint(true)?;
        let when = format!(
            "after a restart before checkpoint 2 was stored, from parallelism {before} to {after}, and checkpoint 2 of the next attempt"
        );
        run.expect(clause, &when, 0..10)
    }
}

/// Whether records that are missing come later, or are lost.
fn is_held_back<P, S, T>(run: &mut Run<'_, P, S, T>) -> bool
where
    S: TwoPhaseSink<T>,
    T: PartialEq + Debug + 'static,
{
    let seen = run.published().len();
    run.forget();
    (0..HELD_BACK).all(|_| run.checkpoint(true).is_ok()) && run.published().len() > seen
}

/// Or nobody can tell.
fn is_ours(owner: Ownership) -> bool {
    matches!(owner, Ownership::Untracked) || owner == Ownership::Claimed(JOB)
}

fn broken<T>(clause: SinkClause, detail: impl Into<String>) -> Checked<T> {
    Err(BrokenClause::new(clause, detail))
}
