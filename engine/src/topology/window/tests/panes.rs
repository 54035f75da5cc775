//! What sliding windows cost.

use super::*;

/// Adds, and merges, of one key's records in so many slides.
fn cost(size: i64, slide: i64, slides: i64) -> (u64, u64, usize) {
    let numbers = Numbers::default();
    let step = keyed_by_time().window(Sliding::of(ms(size)).every(ms(slide))).aggregate("step", numbers.clone());
    let mut job = Job::new(step, 1);
    for nth in 0..slides {
        let records = (0..3).map(|number| (1, nth * slide, number)).collect();
        job.do_all(&[Event::Batch(records), Event::Mark((nth + 1) * slide - 1)]);
    }
    (numbers.adds.load(Ordering::SeqCst), numbers.merges.load(Ordering::SeqCst), job.rows.len())
}

#[test]
fn a_record_costs_one_add_and_a_slide_less_than_three_merges_whatever_their_ratio() {
    for (ratio, slides) in [(2, 1_000), (1_000, 4_000)] {
        let (adds, merges, rows) = cost(ratio * 10, 10, slides);
        assert_eq!((adds, rows as i64), (slides as u64 * 3, slides), "ratio {ratio}");
        assert!(merges < 3 * slides as u64, "ratio {ratio}: {merges} merges in {slides} slides");
        assert!(merges as i64 >= slides - 1, "ratio {ratio}: there was something to merge");
    }
}

#[test]
fn nothing_of_a_key_is_kept_behind_its_last_window() {
    let step = keyed_by_time().window(Sliding::of(ms(30)).every(ms(10))).allowed_lateness(ms(7)).count("step");
    let mut job = Job::new(step, 1);
    job.do_all(&[Event::Batch(vec![(1, 5, 0), (2, 25, 1)]), Event::Mark(300)]);
    assert!(job.snapshot());
    job.restore(1);
    job.rows.clear();
    job.do_all(&[Event::Mark(END)]);
    assert_eq!(job.rows.len(), 0);
    let live: usize = job.stored.deltas.iter().map(|(_, deltas)| deltas.len()).sum();
    assert!(live > 0, "it is in checkpoints");
}

#[test]
fn a_late_record_changes_the_rows_of_its_windows_and_those_to_come() {
    let step = keyed_by_time().window(Sliding::of(ms(30)).every(ms(10))).allowed_lateness(ms(20)).count("step");
    let mut job = Job::new(step, 1);
    let given = |job: &mut Job<_>| -> Vec<(i64, u64)> {
        job.taken().into_iter().map(|(row, _): (Windowed<u32, u64>, Timestamp)| (row.window.end.0, row.value)).collect()
    };
    job.do_all(&[Event::Batch(vec![(1, 5, 0), (1, 15, 1), (1, 25, 2)]), Event::Mark(29)]);
    assert_eq!(given(&mut job), [(10, 1), (20, 2), (30, 3)]);
    job.do_all(&[Event::Batch(vec![(1, 8, 3)])]);
    assert_eq!(given(&mut job), [(20, 3), (30, 4)], "the first window had been given up at 29");
    job.do_all(&[Event::Mark(39)]);
    assert_eq!(given(&mut job), [(40, 2)]);
}
