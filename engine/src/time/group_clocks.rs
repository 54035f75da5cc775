//! How far time has come at a keyed step: a clock for each key group.

use serde::{Deserialize, Serialize};

use crate::{
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    mutation::{self, Mutation},
    time::Timestamp,
};

/// What is due up to a group's clock has been done there. See `docs/decisions/0020`.
///
/// # Invariants
/// - No group's clock ever falls, nor does [`even`](Self::even), nor what a round has shown of its time to a function, on no restore either.
/// - All clocks are equal, but for those that are ahead after a restore, and while a round is under way.
#[derive(Clone, Debug)]
pub(crate) struct GroupClocks {
    range: KeyGroupRange,
    max_parallelism: u16,
    /// What every clock has reached.
    even: Timestamp,
    /// What the clocks were restored with, as long as one of them is ahead.
    ahead: Option<Box<[Timestamp]>>,
    round: Option<Round>,
}

/// Group after group does what is due.
#[derive(Clone, Copy, Debug)]
struct Round {
    to: Timestamp,
    /// The group whose turn it is: those before it have come to `to`.
    at: KeyGroup,
}

/// The clocks of one subtask as they are stored, in runs of groups with equal ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepTime {
    /// What the step does by them: nobody else can go on with them.
    pub(crate) of: String,
    /// The first group.
    first: u16,
    /// How many groups, and their clock.
    clocks: Vec<(u16, i64)>,
}

impl GroupClocks {
    /// Nothing is known of time.
    pub(crate) fn new(range: KeyGroupRange, max_parallelism: u16) -> Self {
        Self { range, max_parallelism, even: Timestamp::MIN, ahead: None, round: None }
    }

    /// What every group has reached; during a round, what they had reached before it.
    #[inline]
    pub(crate) fn even(&self) -> Timestamp {
        self.even
    }

    /// A group's clock.
    fn of(&self, group: KeyGroup) -> Timestamp {
        let restored = self.ahead.as_ref().map_or(Timestamp::MIN, |ahead| ahead[self.place(group)]);
        let through = self.round.filter(|round| group < round.at).map_or(Timestamp::MIN, |round| round.to);
        self.even.max(restored).max(through)
    }

    /// The latest that functions can have seen of a group's time.
    fn shown(&self, group: KeyGroup) -> Timestamp {
        match self.turn() {
            Some((at, to)) if at == group => to,
            _ => self.of(group),
        }
    }

    fn place(&self, group: KeyGroup) -> usize {
        usize::from(group.0 - self.range.start)
    }

    /// The clock of the group that `key` belongs to.
    #[inline]
    pub(crate) fn of_key<K: Key>(&self, key: &K) -> Timestamp {
        match (&self.ahead, self.round) {
            (None, None) => self.even,
            _ => self.of(KeyGroup::of_hash(key.group_hash(), self.max_parallelism)),
        }
    }

    /// The latest that functions can have seen of the time of the group that `key` belongs to.
    #[inline]
    pub(crate) fn shown_of_key<K: Key>(&self, key: &K) -> Timestamp {
        match self.round {
            None => self.of_key(key),
            Some(_) => self.shown(KeyGroup::of_hash(key.group_hash(), self.max_parallelism)),
        }
    }

    /// The clock that is furthest.
    pub(crate) fn furthest(&self) -> Timestamp {
        self.range.iter().map(|group| self.of(group)).max().unwrap_or(self.even)
    }

    /// Nothing is due up to `to`: every clock that is behind goes there. Not during a round.
    pub(crate) fn jump(&mut self, to: Timestamp) {
        debug_assert!(self.round.is_none(), "the clocks of a round go one by one");
        self.even = self.even.max(to);
        let is_ahead = |clock: &Timestamp| *clock > self.even;
        if self.ahead.as_ref().is_some_and(|ahead| !ahead.iter().any(is_ahead)) {
            self.ahead = None;
        }
    }

    /// Begins a round: each group does what is due up to `to`. No group goes back for it.
    pub(crate) fn begin(&mut self, to: Timestamp) {
        debug_assert!(self.round.is_none(), "one round after the other");
        let to = to.max(self.even);
        self.round = Some(Round { to, at: KeyGroup(self.range.start) });
        self.if_over();
    }

    /// Whether a round is under way.
    #[inline]
    pub(crate) fn is_in_round(&self) -> bool {
        self.round.is_some()
    }

    /// The group whose turn it is in the round, and up to when it does what is due: at least up to its own clock.
    pub(crate) fn turn(&self) -> Option<(KeyGroup, Timestamp)> {
        self.round.map(|round| (round.at, round.to.max(self.of(round.at))))
    }

    /// Nothing is due any more in the group whose turn it is.
    pub(crate) fn group_is_through(&mut self) {
        if let Some(round) = &mut self.round {
            round.at.0 += 1;
        }
        self.if_over();
    }

    fn if_over(&mut self) {
        if let Some(round) = self.round.take_if(|round| round.at.0 >= self.range.end) {
            self.jump(round.to);
        }
    }

    /// As they are, in the midst of a round too. The group whose turn it is has shown where it goes already: it is stored as being there, and who restores it does first what is still due in it.
    pub(crate) fn save(&self, of: &str) -> StepTime {
        let mut clocks: Vec<(u16, i64)> = Vec::new();
        for clock in self.range.iter().map(|group| self.shown(group).0) {
            match clocks.last_mut().filter(|(_, last)| *last == clock) {
                Some((groups, _)) => *groups += 1,
                None => clocks.push((1, clock)),
            }
        }
        StepTime { of: of.to_string(), first: self.range.start, clocks }
    }

    /// Takes for each group the clock that it had, whichever subtask had it then. A group of which nothing is stored begins anew.
    pub(crate) fn restore(&mut self, stored: &[StepTime]) {
        let mut restored = vec![Timestamp::MIN; self.range.len()];
        for (group, clock) in stored.iter().flat_map(StepTime::each) {
            if self.range.contains(group) {
                restored[self.place(group)] = clock;
            }
        }
        self.even = restored.iter().min().copied().unwrap_or(Timestamp::MIN);
        if mutation::is(Mutation::ClocksAsMinimum) {
            restored.fill(self.even);
        }
        self.ahead = Some(restored.into());
        self.jump(self.even);
    }
}

impl StepTime {
    fn each(&self) -> impl Iterator<Item = (KeyGroup, Timestamp)> {
        let clocks = self.clocks.iter().flat_map(|(groups, clock)| (0..*groups).map(|_| Timestamp(*clock)));
        (self.first..).map(KeyGroup).zip(clocks)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{
        codec::{decode, encode},
        id::SubtaskIndex,
    };

    const GROUPS: u16 = 12;

    fn clocks(subtask: u32, parallelism: u32) -> GroupClocks {
        GroupClocks::new(KeyGroupRange::of_subtask(SubtaskIndex(subtask), parallelism, GROUPS), GROUPS)
    }

    fn all(clocks: &GroupClocks) -> Vec<i64> {
        clocks.range.iter().map(|group| clocks.of(group).0).collect()
    }

    fn shown(clocks: &GroupClocks) -> Vec<i64> {
        clocks.range.iter().map(|group| clocks.shown(group).0).collect()
    }

    fn run(clocks: &mut GroupClocks, groups: usize) {
        (0..groups).for_each(|_| clocks.group_is_through());
    }

    #[test]
    fn a_round_moves_one_group_after_the_other_and_all_are_even_behind_it() {
        let mut clocks = clocks(0, 4);
        clocks.jump(Timestamp(5));
        clocks.begin(Timestamp(9));
        assert_eq!(clocks.turn(), Some((KeyGroup(0), Timestamp(9))));
        run(&mut clocks, 1);
        assert_eq!(
            (all(&clocks), clocks.even(), clocks.turn()),
            (vec![9, 5, 5], Timestamp(5), Some((KeyGroup(1), Timestamp(9))))
        );
        run(&mut clocks, 2);
        assert_eq!((all(&clocks), clocks.even(), clocks.is_in_round()), (vec![9, 9, 9], Timestamp(9), false));
    }

    #[test]
    fn an_interrupted_round_goes_on_where_each_group_was() {
        let mut before = clocks(0, 1);
        before.jump(Timestamp(5));
        before.begin(Timestamp(9));
        run(&mut before, 7);
        let stored: StepTime = decode(&encode(&before.save("timers")).unwrap()).unwrap();
        assert_eq!(stored.clocks, [(8, 9), (4, 5)], "the eighth had its turn");
        let mut restored = clocks(1, 2);
        restored.restore(&[stored]);
        assert_eq!(
            (all(&restored), restored.even(), restored.furthest()),
            (vec![9, 9, 5, 5, 5, 5], Timestamp(5), Timestamp(9))
        );
        restored.begin(Timestamp(7));
        assert_eq!(restored.turn(), Some((KeyGroup(6), Timestamp(9))), "no group goes back");
        run(&mut restored, 6);
        assert_eq!((all(&restored), restored.even()), (vec![9, 9, 7, 7, 7, 7], Timestamp(7)));
        restored.jump(Timestamp(9));
        assert!(restored.ahead.is_none());
    }

    #[test]
    fn a_subtask_without_groups_is_through_at_once() {
        let range = KeyGroupRange { start: 3, end: 3 };
        let mut clocks = GroupClocks::new(range, GROUPS);
        clocks.begin(Timestamp(4));
        assert_eq!((clocks.is_in_round(), clocks.even()), (false, Timestamp(4)));
        let stored = clocks.save("timers");
        clocks.restore(&[stored]);
        assert_eq!(clocks.even(), Timestamp::MIN);
    }

    #[derive(Clone, Debug)]
    enum Move {
        Jump(u32, i64),
        Begin(u32, i64),
        Through(u32),
        Restore(u32),
    }

    fn moves() -> impl Strategy<Value = Move> {
        prop_oneof![
            (0..4_u32, 0..100_i64).prop_map(|(subtask, to)| Move::Jump(subtask, to)),
            (0..4_u32, 0..100_i64).prop_map(|(subtask, to)| Move::Begin(subtask, to)),
            (0..4_u32).prop_map(Move::Through),
            (1..5_u32).prop_map(Move::Restore),
        ]
    }

    proptest! {
        #[test]
        fn no_clock_ever_falls_and_each_group_takes_its_own_along(moves in proptest::collection::vec(moves(), 0..80)) {
            let mut subtasks = vec![clocks(0, 1)];
            let mut before = vec![i64::MIN; usize::from(GROUPS)];
            for step in moves {
                let is_restore = matches!(step, Move::Restore(_));
                let count = subtasks.len() as u32;
                let mut reached = None;
                match step {
                    Move::Jump(subtask, to) => {
                        let clocks = &mut subtasks[(subtask % count) as usize];
                        if !clocks.is_in_round() {
                            clocks.jump(Timestamp(to));
                            reached = Some((clocks.clone(), to));
                        }
                    }
                    Move::Begin(subtask, to) => {
                        let clocks = &mut subtasks[(subtask % count) as usize];
                        if !clocks.is_in_round() {
                            clocks.begin(Timestamp(to));
                        }
                    }
                    Move::Through(subtask) => {
                        let clocks = &mut subtasks[(subtask % count) as usize];
                        if let Some((group, to)) = clocks.turn() {
                            clocks.group_is_through();
                            prop_assert_eq!(clocks.of(group), to);
                        }
                    }
                    Move::Restore(parallelism) => {
                        let stored: Vec<_> = subtasks.iter().map(|clocks| clocks.save("timers")).collect();
                        subtasks = (0..parallelism).map(|subtask| clocks(subtask, parallelism)).collect();
                        subtasks.iter_mut().for_each(|clocks| clocks.restore(&stored));
                    }
                }
                if let Some((clocks, to)) = reached {
                    prop_assert!(all(&clocks).into_iter().all(|clock| clock >= to));
                }
                let now: Vec<i64> = subtasks.iter().flat_map(shown).collect();
                prop_assert!(before.iter().zip(&now).all(|(before, now)| before <= now));
                prop_assert!(!is_restore || before == now);
                for clocks in &subtasks {
                    prop_assert_eq!(Some(clocks.furthest().0), all(clocks).into_iter().max());
                    prop_assert!(all(clocks).iter().all(|clock| *clock >= clocks.even().0));
                }
                before = now;
            }
        }
    }
}
