#![allow(clippy::unwrap_used)]

use std::{any::Any, collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    checkpoint::snapshot::OperatorKind,
    element::{StreamElement, Watermark},
    id::{ChannelIndex, SubtaskIndex},
    key_group::KeyGroupRange,
    operator::{Operator, Stateful, Step, keyed::table_place, timed::Timed},
    output::{
        TailControl,
        exchange::{Exchange, InTurn},
        sides::{ChainTail, Side, SideRule, Sides},
    },
    state::tests::job::GROUPS,
    topology::by_hand::{self, Job, built, interruptions, keyed},
    window::{
        Window,
        aggregates::{Counted, MaxBy, Summed},
    },
};

type Event = by_hand::Event<u64>;

const END: Event = Event::Mark(i64::MAX);

fn ten() -> Tumbling {
    Tumbling::of(Duration::from_millis(10))
}

/// Sums in windows.
fn sums(
    windows: Tumbling,
    parallelism: u32,
) -> Job<impl Operator<Out = Windowed<u32, u64>, Time = Timestamp> + Stateful> {
    let sum = Summed::by(|value: &u64| *value);
    Job::new(keyed::<u64, Timestamp>().window(windows).aggregate("step", sum), parallelism)
}

/// The sums of all records, by the start of their window, and key; and how many are late. In one go.
fn batch(events: &[Event], size: i64, offset: i64) -> (HashMap<(i64, u32), u64>, u64) {
    let (mut sums, mut late, mut reached) = (HashMap::new(), 0, i64::MIN);
    for event in events {
        match event {
            Event::Mark(time) => reached = reached.max(*time),
            Event::Batch(records) => {
                for (key, time, value) in records {
                    let start = (time - offset).div_euclid(size) * size + offset;
                    if start + size - 1 <= reached {
                        late += 1;
                        continue;
                    }
                    *sums.entry((start, *key)).or_insert(0) += *value;
                }
            }
        }
    }
    (sums, late)
}

/// As [`batch`] has them. No window of a key has two rows.
fn found(rows: &[(Windowed<u32, u64>, Timestamp)], size: i64) -> HashMap<(i64, u32), u64> {
    let mut found = HashMap::new();
    for (Windowed { key, window, value }, time) in rows {
        assert_eq!((window.end.0, time.0), (window.start.0 + size, window.end.0 - 1));
        assert_eq!(found.insert((window.start.0, *key), *value), None, "a second row of {key} in {window:?}");
    }
    found
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let record = (0..12_u32, -20..100_i64, 0..1_000_u64);
    let records = proptest::collection::vec(record, 1..40);
    // So many keys that a key group does not fire in one go.
    let many = (-20..100_i64, 100..400_u32);
    let event = prop_oneof![
        4 => records.prop_map(Event::Batch),
        1 => many.prop_map(|(time, keys)| Event::Batch((0..keys).map(|key| (key, time, 1)).collect())),
        3 => (-20..110_i64).prop_map(Event::Mark),
    ];
    proptest::collection::vec(event, 0..12)
}

proptest! {
    #[test]
    fn each_window_has_one_row_of_all_its_records_whatever_is_interrupted(
        events in events(),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
        slice in 1..20_u64,
        size in 1..40_i64,
        offset in 0..40_i64,
    ) {
        let events: Vec<_> = events.into_iter().chain([END]).collect();
        let windows = Tumbling::of(Duration::from_millis(size as u64)).offset(Duration::from_millis(offset as u64));
        let mut job = sums(windows, parallelism);
        job.slice = slice;
        job.do_interrupted(&events, interruptions);
        prop_assert_eq!(found(&job.rows, size), batch(&events, size, offset).0);
    }

    #[test]
    fn each_record_is_in_a_row_or_counted_as_late(events in events(), parallelism in 1..4_u32) {
        let events: Vec<_> = events.into_iter().chain([END]).collect();
        let mut job = sums(ten(), parallelism);
        job.do_all(&events);
        let late: u64 = job.subtasks.iter_mut().map(|step| step.take_late()).sum();
        prop_assert_eq!((found(&job.rows, 10), late), batch(&events, 10, 0));
    }
}

/// Lets a subtask give at most one row, which must not be behind its watermark: whether it has anything more to do.
fn step<O: Operator<Time = Timestamp>>(job: &mut Job<O>, subtask: usize) -> bool {
    let (mark, rows) = (job.mark(subtask, i64::MIN).time, job.rows.len());
    let goes_on = job.step(subtask);
    assert!(job.rows[rows..].iter().all(|(_, time)| *time > mark), "a row behind {mark}");
    goes_on
}

#[test]
fn a_fire_that_a_crash_interrupts_goes_on_behind_each_snapshot_on_any_number_of_subtasks() {
    let keys = 600;
    let events = [Event::Batch((0..keys).map(|key| (key, 5, 7)).collect()), Event::Mark(9)];
    let mut job = sums(ten(), 1);
    job.do_all(&events);
    let whole = found(&job.taken(), 10);
    assert_eq!(whole.len(), keys as usize);

    let mut job = sums(ten(), 2);
    job.do_all(&events[..1]);
    job.begin(&events[1]);
    let (mut snapshots, mut kept) = (0, 0);
    for turn in 0.. {
        if !(0..job.subtasks.len()).fold(false, |goes_on, subtask| step(&mut job, subtask) | goes_on) {
            break;
        }
        if turn % 5 == 0 {
            for subtask in 0..job.subtasks.len() {
                while job.subtasks[subtask].has_leftover() {
                    step(&mut job, subtask);
                }
            }
            assert!(job.snapshot());
            (snapshots, kept) = (snapshots + 1, job.rows.len());
        } else if turn % 7 == 0 {
            job.rows.truncate(kept);
            job.restore(1 + turn % 4);
        }
    }
    assert!(snapshots > 8, "{snapshots}");
    assert_eq!(found(&job.rows, 10), whole);
}

#[test]
fn rows_leave_in_the_order_of_their_windows_with_watermarks_between() {
    let mut job = sums(ten(), 1);
    job.do_all(&[Event::Batch((0..50).flat_map(|key| [45, 5, 23, 7].map(|time| (key, time, 1))).collect())]);
    job.begin(&END);
    let (mut marks, mut rows) = (Vec::new(), 0);
    loop {
        let goes_on = job.step(0);
        let mark = job.mark(0, i64::MIN).time.0;
        let new = &job.rows[rows..];
        assert!(new.iter().all(|(_, time)| Some(&time.0) > marks.last()), "behind its watermark");
        assert!(job.rows.iter().all(|(_, time)| mark != i64::MIN || time.0 == 9));
        rows = job.rows.len();
        if marks.last() != Some(&mark) {
            marks.push(mark);
        }
        if !goes_on {
            break;
        }
    }
    assert_eq!(marks, [i64::MIN, 9, 29, i64::MAX]);
    assert!(job.rows.is_sorted_by_key(|(_, time)| *time));
    assert_eq!(job.rows.len(), 150);
}

#[test]
fn idleness_waits_for_what_is_due() {
    let mut job = sums(ten(), 1);
    job.do_all(&[Event::Batch(vec![(1, 5, 1)])]);
    job.heads[0].is_idle = true;
    assert_eq!(job.mark(0, 25), Watermark { time: Timestamp::MIN, is_idle: false });
    job.settle();
    assert_eq!(job.mark(0, 25), Watermark { time: Timestamp(25), is_idle: true });
}

#[test]
fn a_record_of_a_complete_window_is_late_and_one_behind_the_watermark_in_an_open_one_is_not() {
    let mut job = sums(ten(), 1);
    job.do_all(&[Event::Batch(vec![(1, 5, 1)]), Event::Mark(15)]);
    job.do_all(&[Event::Batch(vec![(1, 9, 2), (1, 11, 4), (2, 3, 8)]), END]);
    assert_eq!(found(&job.rows, 10), HashMap::from([((0, 1), 1), ((10, 1), 4)]));
    assert_eq!((job.subtasks[0].take_late(), job.subtasks[0].take_late()), (2, 0));
}

#[test]
fn late_records_go_to_a_side_output_where_there_is_one() {
    let (tag, stream) = (SideTag::<u64>::new("late"), keyed::<u64, Timestamp>().stream);
    let late_to = tag.clone();
    let index = stream.graph.lock().add_step("window", Some(OperatorKind::Keyed), Some("step".to_string()));
    let stream = stream.then(index, move |input, context| {
        let sum = Summed::by(|value: &u64| *value);
        let logic = PaneWindow::new(ten(), sum, Some(late_to.clone()), &table_place("step", context));
        Timed::new(index, input, logic, context)
    });
    let mut job = Job::new(stream, 1);
    job.do_all(&[Event::Mark(15)]);
    job.feed(&[(1, 9, 2_u64), (1, 11, 4)]);
    let lanes = || Exchange::new(1, 8, SideRule::InTurn(InTurn::starting_at(0)));
    let mut sides = Sides::new(vec![Side::new(&tag, lanes())]);
    job.with_slice(0, |step, slice| {
        slice.lend(&mut sides);
        step.drive(slice, &mut |_, _, _| Ok(())).unwrap();
        slice.take_back(&mut sides).unwrap();
    });
    let mut tail = ChainTail { main: lanes(), sides };
    assert!(tail.flush());
    let Some(StreamElement::Batch(batch)) = tail.take_ready(ChannelIndex(1)) else { panic!("nothing at the side") };
    let batch: Box<dyn Any> = batch;
    let late: Vec<Stamped<u64, Timestamp>> = *batch.downcast().unwrap();
    assert_eq!(late, [Stamped { record: 2, time: Timestamp(9) }]);
    assert_eq!(job.subtasks[0].take_late(), 0, "none was dropped");
    job.do_all(&[END]);
    assert_eq!(found(&job.rows, 10), HashMap::from([((10, 1), 4)]));
}

/// The first key of a subtask of two.
fn key_of(subtask: u32) -> u32 {
    let range = KeyGroupRange::of_subtask(SubtaskIndex(subtask), 2, GROUPS);
    (0..).find(|key: &u32| range.contains(KeyGroup::of_hash(key.hash64(), GROUPS))).unwrap()
}

#[test]
fn a_key_that_comes_to_a_subtask_behind_has_no_second_row_and_its_records_are_late() {
    let mut job = sums(ten(), 2);
    let (ahead, behind) = (key_of(0), key_of(1));
    job.do_all(&[Event::Batch(vec![(ahead, 62, 1), (behind, 62, 1)])]);
    job.mark(0, 75);
    job.mark(1, 50);
    job.settle();
    assert_eq!(found(&job.taken(), 10), HashMap::from([((60, ahead), 1)]));
    assert!(job.snapshot());
    job.restore(1);
    job.do_all(&[Event::Batch(vec![(ahead, 65, 2), (behind, 65, 2), (ahead, 71, 4)]), END]);
    assert_eq!(found(&job.rows, 10), HashMap::from([((60, behind), 3), ((70, ahead), 4)]));
}

#[test]
fn other_windows_do_not_go_on_with_stored_ones() {
    let mut job = sums(ten(), 1);
    job.do_all(&[Event::Batch(vec![(1, 5, 1)])]);
    assert!(job.snapshot());
    let other = sums(Tumbling::of(Duration::from_millis(20)), 1);
    let error = built(&other.stream, 0, 1).open(&job.stored.context(0, 1)).unwrap_err().to_string();
    assert!(error.contains("'tumbling 10+0'") && error.contains("'tumbling 20+0'"), "{error}");
}

#[test]
fn any_aggregate_will_do() {
    let mut highest = Job::new(
        keyed::<(u32, String), Timestamp>().window(ten()).aggregate("step", MaxBy::by(|bid: &(u32, String)| bid.0)),
        1,
    );
    let bids = [(5_u32, "ann"), (7, "bob"), (7, "eve")].map(|(price, who)| (1, 3, (price, who.to_string())));
    highest.do_all(&[by_hand::Event::Batch(bids.to_vec()), by_hand::Event::Mark(9)]);
    let window = Window::new(Timestamp(0), Timestamp(10));
    assert_eq!(highest.rows, [(Windowed { key: 1, window, value: Some((7, "bob".to_string())) }, Timestamp(9))]);

    let mut count = Job::new(keyed::<u64, Timestamp>().window(ten()).aggregate("step", Counted::new()), 1);
    count.do_all(&[Event::Batch(vec![(1, 3, 100), (1, 4, 100)]), Event::Mark(9)]);
    assert_eq!(count.rows, [(Windowed { key: 1, window, value: 2 }, Timestamp(9))]);
}

#[cfg(feature = "time-zones")]
#[test]
fn days_are_as_long_as_they_are() {
    let hour = 3_600_000;
    let zone = crate::window::TimeZone::named("Europe/Berlin").unwrap();
    let mut job = sums(Tumbling::days(zone), 1);
    // 2021-03-28, on which there was no hour from two to three, began at 2021-03-27T23:00Z.
    let start = 1_616_886_000_000;
    let records = [-1, 0, 22, 23].map(|hours| (1, start + hours * hour, 1));
    job.do_all(&[Event::Batch(records.to_vec()), END]);
    let days: Vec<_> = job.rows.iter().map(|(row, _)| (row.window.start.0, row.window.end.0, row.value)).collect();
    let (before, end) = (start - 24 * hour, start + 23 * hour);
    assert_eq!(days, [(before, start, 1), (start, end, 2), (end, end + 24 * hour, 1)]);
}
