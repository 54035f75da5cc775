//! Types of state: what becomes of each on 1, 4, 3 and 2 subtasks, and in time.

use std::{collections::BTreeMap, time::Duration};

use cofferdam_engine::{
    Collector, Error,
    state::{self, Ttl},
};
use cofferdam_testkit::{Input, Operator, OperatorHarness, Shape, Stream};

/// What one record of the keyed step below gives: the key and all that its states hold.
type Seen = (u64, Option<u64>, Vec<u64>, Vec<(u64, u64)>, Option<u64>);

fn keyed(numbers: Stream<Input<u64>>) -> Stream<impl Operator<Out = Seen>> {
    let states = (
        state::value::<u64>("sum"),
        state::list::<u64>("list"),
        state::map::<u64, u64>("map"),
        state::reducing("most", |most: &mut u64, n: u64| *most = n.max(*most)),
    );
    numbers.key_by(|n| n % 5).process_with("states", states, |key, n, (sum, list, map, most), out| {
        match n % 7 {
            0 => sum.clear(),
            1 => drop(list.pop_front()),
            2 => map.clear(),
            3 => most.clear(),
            _ => {
                sum.update(|| 0, |sum| *sum += n);
                list.push(n);
                map.update(n % 3, || 0, |times| *times += 1);
                most.add(n);
            }
        }
        let entries = map.iter().map(|(n, times)| (*n, *times)).collect();
        out.emit((*key, sum.get().copied(), list.iter().copied().collect(), entries, most.get().copied()));
    })
}

#[test]
fn keyed_states_on_1_then_4_then_3_then_2_subtasks_are_those_of_an_undisturbed_run() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = Shape { max_parallelism: 8, ..Shape::default() };
        let mut undisturbed = OperatorHarness::with_shape(shape, keyed).unwrap();
        let mut moved = OperatorHarness::with_shape(shape, keyed).unwrap();
        for parallelism in [4, 3, 2, 2] {
            for _ in 0..80 {
                let n = random.u64(0..1_000);
                undisturbed.push(n).unwrap();
                moved.push(n).unwrap();
                if random.u32(0..20) == 0 {
                    moved.barrier().unwrap();
                }
            }
            assert_eq!(moved.take_records(), undisturbed.take_records(), "seed {seed}, before {parallelism}");
            let snapshot = moved.snapshot().unwrap();
            moved = moved.restore(&snapshot, parallelism).unwrap();
        }
    }
}

/// What a subtask of the operator below holds.
type Held = (Vec<u64>, Vec<u64>, BTreeMap<String, u64>);

const HOLD: u8 = 0;
const KEEP_ONLY: u8 = 1;
const RULE: u8 = 2;
const SHOW: u8 = 3;

fn operator(events: Stream<Input<(u8, u64)>>) -> Stream<impl Operator<Out = Held>> {
    let states = (state::list::<u64>("list"), state::union::<u64>("union"), state::broadcast::<String, u64>("rules"));
    events.process_operator("operator", states, |(what, n), (list, union, rules), out| match what {
        HOLD => list.push(n),
        KEEP_ONLY => *union = vec![n],
        RULE => drop(rules.insert(format!("rule {n}"), n)),
        _ => out.emit((list.clone(), union.clone(), rules.clone())),
    })
}

/// What each of so many subtasks holds: events go to them in turn.
fn shown(harness: &mut OperatorHarness<(u8, u64), Held>, parallelism: u32) -> Vec<Held> {
    (0..parallelism).for_each(|_| harness.push((SHOW, 0)).unwrap());
    harness.take_records()
}

#[test]
fn lists_are_dealt_out_unions_are_everybodys_and_maps_are_copied_on_1_then_4_then_3_then_2_subtasks() {
    let mut harness = OperatorHarness::new(operator).unwrap();
    (0..10).for_each(|n| harness.push((HOLD, n)).unwrap());
    harness.push((KEEP_ONLY, 500)).unwrap();
    harness.push((RULE, 1)).unwrap();
    let mut lists: Vec<Vec<u64>> = vec![(0..10).collect()];
    let mut kept = vec![500];
    let mut rules = BTreeMap::from([("rule 1".to_string(), 1)]);
    assert_eq!(shown(&mut harness, 1), [(lists[0].clone(), kept.clone(), rules.clone())]);
    for parallelism in [4u32, 3, 2] {
        let snapshot = harness.snapshot().unwrap();
        harness = harness.restore(&snapshot, parallelism).unwrap();
        let all: Vec<_> = lists.concat();
        let dealt = |subtask: u32| all.iter().skip(subtask as usize).step_by(parallelism as usize).copied();
        lists = (0..parallelism).map(|subtask| dealt(subtask).collect()).collect();
        let expected: Vec<Held> = lists.iter().map(|list| (list.clone(), kept.clone(), rules.clone())).collect();
        assert_eq!(shown(&mut harness, parallelism), expected, "on {parallelism}");
        // Each gets one more element, keeps a number of its own, and learns a rule.
        kept.clear();
        for subtask in 0..parallelism {
            let n = u64::from(1_000 * parallelism + subtask);
            lists[subtask as usize].push(n);
            kept.push(n);
            harness.push((HOLD, n)).unwrap();
        }
        kept.iter().for_each(|n| harness.push((KEEP_ONLY, *n)).unwrap());
        (0..parallelism).for_each(|_| harness.push((RULE, parallelism.into())).unwrap());
        rules.insert(format!("rule {parallelism}"), parallelism.into());
    }
    let snapshot = harness.snapshot().unwrap();
    let mut same = harness.restore(&snapshot, 2).unwrap();
    let expected: Vec<Held> = lists.iter().map(|list| (list.clone(), kept.clone(), rules.clone())).collect();
    assert_eq!(shown(&mut same, 2), expected, "on as many subtasks each has its own list");
}

#[test]
fn a_subtask_keeps_of_a_union_what_its_user_says() {
    let mut harness = OperatorHarness::new(|numbers: Stream<Input<u64>>| {
        let state = state::union::<u64>("numbers").on_restore(|all, subtask, parallelism| {
            all.into_iter().filter(|n| n % u64::from(parallelism) == u64::from(subtask.0)).collect()
        });
        numbers.process_operator("step", state, |n, numbers, out| {
            numbers.push(n);
            out.emit(numbers.clone());
        })
    })
    .unwrap();
    (0..6).for_each(|n| harness.push(n).unwrap());
    let snapshot = harness.snapshot().unwrap();
    let mut restored = harness.restore(&snapshot, 3).unwrap();
    (10..13).for_each(|n| restored.push(n).unwrap());
    assert_eq!(restored.take_records(), [vec![0, 3, 10], vec![1, 4, 11], vec![2, 5, 12]]);
}

#[test]
fn an_aborted_checkpoint_takes_nothing_of_operator_state_along() {
    let mut harness = OperatorHarness::new(operator).unwrap();
    harness.push((HOLD, 1)).unwrap();
    let snapshot = harness.snapshot().unwrap();
    harness.push((HOLD, 2)).unwrap();
    harness.barrier().unwrap();
    let mut restored = harness.restore(&snapshot, 1).unwrap();
    assert_eq!(shown(&mut restored, 1)[0].0, [1]);
}

fn seen_within(ttl: Ttl) -> OperatorHarness<u64, (u64, Option<u64>, usize)> {
    OperatorHarness::new(move |numbers| {
        let states = (state::value::<u64>("value").ttl(ttl), state::map::<u64, u64>("map").ttl(ttl));
        numbers.key_by(|n| n % 10).process_with("states", states, |key, n, (value, map), out| {
            out.emit((*key, value.get().copied(), map.iter().count()));
            if n >= 10 {
                value.set(n);
                map.insert(n, n);
            }
        })
    })
    .unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_has_expired_is_not_seen_from_that_moment_on_also_over_a_restart() {
    let mut harness = seen_within(Ttl::after(SECOND));
    harness.push(11).unwrap();
    harness.advance(SECOND - Duration::from_millis(1)).unwrap();
    harness.push(1).unwrap();
    assert_eq!(harness.take_records(), [(1, None, 0), (1, Some(11), 1)]);
    let snapshot = harness.snapshot().unwrap();
    let mut restored = harness.restore(&snapshot, 3).unwrap();
    restored.push(1).unwrap();
    restored.advance(Duration::from_millis(1)).unwrap();
    restored.push(1).unwrap();
    assert_eq!(restored.take_records(), [(1, Some(11), 1), (1, None, 0)]);
}

#[test]
fn reading_keeps_alive_what_is_refreshed_on_read_also_over_a_restart() {
    for (ttl, lives) in [(Ttl::after(SECOND), false), (Ttl::after(SECOND).refreshed_on_read(), true)] {
        let mut harness = seen_within(ttl);
        harness.push(11).unwrap();
        harness.snapshot().unwrap();
        harness.advance(SECOND / 2).unwrap();
        harness.push(1).unwrap();
        let snapshot = harness.snapshot().unwrap();
        let mut restored = harness.restore(&snapshot, 2).unwrap();
        restored.advance(SECOND / 2).unwrap();
        restored.push(1).unwrap();
        assert_eq!(restored.take_records(), [(1, lives.then_some(11), usize::from(lives))]);
    }
}

/// What a snapshot of `before` is refused with by `after`.
fn refusal<A, B>(
    before: impl Fn(Stream<Input<u64>>) -> Stream<A> + 'static,
    after: impl Fn(Stream<Input<u64>>) -> Stream<B> + 'static,
) -> String
where
    A: Operator<Out = u64>,
    B: Operator<Out = u64>,
{
    let mut harness = OperatorHarness::new(before).unwrap();
    harness.push(300).unwrap();
    let snapshot = harness.snapshot().unwrap();
    let refused = OperatorHarness::from_snapshot(Shape::default(), &snapshot, after);
    refused.map(drop).unwrap_err().to_string()
}

#[test]
fn state_of_another_kind_key_or_type_is_refused_in_words() {
    let value = |numbers: Stream<Input<u64>>| {
        numbers.key_by(|n| *n).process_with("step", state::value::<u64>("state"), |_, n, state, out| {
            state.set(n);
            out.emit(n);
        })
    };
    let list = |numbers: Stream<Input<u64>>| {
        numbers.key_by(|n| *n).process_with("step", state::list::<u64>("state"), |_, n, state, out| {
            state.push(n);
            out.emit(n);
        })
    };
    let held = |numbers: Stream<Input<u64>>| {
        numbers.process_operator("step", state::list::<u64>("state"), |n, state, out: &mut Collector<'_, u64>| {
            state.push(n);
            out.emit(n);
        })
    };
    let narrow = |numbers: Stream<Input<u64>>| {
        numbers.process_operator("step", state::list::<u8>("state"), |n, _, out: &mut Collector<'_, u64>| out.emit(n))
    };
    let shared = |numbers: Stream<Input<u64>>| {
        numbers.process_operator("step", state::union::<u64>("state"), |n, _, out: &mut Collector<'_, u64>| out.emit(n))
    };
    let versioned = |numbers: Stream<Input<u64>>| {
        let state = state::list::<u64>("state").version(2);
        numbers.process_operator("step", state, |n, _, out: &mut Collector<'_, u64>| out.emit(n))
    };
    for (error, parts) in [
        (refusal(value, list), ["state 'state' of 'step' was of kind 'value', and is of kind 'list' now", ""]),
        (refusal(value, held), ["'step' was a keyed step, and is a step with operator state now", ""]),
        (refusal(held, shared), ["was of kind 'operator list', and is of kind 'union' now", ""]),
        (refusal(held, narrow), ["state 'step/state' of job 'operator-harness', subtask 0", "300"]),
        (refusal(held, versioned), ["is of version 0, and those that can be read are 2", "migrate_from(0"]),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn older_elements_of_operator_state_become_what_the_user_says() -> Result<(), Error> {
    let mut harness = OperatorHarness::new(|numbers: Stream<Input<u64>>| {
        numbers.process_operator("step", state::list::<u64>("state"), |n, state, _: &mut Collector<'_, String>| {
            state.push(n);
        })
    })?;
    harness.push(7)?;
    let snapshot = harness.snapshot()?;
    let mut newer = OperatorHarness::from_snapshot(Shape::default(), &snapshot, |numbers: Stream<Input<u64>>| {
        let state = state::list::<String>("state").version(1).migrate_from(0, |n: u64| format!("number {n}"));
        numbers.process_operator("step", state, |_, state, out| state.iter().for_each(|text| out.emit(text.clone())))
    })?;
    newer.push(0)?;
    assert_eq!(newer.take_records(), ["number 7"]);
    Ok(())
}

#[test]
fn a_state_that_is_new_begins_empty_beside_those_that_were_there() {
    let mut harness = OperatorHarness::new(|numbers: Stream<Input<u64>>| {
        numbers.key_by(|n| n % 2).process_with("step", state::value::<u64>("sum"), |_, n, sum, out| {
            sum.update(|| 0, |sum| *sum += n);
            out.emit(n);
        })
    })
    .unwrap();
    harness.push(3).unwrap();
    let snapshot = harness.snapshot().unwrap();
    let mut newer = OperatorHarness::from_snapshot(Shape::default(), &snapshot, |numbers: Stream<Input<u64>>| {
        let states = (state::list::<u64>("all"), state::value::<u64>("sum"));
        numbers.key_by(|n| n % 2).process_with("step", states, |_, n, (all, sum), out| {
            all.push(n);
            out.emit((all.len(), sum.get().copied()));
        })
    })
    .unwrap();
    newer.push(5).unwrap();
    assert_eq!(newer.take_records(), [(1, Some(3))]);
}

#[test]
fn two_states_of_one_name_are_a_fault_of_the_topology() {
    let steps = |numbers: Stream<Input<u64>>| {
        let states = (state::value::<u64>("same"), state::list::<u64>("same"), state::value::<u64>(""));
        numbers.key_by(|n| *n).process_with("step", states, |_, n, _, out| out.emit(n))
    };
    let error = OperatorHarness::new(steps).map(drop).unwrap_err().to_string();
    assert!(error.contains("more than one state of 'step' is named 'same'"), "{error}");
    assert!(error.contains("a state of 'step' has an empty name"), "{error}");
}
