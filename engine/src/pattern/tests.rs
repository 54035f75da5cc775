//! What patterns match: by hand, and against all ways to choose records.

#![allow(clippy::unwrap_used)]

use std::{cell::Cell, collections::BTreeSet, rc::Rc};

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

/// What a stage, or something forbidden, fits: a set of letters.
type Letters = u8;

/// One stage, as the oracle is told of it.
#[derive(Clone, Debug)]
struct Said {
    fits: Letters,
    is_relaxed: bool,
    is_relaxed_between: bool,
    least: usize,
    most: usize,
    is_optional: bool,
    /// What must not be in front of it, and whether that is only about the next record.
    not: Option<(Letters, bool)>,
}

#[derive(Clone, Debug)]
struct Plan {
    stages: Vec<Said>,
    within: Option<i64>,
    is_overlapping: bool,
}

/// A match: by stage, the numbers of its records.
type Choice = Vec<Vec<usize>>;

/// A record: when, its letter, and its number.
type Letter = (i64, u8, usize);

fn has(letters: Letters, letter: u8) -> bool {
    letters >> letter & 1 == 1
}

impl Plan {
    /// Tries every choice of records for every stage, and keeps those in which each record is where it may be.
    fn oracle(&self, records: &[Letter]) -> Vec<Choice> {
        let mut all = Vec::new();
        self.choose(records, &mut vec![Vec::new()], &mut all);
        all.retain(|choice| self.is_match(records, choice));
        let order = |choice: &Choice| {
            let flat = choice.concat();
            let counts: Vec<_> = choice.iter().map(|of| std::cmp::Reverse(of.len())).collect();
            (flat.last().copied(), flat, counts)
        };
        all.sort_by_key(order);
        if self.is_overlapping {
            return all;
        }
        let mut behind = 0;
        all.retain(|choice| {
            let flat = choice.concat();
            let is_taken = flat[0] >= behind;
            if is_taken {
                behind = flat[flat.len() - 1] + 1;
            }
            is_taken
        });
        all
    }

    fn choose(&self, records: &[Letter], chosen: &mut Choice, all: &mut Vec<Choice>) {
        let stage = chosen.len() - 1;
        let said = &self.stages[stage];
        if chosen[stage].len() >= said.least || chosen[stage].is_empty() && said.is_optional {
            if chosen.len() == self.stages.len() {
                all.push(chosen.clone());
            } else {
                chosen.push(Vec::new());
                self.choose(records, chosen, all);
                chosen.pop();
            }
        }
        if chosen[stage].len() < said.most {
            let from = chosen.iter().flatten().last().map_or(0, |last| last + 1);
            for (next, record) in records.iter().enumerate().skip(from) {
                if has(said.fits, record.1) {
                    chosen[stage].push(next);
                    self.choose(records, chosen, all);
                    chosen[stage].pop();
                }
            }
        }
    }

    fn is_match(&self, records: &[Letter], choice: &Choice) -> bool {
        let flat: Vec<(usize, usize)> =
            choice.iter().enumerate().flat_map(|(stage, of)| of.iter().map(move |number| (stage, *number))).collect();
        let (Some(first), Some(last)) = (flat.first(), flat.last()) else { return false };
        if self.within.is_some_and(|within| records[last.1].0 - records[first.1].0 > within) {
            return false;
        }
        flat.windows(2).all(|pair| {
            let ((before, from), (stage, to)) = (pair[0], pair[1]);
            let said = &self.stages[stage];
            let is_again = before == stage;
            let is_relaxed = if is_again { said.is_relaxed_between } else { said.is_relaxed };
            let is_near = if is_relaxed {
                !records[from + 1..to].iter().any(|record| has(said.fits, record.1))
            } else {
                to == from + 1
            };
            let gaps = if is_again { &[] } else { &self.stages[before + 1..=stage] };
            let is_forbidden = gaps.iter().filter_map(|gap| gap.not).any(|(letters, only_next)| {
                let until = if only_next { from + 1 } else { to };
                records[from + 1..=until].iter().any(|record| has(letters, record.1))
            });
            is_near && !is_forbidden
        })
    }

    /// The same as a user says it.
    fn pattern(&self) -> Pattern<Letter, Vec<Letters>> {
        let (mut shape, mut letters) = (Shape::default(), Vec::new());
        let link = |is_relaxed| if is_relaxed { Link::Relaxed } else { Link::Strict };
        for (number, said) in self.stages.iter().enumerate() {
            if let Some((not, only_next)) = said.not {
                letters.push(not);
                shape.new_condition();
                shape.forbid(if only_next { Forbidden::Next } else { Forbidden::Until });
            }
            letters.push(said.fits);
            shape.new_condition();
            shape.add_stage(number.to_string(), link(said.is_relaxed));
            let stage = shape.last_stage();
            let most = (said.most != usize::MAX).then_some(said.most as u32);
            stage.times = Times { least: said.least as u32, most };
            stage.between = link(said.is_relaxed_between);
            stage.is_optional = said.is_optional;
        }
        shape.within = self.within.map(|within| Duration::from_millis(within as u64));
        shape.is_overlapping = self.is_overlapping;
        Pattern { shape, conditions: letters, records: PhantomData }
    }
}

impl Conditions<Letter> for Vec<Letters> {
    fn holds(&self, number: usize, record: &Letter) -> bool {
        has(self[number], record.1)
    }
}

/// What a pattern finds in records, and the most partial matches that there were.
fn found<C: Conditions<Letter>>(pattern: &Pattern<Letter, C>, records: &[Letter]) -> (Vec<Choice>, usize) {
    let (mut partials, mut all, mut most) = (Vec::new(), Vec::new(), 0);
    for record in records {
        let time = Timestamp(record.0);
        for (began, taken) in pattern.advance(&mut partials, time, record) {
            assert_eq!(Some(began.0), taken.iter().flatten().next().map(|first| first.0));
            let mut choice: Choice = taken.iter().map(|of| of.iter().map(|record| record.2).collect()).collect();
            choice.resize(pattern.shape.stages.len(), Vec::new());
            all.push(choice);
        }
        most = most.max(partials.len());
    }
    (all, most)
}

fn letters() -> impl Strategy<Value = Letters> {
    prop_oneof![4 => (0..3_u8).prop_map(|letter| 1 << letter), 1 => 1..8_u8]
}

fn stages() -> impl Strategy<Value = Said> {
    let times = prop_oneof![
        3 => Just((1, 1)),
        1 => (1..4_usize).prop_map(|times| (times, times)),
        1 => (1..3_usize, 0..3_usize).prop_map(|(least, more)| (least, least + more)),
        1 => (1..3_usize).prop_map(|least| (least, usize::MAX)),
    ];
    let not = proptest::option::weighted(0.25, (letters(), any::<bool>()));
    (letters(), any::<bool>(), any::<bool>(), times, proptest::bool::weighted(0.2), not).prop_map(
        |(fits, is_relaxed, is_relaxed_between, (least, most), is_optional, not)| Said {
            fits,
            is_relaxed,
            is_relaxed_between,
            least,
            most,
            is_optional,
            not,
        },
    )
}

fn plans() -> impl Strategy<Value = Plan> {
    let within = proptest::option::of(0..20_i64);
    (proptest::collection::vec(stages(), 1..5), within, any::<bool>()).prop_map(
        |(mut stages, within, is_overlapping)| {
            stages[0].is_optional = false;
            stages[0].not = None;
            Plan { stages, within, is_overlapping }
        },
    )
}

fn records() -> impl Strategy<Value = Vec<Letter>> {
    proptest::collection::vec((0..6_i64, 0..3_u8), 0..11).prop_map(|letters| {
        let mut time = 100;
        let letters = letters.into_iter().enumerate().map(|(number, (step, letter))| {
            time += step;
            (time, letter, number)
        });
        letters.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn a_pattern_finds_what_a_search_of_all_choices_finds(plan in plans(), records in records()) {
        prop_assert_eq!(found(&plan.pattern(), &records).0, plan.oracle(&records));
    }

    #[test]
    fn where_the_first_match_counts_what_has_begun_is_no_more_than_stages_times_beginnings(
        plan in plans(),
        letters in proptest::collection::vec(0..3_u8, 60),
    ) {
        let plan = Plan { is_overlapping: false, ..plan };
        let letters: Vec<_> = letters.iter().enumerate().map(|(n, letter)| (n as i64, *letter, n)).collect();
        let repeats = |said: &Said| if said.most == usize::MAX { said.least } else { said.most };
        let places: usize = plan.stages.iter().map(|said| repeats(said) + plan.stages.len() * 2).sum();
        let beginnings = plan.within.map_or(1, |within| within as usize + 1);
        prop_assert!(found(&plan.pattern(), &letters).1 <= places * beginnings);
    }
}

/// One that took a record goes before one that waited, though that came first while they had taken the same.
#[test]
fn matches_of_one_record_come_in_the_order_of_their_records() {
    let stage = |letter: u8, most| Said {
        fits: 1 << letter,
        is_relaxed: false,
        is_relaxed_between: true,
        least: 1,
        most,
        is_optional: false,
        not: None,
    };
    let first = Said { fits: 0b110, ..stage(0, 3) };
    let plan = Plan { stages: vec![first, stage(2, 1), stage(0, usize::MAX)], within: None, is_overlapping: true };
    let records: Vec<Letter> = [1, 2, 0, 1, 2, 0].into_iter().enumerate().map(|(n, letter)| (100, letter, n)).collect();
    let last = found(&plan.pattern(), &records).0.split_off(1);
    assert_eq!(last[..2], [vec![vec![0], vec![1], vec![2, 5]], vec![vec![0, 1, 3], vec![4], vec![5]]]);
    assert_eq!(found(&plan.pattern(), &records).0, plan.oracle(&records));
}

/// Records a millisecond apart.
fn spelled(word: &str) -> Vec<(i64, char)> {
    (0..).zip(word.chars()).collect()
}

/// The matches of a pattern in a word, each as the places of its letters.
fn places<C: Conditions<(i64, char)>>(pattern: Pattern<(i64, char), C>, word: &str) -> Vec<String> {
    let mut partials = Vec::new();
    let found = spelled(word).into_iter().flat_map(|record| {
        pattern
            .advance(&mut partials, Timestamp(record.0), &record)
            .into_iter()
            .map(|(_, taken)| taken)
            .collect::<Vec<_>>()
    });
    let of = |taken: Vec<(i64, char)>| taken.iter().map(|record| record.0.to_string()).collect::<String>();
    found.map(|taken| taken.into_iter().map(of).collect::<Vec<_>>().join("|")).collect()
}

fn is(letter: char) -> impl Fn(&(i64, char)) -> bool + Clone + Send + 'static {
    move |record| record.1 == letter
}

#[test]
fn three_failures_then_a_success_are_found_only_in_a_row_and_in_time() {
    let pattern = || Pattern::begin("failed", is('f')).times(3).next("ok", is('o')).within(Duration::from_millis(3));
    assert_eq!(places(pattern(), "fffo"), ["012|3"]);
    assert_eq!(places(pattern(), "ffffo"), ["123|4"], "the last three");
    assert_eq!(places(pattern(), "ffofffoo"), ["345|6"]);
    assert_eq!(places(pattern(), "ffxfo"), [""; 0]);
    assert_eq!(places(pattern().within(Duration::from_millis(2)), "fffo"), [""; 0], "too late by a millisecond");
}

#[test]
fn a_strict_stage_is_the_next_record_and_a_relaxed_one_the_first_that_fits() {
    assert_eq!(places(Pattern::begin("a", is('a')).next("b", is('b')), "abaxb"), ["0|1"]);
    assert_eq!(places(Pattern::begin("a", is('a')).followed_by("b", is('b')), "abaxbb"), ["0|1", "2|4"]);
}

#[test]
fn repetitions_are_in_a_row_unless_they_are_relaxed() {
    let pattern = || Pattern::begin("a", is('a')).times(2).next("b", is('b'));
    assert_eq!(places(pattern(), "axab"), [""; 0]);
    assert_eq!(places(Pattern::begin("a", is('a')).times(2).relaxed().next("b", is('b')), "axab"), ["02|3"]);
}

#[test]
fn what_is_complete_first_counts_and_then_what_began_first() {
    let pattern = || Pattern::begin("a", is('a')).one_or_more().next("b", is('b'));
    assert_eq!(places(pattern(), "aaab"), ["012|3"]);
    assert_eq!(places(pattern().overlapping(), "aaab"), ["012|3", "12|3", "2|3"]);
    assert_eq!(places(Pattern::begin("a", is('a')).times(2..=3), "aaaaa"), ["01", "23"], "no longer than it must be");
    assert_eq!(places(Pattern::begin("a", is('a')).times(2..=3).overlapping(), "aaa"), ["01", "012", "12"]);
}

#[test]
fn what_is_optional_may_be_missing() {
    let pattern = || Pattern::begin("a", is('a')).next("b", is('b')).optional().next("c", is('c'));
    assert_eq!(places(pattern(), "abcacabbc"), ["0|1|2", "3||4"]);
}

#[test]
fn what_must_not_come_ends_what_has_begun() {
    let next = || Pattern::begin("a", is('a')).not_next(is('x')).followed_by("b", is('b'));
    assert_eq!(places(next(), "axbayxb"), ["3|6"]);
    let until = || Pattern::begin("a", is('a')).not_followed_by(is('x')).followed_by("b", is('b'));
    assert_eq!(places(until(), "ayxbayyb"), ["4|7"]);
}

#[test]
fn what_is_out_of_time_is_forgotten() {
    let pattern = Pattern::begin("a", is('a')).followed_by("b", is('b')).within(Duration::from_millis(5)).overlapping();
    let mut partials = Vec::new();
    for time in 0..100 {
        pattern.advance(&mut partials, Timestamp(time), &(time, 'a'));
        assert!(partials.len() <= 6, "{partials:?}");
    }
    pattern.expire(&mut partials, Timestamp(103));
    assert_eq!(partials.iter().map(|partial| partial.began.0).collect::<Vec<_>>(), [99]);
    pattern.expire(&mut partials, Timestamp(104));
    assert_eq!(partials, []);
}

/// A record that counts how often it, and others of its kind, have been copied.
struct Counted(Rc<Cell<usize>>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.set(self.0.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

#[test]
fn a_match_that_goes_on_in_one_way_only_does_not_copy_what_it_has_taken() {
    let any = Pattern::begin("any", |_: &Counted| true).one_or_more();
    let pattern = any.next("none", |_| false).within(Duration::from_secs(60));
    let (copies, mut partials) = (Rc::<Cell<usize>>::default(), Vec::new());
    for time in 0..100 {
        pattern.advance(&mut partials, Timestamp(time), &Counted(Rc::clone(&copies)));
    }
    assert_eq!(partials.len(), 100);
    assert_eq!(copies.get(), (1..=100).sum::<usize>(), "each record once for each match that takes it");
}

fn faults<T, C>(pattern: Pattern<T, C>) -> String {
    pattern.shape().faults().join("\n")
}

#[test]
fn what_makes_no_sense_is_said() {
    let begin = || Pattern::begin("a", is('a'));
    let second = Duration::from_secs(1);
    assert_eq!(faults(begin().times(3).next("b", is('b')).within(second)), "");
    assert!(faults(begin().next("a", is('b'))).contains("more than one stage is named 'a'"));
    assert!(faults(Pattern::begin("", is('a'))).contains("an empty name"));
    assert!(faults(begin().times(0)).contains("'a' is to come 0 times: leave it out"));
    assert!(faults(begin().times(0..=2)).contains("say `optional`"));
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = begin().times(3..=2);
    assert!(faults(reversed).contains("3 to 2 times"));
    assert!(faults(begin().optional().next("b", is('b'))).contains("the first stage is optional"));
    assert!(faults(begin().not_next(is('b'))).contains("what must not come"));
    let within = |micros| faults(begin().within(Duration::from_micros(micros)));
    assert_eq!(within(999), "the time of `within` is 999us: it must be at least 1ms");
    assert_eq!(within(1_500), "the time of `within` is 1ms 500us: it must be whole milliseconds");
    assert!(faults(begin().one_or_more()).contains("any number of times: say `within`"));
    assert_eq!(faults(begin().one_or_more().within(second)), "");
    assert!(faults(begin().followed_by("b", is('b')).overlapping()).contains("overlapping"));
    assert_eq!(faults(begin().followed_by("b", is('b'))), "");
    assert_eq!(faults(begin().times(0).not_next(is('b'))).lines().count(), 2, "all of it at once");
}

#[test]
fn two_patterns_that_differ_describe_themselves_otherwise() {
    let begin = || Pattern::begin("a", is('a'));
    let b = || is('b');
    let all = [
        begin().next("b", b()).shape().describe(),
        begin().followed_by("b", b()).shape().describe(),
        begin().not_next(is('x')).followed_by("b", b()).shape().describe(),
        begin().not_followed_by(is('x')).followed_by("b", b()).shape().describe(),
        begin().times(2).next("b", b()).shape().describe(),
        begin().times(2..).next("b", b()).shape().describe(),
        begin().times(2).relaxed().next("b", b()).shape().describe(),
        begin().next("b", b()).optional().shape().describe(),
        begin().next("b", b()).within(Duration::from_secs(1)).shape().describe(),
        begin().next("b", b()).overlapping().shape().describe(),
        begin().next("c", b()).shape().describe(),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
}
