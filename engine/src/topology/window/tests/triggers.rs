//! When there are rows: each trigger, with crashes in between.

use super::*;
use crate::id::WallTime;
use crate::operator::Stateful as _;
use crate::window::{Act, TriggerContext, WindowTrigger};

const SIZE: i64 = 100;

/// Rows of one key, as (numbers, stamp).
fn given<O: Operator<Out = Windowed<u32, Vec<Record>>, Time = Timestamp>>(job: &mut Job<O>) -> Vec<(Vec<u32>, i64)> {
    job.taken().into_iter().map(|(row, time)| (row.value, time.0)).collect()
}

fn crash<O: Operator>(job: &mut Job<O>, parallelism: u32) {
    assert!(job.snapshot());
    job.restore(parallelism);
}

/// One batch of key 1.
fn batch(records: &[(i64, u32)]) -> Event {
    Event::Batch(records.iter().map(|(time, number)| (1, *time, *number)).collect())
}

fn job<G: WindowTrigger<Record>>(
    trigger: Trigger<G>,
    lateness: i64,
) -> Job<impl Operator<Out = Windowed<u32, Vec<Record>>, Time = Timestamp>> {
    let windows = keyed_by_time().window(Tumbling::of(ms(SIZE))).allowed_lateness(ms(lateness)).trigger(trigger);
    Job::new(windows.aggregate("step", Numbers::default()), 1)
}

proptest! {
    #[test]
    fn count_gives_so_many_records_a_row_and_what_is_left_at_the_end(
        events in events(), how in runs(), n in 1..6_usize, purges in any::<bool>(), at_end in any::<bool>(),
    ) {
        // No watermark but the last: which records are late is another test's.
        let events: Vec<_> = events.into_iter().filter(|event| !matches!(event, Event::Mark(time) if *time != END)).collect();
        let windows = || keyed_by_time().window(Tumbling::of(ms(30)));
        let trigger = Trigger::count(n as u64);
        let trigger = if at_end { trigger.or_at_end() } else { trigger };
        let (given, _) = if purges {
            run(windows().trigger(trigger.purging()).aggregate("step", Numbers::default()), &events, how)
        } else {
            run(windows().trigger(trigger).aggregate("step", Numbers::default()), &events, how)
        };
        let mut came_in: BTreeMap<(u32, Bounds), Vec<u32>> = BTreeMap::new();
        for one in came(&events) {
            let start = one.time.div_euclid(30) * 30;
            came_in.entry((one.key, (start, start + 30))).or_default().push(one.number);
        }
        let mut expected = Rows::new();
        for (of, numbers) in came_in {
            let mut ends: Vec<_> = (1..=numbers.len()).filter(|length| length % n == 0).collect();
            if at_end && numbers.len() % n != 0 {
                ends.push(numbers.len());
            }
            for (nth, end) in ends.iter().enumerate() {
                let begin = if purges && nth > 0 { ends[nth - 1] } else { 0 };
                expected.entry(of).or_default().push(numbers[begin..*end].to_vec());
            }
        }
        prop_assert_eq!(rows(&given, false), expected);
    }
}

#[test]
fn continuous_gives_a_row_at_every_multiple_since_which_something_came() {
    let mut job = job(Trigger::continuous(ms(10)), 0);
    job.do_all(&[batch(&[(5, 0), (7, 1), (31, 2)])]);
    crash(&mut job, 2);
    job.do_all(&[Event::Mark(9)]);
    assert_eq!(given(&mut job), [(vec![0, 1, 2], 99)]);
    // One jump is as good as many steps: what it passes is due once.
    job.do_all(&[batch(&[(33, 3), (52, 4)]), Event::Mark(98)]);
    assert_eq!(given(&mut job), [(vec![0, 1, 2, 3, 4], 99)]);
    crash(&mut job, 1);
    job.do_all(&[Event::Mark(99)]);
    assert_eq!(given(&mut job), [(vec![0, 1, 2, 3, 4], 99)], "at the end, too");
    job.do_all(&[Event::Mark(END)]);
    assert_eq!(given(&mut job), []);
}

#[test]
fn by_clock_gives_a_row_when_a_record_has_waited_so_long() {
    let mut job = job(Trigger::by_clock(ms(50)), 0);
    job.clock.set(10);
    job.do_all(&[batch(&[(5, 0)])]);
    job.clock.set(40);
    job.do_all(&[batch(&[(6, 1)])]);
    crash(&mut job, 2);
    job.settle();
    assert_eq!(given(&mut job), []);
    job.clock.set(60);
    job.settle();
    assert_eq!(given(&mut job), [(vec![0, 1], 99)]);
    job.clock.set(500);
    job.settle();
    assert_eq!(given(&mut job), []);
    job.do_all(&[batch(&[(7, 2)]), Event::Mark(99)]);
    assert_eq!(given(&mut job), [(vec![0, 1, 2], 99)]);
    job.clock.set(5_000);
    job.settle();
    assert_eq!(given(&mut job), [], "the end had it");
}

#[test]
fn purging_takes_out_what_a_row_had_and_an_empty_window_has_none() {
    let mut job = job(Trigger::continuous(ms(10)).purging(), 30);
    job.do_all(&[batch(&[(5, 0)]), Event::Mark(9)]);
    assert_eq!(given(&mut job), [(vec![0], 99)]);
    crash(&mut job, 1);
    job.do_all(&[Event::Mark(99)]);
    assert_eq!(given(&mut job), [], "nothing is in it");
    job.do_all(&[batch(&[(6, 1)]), batch(&[(7, 2)])]);
    assert_eq!(given(&mut job), [(vec![1], 99), (vec![2], 99)]);
    job.do_all(&[Event::Mark(129), batch(&[(8, 3)])]);
    assert_eq!(given(&mut job), []);
    assert_eq!(job.subtasks[0].take_late(), 1);
}

#[test]
fn purging_takes_the_records_out_that_a_function_has() {
    let windows = keyed_by_time().window(Tumbling::of(ms(SIZE))).trigger(Trigger::count(2).or_at_end().purging());
    let step = windows.process("step", |_, _, records, out| {
        out.emit(records.iter().copied().copied().collect::<Vec<u32>>());
    });
    let events = numbered(vec![Ok(vec![(1, 3), (1, 2), (1, 1)])]);
    let (given, _) = run(step, &events, (Vec::new(), 1, 100));
    let given: Vec<_> = given.into_iter().map(|(row, _)| row).collect();
    assert_eq!(given, [vec![0, 1], vec![2]]);
}

#[test]
fn sessions_that_become_one_bring_what_their_triggers_know() {
    let windows = keyed_by_time().window(Session::gap(ms(10))).trigger(Trigger::count(4));
    let mut job = Job::new(windows.aggregate("step", Numbers::default()), 2);
    job.do_all(&[batch(&[(0, 0), (1, 1), (30, 2)])]);
    crash(&mut job, 3);
    assert_eq!(given(&mut job), []);
    job.do_all(&[batch(&[(11, 3), (20, 4)])]);
    // Two, one more, and the one that brings the third session in: the fourth record.
    let rows = given(&mut job);
    assert_eq!(rows.len(), 1);
    let mut numbers = rows[0].0.clone();
    numbers.sort_unstable();
    assert_eq!((numbers, rows[0].1), (vec![0, 1, 2, 3, 4], 39));
}

/// A row whenever a record of an odd number comes, and a while later by event time.
#[derive(Clone)]
struct Odd;

impl WindowTrigger<Record> for Odd {
    type State = u64;

    fn on_record(&self, number: &Record, time: Timestamp, odd: &mut u64, cx: &mut TriggerContext<'_>) -> Act {
        if number.is_multiple_of(2) {
            return Act::Go;
        }
        *odd += 1;
        cx.wake_at(Timestamp(time.0 + 20));
        if *odd == 3 { Act::Purge } else { Act::Fire }
    }

    fn on_event_time(&self, time: Timestamp, _: &mut u64, cx: &mut TriggerContext<'_>) -> Act {
        assert_eq!(cx.event_time(), time, "however far the watermark jumped");
        Act::Fire
    }

    fn on_merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }
}

#[test]
fn ones_own_trigger_is_asked_and_obeyed() {
    let mut job = job(Trigger::own(Odd), 0);
    job.do_all(&[batch(&[(5, 0), (6, 1), (7, 2)])]);
    assert_eq!(given(&mut job), [(vec![0, 1], 99)]);
    crash(&mut job, 2);
    job.do_all(&[Event::Mark(90)]);
    assert_eq!(given(&mut job), [(vec![0, 1, 2], 99)]);
    job.do_all(&[batch(&[(94, 3), (95, 5)])]);
    assert_eq!(given(&mut job), [(vec![0, 1, 2, 3], 99)], "the third odd one takes all of it out");
    job.do_all(&[Event::Mark(END)]);
    assert_eq!(given(&mut job), []);
}

/// Asks for the moment at which it is asked.
#[derive(Clone)]
struct Again;

impl WindowTrigger<Record> for Again {
    type State = ();

    fn on_record(&self, _: &Record, _: Timestamp, (): &mut (), cx: &mut TriggerContext<'_>) -> Act {
        cx.wake_at(Timestamp(10));
        cx.wake_at_clock(cx.wall_time());
        Act::Go
    }

    fn on_event_time(&self, time: Timestamp, (): &mut (), cx: &mut TriggerContext<'_>) -> Act {
        (0..=10).for_each(|by| cx.wake_at(Timestamp(time.0 - by)));
        Act::Fire
    }

    fn on_clock(&self, time: WallTime, (): &mut (), cx: &mut TriggerContext<'_>) -> Act {
        cx.wake_at_clock(time);
        Act::Fire
    }

    fn on_merge(&self, (): &mut (), (): ()) {}
}

#[test]
fn a_trigger_that_asks_for_the_moment_at_hand_is_not_asked_for_ever() {
    let mut job = job(Trigger::own(Again), 1_000);
    job.do_all(&[batch(&[(5, 0)]), Event::Mark(500)]);
    assert_eq!(given(&mut job), [(vec![0], 99), (vec![0], 99)], "once by each clock");
}

#[test]
fn another_trigger_over_the_same_state_is_refused() {
    macro_rules! changed {
        ($was:expr => $now:expr) => {{
            let windows = || keyed_by_time().window(Tumbling::of(ms(10)));
            let mut job = Job::<_>::new(windows().trigger($was).count("step"), 1);
            job.do_all(&[Event::Batch(vec![(1, 0, 0)]), Event::Mark(5)]);
            assert!(job.snapshot());
            let opened = by_hand::built(&windows().trigger($now).count("step"), 0, 1).open(&job.stored.context(0, 1));
            opened.map_err(|error| error.to_string())
        }};
    }
    let (count, continuous, by_clock) =
        (Trigger::count, |by| Trigger::continuous(ms(by)), |by| Trigger::by_clock(ms(by)));
    assert_eq!(changed!(count(2) => count(3)), Ok(()), "what it counts means the same");
    assert_eq!(changed!(continuous(3) => continuous(4)), Ok(()));
    assert_eq!(changed!(by_clock(3) => by_clock(4)), Ok(()));
    let refused = [
        (changed!(count(2) => Trigger::event_time()), "trigger count'"),
        (changed!(Trigger::event_time() => count(2)), "trigger count'"),
        (changed!(count(2) => count(2).or_at_end()), "trigger count or at end'"),
        (changed!(count(2) => count(2).purging()), "trigger count, purging'"),
        (changed!(count(2) => continuous(3)), "trigger continuous'"),
        (changed!(continuous(3) => by_clock(3)), "trigger by clock'"),
        (changed!(by_clock(3) => continuous(3)), "trigger continuous'"),
        (changed!(continuous(3) => Trigger::own(Odd)), "trigger own'"),
        (changed!(Trigger::own(Odd) => count(3)), "trigger own'"),
    ];
    for (opened, said) in refused {
        let error = opened.err().unwrap_or_else(|| format!("accepted, and not for {said}"));
        assert!(error.contains(said) && error.contains("give it another name"), "{error}");
    }
}
