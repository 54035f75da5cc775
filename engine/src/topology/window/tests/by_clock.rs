//! Windows of the clock, which is set by hand. It began 1,000 s after the Unix epoch.

use super::*;
use crate::time::Stamped;

const ZERO: i64 = 1_000_000;

fn feed<O: Operator>(job: &mut Job<O>, numbers: &[u32]) {
    let records: Vec<_> = numbers.iter().map(|number| Stamped { record: (1_u32, *number), time: ByClock }).collect();
    job.subtasks[0].feed(Box::new(records));
    job.settle();
}

fn given<O: Operator<Out = Windowed<u32, Vec<Record>>>>(job: &mut Job<O>) -> Vec<(Bounds, Vec<u32>)> {
    let bounds = |window: Window| (window.start.0 - ZERO, window.end.0 - ZERO);
    job.taken().into_iter().map(|(row, _)| (bounds(row.window), row.value)).collect()
}

#[test]
fn a_window_has_its_row_when_the_clock_is_at_its_end() {
    let step = keyed::<Record, ByClock>().window(Tumbling::of(ms(10))).aggregate("step", Numbers::default());
    let mut job = Job::new(step, 1);
    job.clock.set(3);
    feed(&mut job, &[0, 1]);
    assert_eq!(job.subtasks[0].wake_at(), Some(crate::id::ProcessingTime(10_000_000)));
    job.clock.set(9);
    feed(&mut job, &[2]);
    assert_eq!(given(&mut job), [], "in the last millisecond of a window there still may be records");
    job.clock.set(10);
    job.settle();
    assert_eq!(given(&mut job), [((0, 10), vec![0, 1, 2])]);
    assert_eq!((job.subtasks[0].wake_at(), job.subtasks[0].has_due()), (None, false));
    feed(&mut job, &[3]);
    job.clock.set(500);
    job.settle();
    assert_eq!(given(&mut job), [((10, 20), vec![3])]);
    assert_eq!(job.subtasks[0].take_late(), 0);
}

#[test]
fn nothing_is_late_and_no_window_has_a_second_row_where_the_clock_is_behind_after_a_restart() {
    let step = keyed::<Record, ByClock>().window(Tumbling::of(ms(10))).aggregate("step", Numbers::default());
    let mut job = Job::new(step, 1);
    job.clock.set(3);
    feed(&mut job, &[0]);
    job.clock.set(12);
    job.settle();
    assert_eq!(given(&mut job), [((0, 10), vec![0])]);
    assert!(job.snapshot());
    job.clock.set(4);
    job.restore(1);
    feed(&mut job, &[1]);
    job.clock.set(11);
    feed(&mut job, &[2]);
    assert_eq!(given(&mut job), []);
    job.clock.set(20);
    job.settle();
    assert_eq!(given(&mut job), [((10, 20), vec![1, 2])]);
    assert_eq!(job.subtasks[0].take_late(), 0);
}

#[test]
fn what_was_due_while_the_job_did_not_run_is_given_when_it_runs_again_once() {
    let step =
        keyed::<Record, ByClock>().window(Sliding::of(ms(20)).every(ms(10))).aggregate("step", Numbers::default());
    let mut job = Job::new(step, 2);
    job.clock.set(3);
    job.subtasks.iter_mut().for_each(drop);
    let range =
        crate::key_group::KeyGroupRange::of_subtask(crate::SubtaskIndex(0), 2, crate::state::tests::job::GROUPS);
    let group = |key: u32| crate::KeyGroup::of_hash(key.hash64(), crate::state::tests::job::GROUPS);
    let key = (0..).find(|key: &u32| range.contains(group(*key))).unwrap();
    job.subtasks[0].feed(Box::new(vec![Stamped { record: (key, 7_u32), time: ByClock }]));
    job.settle();
    assert!(job.snapshot());
    job.clock.set(3_600_000);
    job.restore(3);
    job.settle();
    assert_eq!(given(&mut job), [((-10, 10), vec![7]), ((0, 20), vec![7])]);
    assert!(job.snapshot());
    job.restore(1);
    job.settle();
    assert_eq!(given(&mut job), []);
}

#[test]
fn sessions_end_when_nothing_came_for_a_gap() {
    let step = keyed::<Record, ByClock>().window(Session::gap(ms(10))).aggregate("step", Numbers::default());
    let mut job = Job::new(step, 1);
    for (at, number) in [(0, 0), (10, 1), (19, 2), (40, 3)] {
        job.clock.set(at);
        feed(&mut job, &[number]);
    }
    assert_eq!(given(&mut job), [((0, 29), vec![0, 1, 2])]);
    job.do_all(&[Event::Mark(END)]);
    assert_eq!(given(&mut job), [((40, 50), vec![3])], "the end does not wait for the clock");
}

#[test]
fn a_count_trigger_and_the_end_of_the_window_by_the_clock() {
    let windows =
        keyed::<Record, ByClock>().window(Tumbling::of(ms(10))).trigger(Trigger::count(2).or_at_end().purging());
    let mut job = Job::new(windows.aggregate("step", Numbers::default()), 1);
    job.clock.set(1);
    feed(&mut job, &[0, 1, 2]);
    assert_eq!(given(&mut job), [((0, 10), vec![0, 1])]);
    job.clock.set(10);
    job.settle();
    assert_eq!(given(&mut job), [((0, 10), vec![2])]);
}
