//! Windows that would reach beyond the first moment or the last one.

use super::*;

const LAST: i64 = i64::MAX - 1;
const FIRST: i64 = i64::MIN + 1;

/// Records near both ends of time, in order, and how much time passes in front of each: none of them is late.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let near = prop_oneof![(0..30_i64).prop_map(|from| FIRST + from), (0..30_i64).prop_map(|from| LAST - from)];
    let records = proptest::collection::vec((0..2_u32, near, any::<bool>()), 1..12);
    records.prop_map(|mut records| {
        records.sort_unstable_by_key(|(_, time, _)| *time);
        let each = records.into_iter().flat_map(|(key, time, is_told)| {
            let mark = is_told.then_some(Err(time - 1));
            mark.into_iter().chain([Ok(vec![(key, time)])])
        });
        numbered(each.collect())
    })
}

fn cut(bounds: (i128, i128)) -> Bounds {
    let cut = |at: i128| at.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    (cut(bounds.0), cut(bounds.1))
}

/// One row for each window that a record lies in, with all of them.
fn expected(events: &[Event], of: impl Fn(i64) -> Vec<Bounds>) -> Rows {
    let mut rows = Rows::new();
    for one in came(events) {
        for bounds in of(one.time) {
            rows.entry((one.key, bounds)).or_insert_with(|| vec![Vec::new()])[0].push(one.number);
        }
    }
    rows
}

fn windows_at(size: i64, slide: i64, time: i64) -> Vec<Bounds> {
    let (size, slide, time) = (i128::from(size), i128::from(slide), i128::from(time));
    let last = time - time.rem_euclid(slide);
    let starts = (0..).map(|back| last - back * slide).take_while(|start| start + size > time);
    starts.map(|start| cut((start, start + size))).collect()
}

fn sessions(events: &[Event], gap: i64) -> Rows {
    let mut by_key: BTreeMap<u32, Vec<Came>> = BTreeMap::new();
    came(events).into_iter().for_each(|one| by_key.entry(one.key).or_default().push(one));
    let mut rows = Rows::new();
    for (key, came) in by_key {
        for session in came.chunk_by(|one, next| i128::from(next.time) - i128::from(one.time) <= gap.into()) {
            let end = i128::from(session.last().unwrap().time) + i128::from(gap);
            let numbers = session.iter().map(|one| one.number).collect();
            rows.insert((key, cut((session[0].time.into(), end))), vec![numbers]);
        }
    }
    rows
}

/// Checks one row for each window, by each of the ways in which there are such rows.
macro_rules! have_all_rows {
    ($windows:expr, $events:expr, $how:expr, $lateness:expr, $expected:expr) => {
        let windows = || keyed_by_time().window($windows);
        let late = || windows().allowed_lateness(ms($lateness));
        have_all_rows!(@windows().aggregate("step", Numbers::default()), $events, $how, $expected);
        have_all_rows!(@late().aggregate("step", Numbers::default()), $events, $how, $expected);
        have_all_rows!(@late().final_only().aggregate("step", Numbers::default()), $events, $how, $expected);
        let triggered = late().trigger(Trigger::event_time());
        have_all_rows!(@triggered.aggregate("step", Numbers::default()), $events, $how, $expected);
        let listed = late().process("step", |key, window, records, out| {
            out.emit(Windowed { key: *key, window, value: records.iter().copied().copied().collect::<Vec<_>>() });
        });
        have_all_rows!(@listed, $events, $how, $expected);
    };
    (@$step:expr, $events:expr, $how:expr, $expected:expr) => {
        let (given, late) = run($step, $events, $how.clone());
        prop_assert_eq!((&rows(&given, true), late), ($expected, 0));
        prop_assert!(given.iter().all(|(row, time)| *time == row.window.max_timestamp()));
    };
}

proptest! {
    #[test]
    fn no_row_is_lost_of_tumbling_windows(
        events in events(), how in runs(), size in 1..40_i64, lateness in 0..30_i64,
    ) {
        let expected = expected(&events, |time| windows_at(size, size, time));
        have_all_rows!(Tumbling::of(ms(size)), &events, how, lateness, &expected);
    }

    #[test]
    fn no_row_is_lost_of_sliding_windows(
        events in events(), how in runs(), size in 1..40_i64, slide in 1..50_i64, lateness in 0..30_i64,
    ) {
        let expected = expected(&events, |time| windows_at(size, slide, time));
        have_all_rows!(Sliding::of(ms(size)).every(ms(slide)), &events, how, lateness, &expected);
    }

    #[test]
    fn no_row_is_lost_of_sessions(
        events in events(), how in runs(), gap in 1..40_i64, lateness in 0..30_i64,
    ) {
        have_all_rows!(Session::gap(ms(gap)), &events, how, lateness, &sessions(&events, gap));
    }
}
