//! State: a run that was cut off, and goes on from a snapshot at any parallelism, gives what an unbroken one does.

use std::{collections::BTreeMap, fmt::Debug};

use cofferdam_engine::{CheckpointId, Collector, Record, ValueState};
use cofferdam_testkit::{Emitted, Input, Operator, OperatorHarness, Shape, Stream};

/// A plain loop's body: what a record leads to.
type Loop<O> = Box<dyn FnMut(u64) -> Vec<O>>;

/// One thing that a test feeds.
#[derive(Clone, Copy, Debug)]
enum Feed {
    Record(u64),
    /// A checkpoint that does not complete.
    Barrier,
    Snapshot,
}

fn drawn(seed: u64) -> Vec<Feed> {
    let mut random = fastrand::Rng::with_seed(seed);
    let feed = |_| match random.u32(0..10) {
        0 => Feed::Barrier,
        1 => Feed::Snapshot,
        _ => Feed::Record(random.u64(0..50)),
    };
    (0..60).map(feed).collect()
}

fn expected<O>(feeds: &[Feed], mut first: u64, body: &mut Loop<O>) -> Vec<Emitted<O>> {
    let mut output = Vec::new();
    for feed in feeds {
        if let Feed::Record(record) = feed {
            output.extend(body(*record).into_iter().map(Emitted::Record));
        } else {
            output.push(Emitted::Barrier(CheckpointId(first)));
            first += 1;
        }
    }
    output
}

fn feed<O: Record>(harness: &mut OperatorHarness<u64, O>, feeds: &[Feed]) {
    for feed in feeds {
        match feed {
            Feed::Record(record) => harness.push(*record).unwrap(),
            Feed::Barrier => drop(harness.barrier().unwrap()),
            Feed::Snapshot => drop(harness.snapshot().unwrap()),
        }
    }
}

/// Feeds the drawn input at every parallelism; cuts it off at a snapshot, and goes on at every parallelism, twice.
fn check<P>(steps: impl Fn(Stream<Input<u64>>) -> Stream<P> + Copy + 'static, body: impl Fn() -> Loop<P::Out>)
where
    P: Operator<Out: Record + PartialEq + Debug>,
{
    for seed in 0..8 {
        let (first, second, third) = (drawn(seed), drawn(seed + 100), drawn(seed + 200));
        for parallelism in 1..=3 {
            let shape = Shape { parallelism, max_parallelism: 8, ..Shape::default() };
            let mut harness = OperatorHarness::with_shape(shape, steps).unwrap();
            let mut body = body();
            feed(&mut harness, &first);
            let snapshot = harness.snapshot().unwrap();
            let mut output = harness.take_output();
            assert_eq!(output.pop(), Some(Emitted::Barrier(snapshot.checkpoint())), "seed {seed}");
            assert_eq!(output, expected(&first, 1, &mut body), "seed {seed}, parallelism {parallelism}");
            // Behind the snapshot, in the state of this harness only.
            feed(&mut harness, &third);

            let after = snapshot.checkpoint().next().0;
            let rest = expected(&second, after, &mut body);
            let last = rest.iter().filter(|output| matches!(output, Emitted::Barrier(_))).count() as u64 + after;
            let end = expected(&third, last + 1, &mut body);
            for other in 1..=3 {
                let mut restored = harness.restore(&snapshot, other).unwrap();
                feed(&mut restored, &second);
                assert_eq!(restored.take_output(), rest, "seed {seed}, parallelism {parallelism} then {other}");
                let later = restored.snapshot().unwrap();
                let mut back = restored.restore(&later, parallelism).unwrap();
                feed(&mut back, &third);
                assert_eq!(back.take_output(), end, "seed {seed}, parallelism {parallelism}, {other} and back");
            }
        }
    }
}

#[test]
fn a_fold_goes_on_as_if_never_cut_off() {
    check(
        |numbers| numbers.key_by(|n| n % 7).fold("sum", 100u64, |sum, n| *sum += n),
        || {
            let mut sums = BTreeMap::new();
            Box::new(move |n| {
                let sum = sums.entry(n % 7).or_insert(100);
                *sum += n;
                vec![(n % 7, *sum)]
            })
        },
    );
}

#[test]
fn a_reduce_goes_on_as_if_never_cut_off() {
    check(
        |numbers| numbers.key_by(|n| n % 5).reduce("most", |most, n| *most = n.max(*most)),
        || {
            let mut most = BTreeMap::new();
            Box::new(move |n| {
                let most = most.entry(n % 5).or_insert(n);
                *most = n.max(*most);
                vec![(n % 5, *most)]
            })
        },
    );
}

/// Every third record of a key gives the three, and forgets them.
#[test]
fn a_process_function_goes_on_as_if_never_cut_off() {
    check(
        |numbers| {
            let key = |n: &u64| format!("key {}", n % 6);
            numbers.key_by(key).process(
                "threes",
                |_: &String, n: u64, seen: &mut ValueState<'_, Vec<u64>>, out: &mut Collector<'_, u64>| {
                    let all = seen.update(Vec::new, |all| {
                        all.push(n);
                        all.clone()
                    });
                    if all.len() == 3 {
                        seen.clear();
                        all.into_iter().for_each(|n| out.emit(n));
                    }
                },
            )
        },
        || {
            let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            Box::new(move |n| {
                let all = seen.entry(n % 6).or_default();
                all.push(n);
                if all.len() < 3 { Vec::new() } else { std::mem::take(all) }
            })
        },
    );
}

#[test]
fn a_chain_with_two_exchanges_goes_on_as_if_never_cut_off() {
    check(
        |numbers| {
            numbers
                .map(|n| n + 1)
                .filter(|n| n % 3 != 0)
                .flat_map(|n| [n; 3].into_iter().take((n % 4) as usize))
                .key_by(|n| n % 5)
                .fold("sum", 0u64, |sum, n| *sum += n)
                .filter(|(_, sum)| sum % 2 == 0)
                .key_by(|(key, _)| format!("key {key}"))
                .reduce("together", |(_, together), (_, sum)| *together += sum)
                .map(|(_, together)| together)
        },
        || {
            let (mut sums, mut together) = ([0u64; 5], [0u64; 5]);
            Box::new(move |n| {
                let (n, mut out) = (n + 1, Vec::new());
                let (key, times) = (n % 5, if n % 3 == 0 { 0 } else { (n % 4).min(3) });
                for _ in 0..times {
                    let (sum, together) = (&mut sums[key as usize], &mut together[key as usize]);
                    *sum += n;
                    if *sum % 2 == 0 {
                        *together += *sum;
                        out.push((key, *together));
                    }
                }
                out
            })
        },
    );
}

/// The records of each key, in their order.
fn by_key(records: Vec<(u64, u64)>) -> BTreeMap<u64, Vec<u64>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    records.into_iter().for_each(|(key, sum)| by_key.entry(key).or_default().push(sum));
    by_key
}

#[test]
fn batches_give_what_a_loop_over_their_records_gives_key_by_key() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut batch = || (0..random.usize(0..60)).map(|_| random.u64(0..50)).collect::<Vec<_>>();
        for parallelism in 1..=3 {
            let shape = Shape { inputs: 2, parallelism, max_parallelism: 8 };
            let mut harness = OperatorHarness::<u64, _>::with_shape(shape, |numbers| {
                numbers.flat_map(|n| 0..n).key_by(|n| n % 7).fold("sum", 0, |sum, n| *sum += n)
            })
            .unwrap();
            let mut sums = [0; 7];
            for turn in 0..4 {
                let batch = batch();
                let records = batch.iter().flat_map(|n| 0..*n).map(|n| {
                    let sum = &mut sums[(n % 7) as usize];
                    *sum += n;
                    (n % 7, *sum)
                });
                let expected = by_key(records.collect());
                harness.push_to(turn % 2, batch).unwrap();
                // A key's records may come through several subtasks of the first chain only in different batches.
                assert_eq!(by_key(harness.take_records()), expected, "seed {seed}, parallelism {parallelism}");
                let snapshot = harness.snapshot().unwrap();
                harness = harness.restore(&snapshot, 1 + (parallelism + turn as u32) % 3).unwrap();
            }
        }
    }
}

#[test]
fn a_checkpoint_has_what_came_before_its_barrier_on_each_input_and_nothing_behind() {
    let shape = Shape { inputs: 2, ..Shape::default() };
    let mut harness = OperatorHarness::<u64, _>::with_shape(shape, |numbers| {
        numbers.key_by(|_| 0u8).fold("sum", 0, |sum, n| *sum += n)
    })
    .unwrap();
    harness.push_to(0, vec![1]).unwrap();
    let checkpoint = harness.barrier_to(0).unwrap();
    harness.push_to(0, vec![1_000]).unwrap();
    harness.push_to(1, vec![10]).unwrap();
    assert!(harness.complete(checkpoint).is_err(), "the barrier has not left");
    harness.barrier_to(1).unwrap();
    harness.push_to(1, vec![10_000]).unwrap();
    assert_eq!(harness.take_output().last(), Some(&Emitted::Record((0, 11_011))));
    let snapshot = harness.complete(checkpoint).unwrap();
    assert!(harness.complete(checkpoint).is_err(), "it is complete");

    let mut restored = harness.restore(&snapshot, 1).unwrap();
    restored.push(100).unwrap();
    assert_eq!(restored.take_records(), [(0, 111)]);
}

#[test]
fn what_a_closure_remembers_is_not_restored() {
    let mut harness = OperatorHarness::<u64, _>::new(|numbers| {
        let mut sum = 0;
        numbers.map(move |n| {
            sum += n;
            sum
        })
    })
    .unwrap();
    harness.push(1).unwrap();
    let snapshot = harness.snapshot().unwrap();
    let mut restored = harness.restore(&snapshot, 1).unwrap();
    harness.push(2).unwrap();
    restored.push(2).unwrap();
    assert_eq!((harness.take_records(), restored.take_records()), (vec![1, 3], vec![2]));
}

#[test]
fn what_a_barrier_found_that_never_completed_is_in_the_next_snapshot() {
    let mut harness =
        OperatorHarness::<u64, _>::new(|numbers| numbers.key_by(|_| 0u8).fold("sum", 0, |sum, n| *sum += n)).unwrap();
    harness.push(1).unwrap();
    harness.barrier().unwrap();
    harness.push(2).unwrap();
    let snapshot = harness.snapshot().unwrap();
    let mut restored = harness.restore(&snapshot, 1).unwrap();
    restored.push(4).unwrap();
    assert_eq!(restored.take_records(), [(0, 7)]);
}

#[test]
fn an_older_snapshot_stays_what_it_was() {
    let mut harness =
        OperatorHarness::<u64, _>::new(|numbers| numbers.key_by(|n| n % 2).fold("sum", 0, |sum, n| *sum += n)).unwrap();
    let mut snapshots = vec![];
    for n in 1..=5 {
        harness.push(n).unwrap();
        snapshots.push(harness.snapshot().unwrap());
    }
    for (n, snapshot) in (1u64..).zip(&snapshots) {
        let mut restored = harness.restore(snapshot, 1).unwrap();
        restored.push(1).unwrap();
        let odd: u64 = (1..=n).filter(|n| n % 2 == 1).sum();
        assert_eq!(restored.take_records(), [(1, odd + 1)]);
    }
}

#[test]
fn a_snapshot_behind_the_end_is_not_gone_on_from() {
    let mut harness = OperatorHarness::<u64, _>::new(|numbers| numbers.map(|n| n)).unwrap();
    harness.end().unwrap();
    let snapshot = harness.snapshot().unwrap();
    let error = harness.restore(&snapshot, 1).err().unwrap();
    assert!(error.to_string().contains("the input had ended"), "{error}");
}

#[test]
fn steps_with_other_state_are_refused_a_snapshot() {
    let mut harness =
        OperatorHarness::<u64, _>::new(|numbers| numbers.key_by(|n| *n).fold("sum", 0, |sum, n| *sum += n)).unwrap();
    harness.push(1).unwrap();
    let snapshot = harness.snapshot().unwrap();
    let renamed = OperatorHarness::<u64, _>::from_snapshot(Shape::default(), &snapshot, |numbers| {
        numbers.key_by(|n| *n).fold("total", 0, |sum, n| *sum += n)
    });
    assert!(renamed.err().unwrap().to_string().contains("'sum'"));

    let mut same = OperatorHarness::<u64, _>::from_snapshot(Shape::default(), &snapshot, |numbers| {
        numbers.key_by(|n| *n).fold("total", 0, |sum, n| *sum += n * 10).uid("sum")
    })
    .unwrap();
    same.push(1).unwrap();
    assert_eq!(same.take_records(), [(1, 11)]);
}
