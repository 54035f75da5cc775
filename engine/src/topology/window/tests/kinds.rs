//! Each kind of windows: with disorder, lateness, crashes and other parallelism in between.

use super::*;
use crate::operator::Stateful as _;

/// When rows come.
#[derive(Clone, Copy, Debug)]
enum When {
    /// At a window's end, and for each late record.
    Updating,
    /// Once.
    Final,
}

/// All windows that a search finds for `time`.
fn search(size: i64, slide: i64, time: i64) -> Vec<Bounds> {
    let starts = (-200..200).map(|nth| nth * slide);
    starts.map(|start| (start, start + size)).filter(|(start, end)| (*start..*end).contains(&time)).collect()
}

/// Rows and late records of windows that `of` gives for a time. A row is of all that had come when it is given.
fn oracle(came: &[Came], of: impl Fn(i64) -> Vec<Bounds>, lateness: i64, when: When) -> (Rows, u64) {
    let mut windows: BTreeMap<(u32, Bounds), Vec<Came>> = BTreeMap::new();
    let mut late = 0;
    for one in came {
        let all = of(one.time);
        let open: Vec<_> = all.iter().filter(|(_, end)| end - 1 + lateness > one.clock).collect();
        late += u64::from(open.is_empty() && !all.is_empty());
        open.into_iter().for_each(|window| windows.entry((one.key, *window)).or_default().push(*one));
    }
    let rows = windows.into_iter().map(|(of, came)| {
        let numbers: Vec<_> = came.iter().map(|one| one.number).collect();
        let timely = came.iter().filter(|one| one.clock < of.1.1 - 1).count();
        let lengths = match when {
            When::Updating => timely.max(1)..=came.len(),
            When::Final => came.len()..=came.len(),
        };
        (of, lengths.map(|length| numbers[..length].to_vec()).collect())
    });
    (rows.collect(), late)
}

fn sorted(rows: Rows) -> Rows {
    let sorted = |mut numbers: Vec<u32>| {
        numbers.sort_unstable();
        numbers
    };
    rows.into_iter().map(|(of, rows)| (of, rows.into_iter().map(sorted).collect())).collect()
}

/// Each row bears the last moment of its window.
fn bear_their_window(given: &[(Windowed<u32, Vec<Record>>, Timestamp)]) {
    assert!(given.iter().all(|(row, time)| *time == row.window.max_timestamp()));
}

/// Sessions as one who has read what they are would keep them: a list that is gone through again and again.
fn session_oracle(events: &[Event], gap: impl Fn(Record) -> i64, lateness: i64, when: When) -> (Rows, u64) {
    struct Kept {
        key: u32,
        bounds: Bounds,
        numbers: Vec<Record>,
    }
    let (mut kept, mut rows, mut late, mut clock) = (Vec::<Kept>::new(), Rows::new(), 0, i64::MIN);
    let give = |rows: &mut Rows, session: &Kept| {
        rows.entry((session.key, session.bounds)).or_default().push(session.numbers.clone());
    };
    for event in events {
        match event {
            Event::Mark(time) => {
                let before = clock;
                clock = clock.max(*time);
                let due = |moment: i64| before < moment && moment <= clock;
                for session in &kept {
                    let at = match when {
                        When::Updating => session.bounds.1,
                        When::Final => session.bounds.1 + lateness,
                    };
                    if due(at) {
                        give(&mut rows, session);
                    }
                }
                kept.retain(|session| session.bounds.1.saturating_add(lateness) > clock);
            }
            Event::Batch(records) => {
                for (key, time, number) in records {
                    let mut new = Kept { key: *key, bounds: (*time, *time + gap(*number)), numbers: vec![*number] };
                    let meets =
                        |one: &Kept| one.key == *key && one.bounds.0 <= new.bounds.1 && new.bounds.0 <= one.bounds.1;
                    let (met, apart): (Vec<_>, Vec<_>) = kept.into_iter().partition(meets);
                    kept = apart;
                    let mut bounds = new.bounds;
                    met.iter().for_each(|one| bounds = (bounds.0.min(one.bounds.0), bounds.1.max(one.bounds.1)));
                    if bounds.1 + lateness <= clock {
                        assert!(met.is_empty());
                        late += 1;
                        continue;
                    }
                    new.bounds = bounds;
                    new.numbers.extend(met.into_iter().flat_map(|one| one.numbers));
                    new.numbers.sort_unstable();
                    if matches!(when, When::Updating) && bounds.1 <= clock {
                        give(&mut rows, &new);
                    }
                    kept.push(new);
                }
            }
        }
    }
    (rows, late)
}

/// Sessions of records none of which was late: cut where the next one is more than a gap away.
fn cut(came: &[Came], gap: i64) -> Rows {
    let mut by_key: BTreeMap<u32, Vec<(i64, Record)>> = BTreeMap::new();
    came.iter().for_each(|one| by_key.entry(one.key).or_default().push((one.time, one.number)));
    let mut rows = Rows::new();
    for (key, mut records) in by_key {
        records.sort_unstable();
        for session in records.chunk_by(|one, next| next.0 - one.0 <= gap) {
            let mut numbers: Vec<_> = session.iter().map(|(_, number)| *number).collect();
            numbers.sort_unstable();
            rows.insert((key, (session[0].0, session.last().unwrap().0 + gap)), vec![numbers]);
        }
    }
    rows
}

proptest! {
    #[test]
    fn tumbling_windows_have_the_rows_that_a_batch_has(
        events in events(), how in runs(), size in 1..40_i64, lateness in prop_oneof![Just(0), 0..60_i64],
    ) {
        let windows = || keyed_by_time().window(Tumbling::of(ms(size)));
        let came = came(&events);
        let of = |time| search(size, size, time);
        let (given, late) = run(windows().allowed_lateness(ms(lateness)).aggregate("step", Numbers::default()), &events, how.clone());
        bear_their_window(&given);
        prop_assert_eq!((rows(&given, false), late), oracle(&came, of, lateness, When::Updating));
        let (given, late) = run(windows().allowed_lateness(ms(lateness)).final_only().aggregate("step", Numbers::default()), &events, how.clone());
        prop_assert_eq!((rows(&given, false), late), oracle(&came, of, lateness, When::Final));
        let (given, late) = run(windows().aggregate("step", Numbers::default()), &events, how);
        prop_assert_eq!((rows(&given, false), late), oracle(&came, of, 0, When::Updating));
    }

    #[test]
    fn sliding_windows_of_panes_have_the_rows_that_a_batch_has(
        events in events(), how in runs(), size in 1..40_i64, slide in 1..50_i64,
        lateness in prop_oneof![Just(0), 0..60_i64],
    ) {
        let windows = || keyed_by_time().window(Sliding::of(ms(size)).every(ms(slide))).allowed_lateness(ms(lateness));
        let came = came(&events);
        let of = |time| search(size, slide, time);
        let (given, late) = run(windows().aggregate("step", Numbers::default()), &events, how.clone());
        bear_their_window(&given);
        let (expected, expected_late) = oracle(&came, of, lateness, When::Updating);
        prop_assert_eq!((rows(&given, true), late), (sorted(expected), expected_late));
        let (given, late) = run(windows().final_only().aggregate("step", Numbers::default()), &events, how);
        let (expected, expected_late) = oracle(&came, of, lateness, When::Final);
        prop_assert_eq!((rows(&given, true), late), (sorted(expected), expected_late));
    }

    #[test]
    fn a_function_has_the_records_of_sliding_windows_as_they_came(
        events in events(), how in runs(), size in 1..40_i64, slide in 1..50_i64, lateness in 0..30_i64,
    ) {
        let windows = keyed_by_time().window(Sliding::of(ms(size)).every(ms(slide))).allowed_lateness(ms(lateness));
        let listed = windows.process("step", |key, window, records, out| {
            out.emit(Windowed { key: *key, window, value: records.iter().copied().copied().collect::<Vec<_>>() });
        });
        let (given, late) = run(listed, &events, how);
        let expected = oracle(&came(&events), |time| search(size, slide, time), lateness, When::Updating);
        prop_assert_eq!((rows(&given, false), late), expected);
    }

    #[test]
    fn sessions_have_the_rows_that_a_list_of_them_has(
        events in events(), how in runs(), gap in 1..30_i64, by_record in any::<bool>(),
        lateness in prop_oneof![Just(0), 0..60_i64],
    ) {
        let gap_of = move |number: u32| if by_record { gap * (1 + i64::from(number % 3)) } else { gap };
        let windows = || keyed_by_time().window(Session::gap_by(move |number: &u32| ms(gap_of(*number)))).allowed_lateness(ms(lateness));
        let (given, late) = run(windows().aggregate("step", Numbers::default()), &events, how.clone());
        bear_their_window(&given);
        prop_assert_eq!((rows(&given, true), late), session_oracle(&events, gap_of, lateness, When::Updating));
        let (given, late) = run(windows().final_only().process("step", |key, window, records, out| {
            out.emit(Windowed { key: *key, window, value: records.iter().copied().copied().collect::<Vec<_>>() });
        }), &events, how);
        // Not sorted here: that is the promise.
        prop_assert_eq!((rows(&given, false), late), session_oracle(&events, gap_of, lateness, When::Final));
    }

    #[test]
    fn without_late_records_sessions_are_cut_by_the_gaps_alone(
        batches in proptest::collection::vec(proptest::collection::vec((0..3_u32, 0..30_i64), 1..8), 0..10),
        how in runs(), gap in 1..25_i64,
    ) {
        // Each batch is behind the watermark in front of it, by as little as a millisecond.
        let events = batches.into_iter().zip(0..).flat_map(|(batch, nth)| {
            let batch = batch.into_iter().map(|(key, time)| (key, nth * 12 + time)).collect();
            [Err(nth * 12 - 1), Ok(batch)]
        });
        let events = numbered(events.collect());
        let step = keyed_by_time().window(Session::gap(ms(gap))).aggregate("step", Numbers::default());
        let (given, late) = run(step, &events, how);
        prop_assert_eq!((rows(&given, true), late), (cut(&came(&events), gap), 0));
    }

    #[test]
    fn the_global_window_has_all_of_it_at_the_end(events in events(), how in runs()) {
        let step = keyed_by_time().window(Global).aggregate("step", Numbers::default());
        let (given, late) = run(step, &events, how);
        let all = (Global::WINDOW.start.0, Global::WINDOW.end.0);
        prop_assert_eq!((rows(&given, false), late), oracle(&came(&events), |_| vec![all], 0, When::Updating));
    }

    #[test]
    fn windows_of_so_many_records_are_the_last_ones_after_every_so_many(
        events in events(), how in runs(), size in 1..8_u64, every in 1..10_u64,
    ) {
        let mut by_key: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut expected: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
        for one in came(&events) {
            let numbers = by_key.entry(one.key).or_default();
            numbers.push(one.number);
            if (numbers.len() as u64).is_multiple_of(every) {
                let last = numbers[numbers.len().saturating_sub(size as usize)..].to_vec();
                expected.entry(one.key).or_default().push(last);
            }
        }
        let of_each = |given: Vec<(Windowed<u32, Vec<u32>>, Timestamp)>| {
            let mut rows: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
            given.into_iter().for_each(|(row, _)| rows.entry(row.key).or_default().push(row.value));
            rows
        };
        let windows = || keyed_by_time().window(Count::sliding(size, every));
        let (given, _) = run(windows().aggregate("step", Numbers::default()), &events, how.clone());
        prop_assert_eq!(&of_each(given), &expected);
        let (given, _) = run(windows().process("step", |key, window, records, out| {
            out.emit(Windowed { key: *key, window, value: records.iter().copied().copied().collect::<Vec<_>>() });
        }), &events, how);
        prop_assert_eq!(&of_each(given), &expected);
    }

    #[test]
    fn of_a_key_whose_windows_to_come_have_none_of_its_records_nothing_is_kept(
        events in events(), (size, every) in (1..8_u64, 1..8_u64), parallelism in 1..3_u32,
    ) {
        let windows = || keyed_by_time().window(Count::sliding(size, every));
        let mut panes = Job::new(windows().aggregate("step", Numbers::default()), parallelism);
        let mut lists = Job::new(windows().process("step", |_, _, records, out| out.emit(records.len())), parallelism);
        let mut came: BTreeMap<u32, u64> = BTreeMap::new();
        for event in &events {
            panes.do_all(std::slice::from_ref(event));
            lists.do_all(std::slice::from_ref(event));
            if let Event::Batch(records) = event {
                records.iter().for_each(|(key, ..)| *came.entry(*key).or_default() += 1);
            }
            let (mut of_panes, mut of_lists, mut counts) = (0, 0, 0);
            for records in came.values() {
                // Of each record, which windows have it, by their ends: those that have the same ones are one pane.
                let of = |record: u64| {
                    let ends = (1..300).map(|nth| nth * every);
                    ends.filter(|end| (end.saturating_sub(size)..*end).contains(&record)).collect::<Vec<_>>()
                };
                let is_to_come = |ends: &Vec<u64>| ends.iter().any(|end| end > records);
                let kept: Vec<_> = (0..*records).map(of).filter(is_to_come).collect();
                of_lists += kept.len();
                of_panes += kept.iter().collect::<BTreeSet<_>>().len();
                // In the middle of a window, or between two, it counts how far the next one is.
                counts += usize::from(!kept.is_empty() || records % every != 0);
            }
            prop_assert_eq!(kept(&mut panes, &["panes", "count"]), [of_panes, counts]);
            prop_assert_eq!(kept(&mut lists, &["records", "count"]), [of_lists, counts]);
        }
    }
}

#[test]
fn tumbling_windows_of_so_many_records_keep_nothing_of_keys_that_have_filled_theirs() {
    let mut job = Job::new(keyed_by_time().window(Count::of(3)).count("step"), 2);
    let each = |keys: std::ops::Range<u32>| Event::Batch(keys.map(|key| (key, 0, key)).collect());
    job.do_all(&[each(0..500), each(0..500)]);
    assert_eq!(kept(&mut job, &["panes", "count"]), [500, 500]);
    job.do_all(&[each(0..499)]);
    assert_eq!((job.taken().len(), kept(&mut job, &["panes", "count"])), (499, vec![1, 1]));
    job.do_all(&[each(0..1), each(0..1), each(0..1)]);
    assert_eq!((job.taken().len(), kept(&mut job, &["panes", "count"])), (1, vec![1, 1]), "and begin anew");
}

#[test]
fn records_in_windows_and_late_ones_are_all_records() {
    let events = numbered(vec![Ok(vec![(1, 5), (1, 25)]), Err(20), Ok(vec![(1, 9), (1, 19), (1, 21), (2, 3)])]);
    let step = keyed_by_time().window(Tumbling::of(ms(10))).process("step", |key, window, records, out| {
        out.emit((*key, bounds(window), records.len()));
    });
    let (mut given, late) = run(step, &events, (Vec::new(), 2, 100));
    given.sort_unstable();
    let given: Vec<_> = given.into_iter().map(|(row, time)| (row, time.0)).collect();
    assert_eq!(given, [((1, (0, 10), 1), 9), ((1, (20, 30), 2), 29)]);
    assert_eq!(late, 3);
}

#[test]
fn a_record_between_two_sliding_windows_is_not_late() {
    let events = numbered(vec![Err(90), Ok(vec![(1, 15), (1, 5)])]);
    let step = keyed_by_time().window(Sliding::of(ms(10)).every(ms(20))).count("step");
    assert_eq!(run(step, &events, (Vec::new(), 1, 100)).1, 1);
}

#[test]
fn sessions_grow_together_across_a_crash_and_another_parallelism() {
    let mut job = Job::new(keyed_by_time().window(Session::gap(ms(10))).aggregate("step", Numbers::default()), 3);
    job.do_all(&[
        Event::Batch((0..20).flat_map(|key| [(key, 0, key), (key, 20, 100 + key)]).collect()),
        Event::Mark(5),
    ]);
    assert!(job.snapshot());
    job.restore(2);
    job.do_all(&[Event::Batch((0..20).map(|key| (key, 10, 200 + key)).collect())]);
    assert!(job.snapshot());
    job.restore(1);
    job.do_all(&[Event::Mark(29)]);
    assert_eq!(job.rows.len(), 0, "a record at 30 would be of it");
    job.do_all(&[Event::Mark(30)]);
    let expected: Rows = (0..20).map(|key| ((key, (0, 30)), vec![vec![key, 100 + key, 200 + key]])).collect();
    assert_eq!(rows(&job.rows, true), expected);
    assert!(job.rows.iter().all(|(_, time)| time.0 == 29));
}

#[test]
fn the_watermark_behind_sessions_lets_their_rows_be_timely() {
    let mut job = Job::new(keyed_by_time().window(Session::gap(ms(10))).count("step"), 1);
    job.do_all(&[Event::Batch(vec![(1, 0, 0)]), Event::Mark(9)]);
    assert_eq!(job.mark(0, 9).time, Timestamp(8), "the row at 9 is still to come");
    job.do_all(&[Event::Mark(10)]);
    assert_eq!((job.rows.len(), job.mark(0, 10).time), (1, Timestamp(9)));
    job.do_all(&[Event::Mark(END)]);
    assert_eq!(job.mark(0, END).time, Timestamp::MAX);
}

#[test]
fn the_watermark_behind_final_rows_waits_for_them() {
    fn behind<O: Operator<Out = Windowed<u32, u64>, Time = Timestamp>>(stream: Stream<O>) {
        let mut job = Job::new(stream, 1);
        job.do_all(&[Event::Batch(vec![(1, 0, 0)]), Event::Mark(15)]);
        assert_eq!((job.rows.len(), job.mark(0, 15).time), (0, Timestamp(8)));
        job.do_all(&[Event::Mark(17)]);
        assert!(job.rows[0].1 == Timestamp(9) && job.mark(0, 17).time >= Timestamp(9));
    }
    behind(keyed_by_time().window(Tumbling::of(ms(10))).allowed_lateness(ms(7)).final_only().count("step"));
    behind(keyed_by_time().window(Sliding::of(ms(10))).allowed_lateness(ms(7)).final_only().count("step"));
    behind(keyed_by_time().window(Session::gap(ms(10))).allowed_lateness(ms(6)).final_only().count("step"));
}

#[cfg(feature = "time-zones")]
#[test]
fn days_in_new_york_have_23_24_and_25_hours() {
    let hour = 3_600_000;
    // 9 to 11 March 2013, and 2 to 4 November, by the hour.
    let spring = (0..72).map(|nth| 1_362_805_200_000 + nth * hour);
    let autumn = (0..73).map(|nth| 1_383_364_800_000 + nth * hour);
    let records = spring.chain(autumn).map(|time| (1, time)).collect();
    let zone = crate::window::TimeZone::named("America/New_York").unwrap();
    let step = keyed_by_time().window(Tumbling::days(zone)).count("step");
    let (given, _) = run(step, &numbered(vec![Ok(records)]), (Vec::new(), 1, 100));
    let hours: Vec<_> = given
        .iter()
        .map(|(row, _)| (row.window.start.0, (row.window.end.0 - row.window.start.0) / hour, row.value))
        .collect();
    assert_eq!(
        hours,
        [
            (1_362_805_200_000, 24, 24),
            (1_362_891_600_000, 23, 23),
            (1_362_974_400_000, 24, 24),
            (1_363_060_800_000, 24, 1),
            (1_383_364_800_000, 24, 24),
            (1_383_451_200_000, 25, 25),
            (1_383_541_200_000, 24, 24),
        ]
    );
}

#[test]
fn other_windows_over_the_same_state_are_refused() {
    let tumbling = |size| keyed_by_time().window(Tumbling::of(ms(size))).count("step");
    let mut job = Job::<_>::new(tumbling(10), 1);
    job.do_all(&[Event::Batch(vec![(1, 0, 0)]), Event::Mark(5)]);
    assert!(job.snapshot());
    let mut step = by_hand::built(&tumbling(20), 0, 1);
    let error = step.open(&job.stored.context(0, 1)).unwrap_err().to_string();
    assert!(error.contains("'tumbling 10+0'") && error.contains("'tumbling 20+0'"), "{error}");
}

#[test]
fn another_lateness_over_the_same_state_is_refused() {
    macro_rules! refused {
        ($windows:expr, $($said:literal),*) => {
            let late = |by| keyed_by_time().window($windows).allowed_lateness(ms(by)).final_only().count("step");
            let mut job = Job::<_>::new(late(10), 1);
            job.do_all(&[Event::Batch(vec![(1, 0, 0)]), Event::Mark(5)]);
            assert!(job.snapshot());
            let of_longer = by_hand::built(&late(20), 0, 1).open(&job.stored.context(0, 1));
            let updating = keyed_by_time().window($windows).allowed_lateness(ms(10)).count("step");
            let of_updating = by_hand::built(&updating, 0, 1).open(&job.stored.context(0, 1));
            for (opened, said) in [of_longer, of_updating].into_iter().zip([$($said),*]) {
                let error = opened.unwrap_err().to_string();
                assert!(error.contains("final after 10 ms'") && error.contains(said), "{error}");
            }
        };
    }
    refused!(Tumbling::of(ms(10)), "final after 20 ms'", "allowed lateness 10 ms'");
    refused!(Sliding::of(ms(10)).every(ms(5)), "final after 20 ms'", "allowed lateness 10 ms'");
    refused!(Session::gap(ms(10)), "final after 20 ms'", "allowed lateness 10 ms'");
}

#[test]
fn every_aggregate_gives_what_its_name_says() {
    fn of<O>(stream: Stream<O>) -> Vec<O::Out>
    where
        O: Operator,
    {
        let events = numbered(vec![Ok(vec![(1, 0), (1, 1), (1, 2), (1, 3)])]);
        run(stream, &events, (Vec::new(), 1, 100)).0.into_iter().map(|(row, _)| row).collect()
    }
    let windows = || keyed_by_time().window(Sliding::of(ms(10)));
    let value = |rows: Vec<Windowed<u32, u32>>| rows.iter().map(|row| row.value).collect::<Vec<_>>();
    let nearest = |number: &u32| number.abs_diff(2);
    assert_eq!(of(windows().count("step"))[0].value, 4);
    assert_eq!(value(of(windows().sum("step", |number| *number))), [6]);
    assert_eq!(value(of(windows().min_by("step", nearest))), [2]);
    assert_eq!(value(of(windows().max_by("step", nearest))), [0]);
    assert_eq!(value(of(windows().reduce("step", |all, next| *all = *all * 10 + next))), [123]);
    assert_eq!(of(windows().top_n("step", 2, |number| *number))[0].value, [3, 2]);
    let folded =
        keyed_by_time().window(Tumbling::of(ms(10))).fold("step", 1, |all: &mut u64, next| *all += u64::from(next));
    assert_eq!(of(folded)[0].value, 7);
    let all = keyed_by_time().entries().map(|(_, number)| number).window_all(Count::of(1));
    assert_eq!(all.stream.stream.head.parallelism, Some(1));
}

#[test]
fn windows_that_make_no_sense_are_faults_all_of_them_and_name_the_step() {
    fn faults<O>(stream: &Stream<O>) -> Vec<String> {
        stream.graph.lock().faults.iter().map(ToString::to_string).collect()
    }
    let slow = Duration::from_micros(1_500);
    let step = keyed_by_time()
        .window(Sliding::of(Duration::ZERO).every(slow))
        .allowed_lateness(slow)
        .trigger(Trigger::count(0));
    assert_eq!(
        faults(&step.count("hits")),
        [
            "the windows of 'hits': the size is 0s: it must be at least 1ms",
            "the windows of 'hits': the slide is 1ms 500us: it must be whole milliseconds",
            "the windows of 'hits': the allowed lateness is 1ms 500us: it must be whole milliseconds",
            "the windows of 'hits': its trigger fires after every 0 records: it must be at least 1",
        ]
    );
    let step = keyed_by_time().window(Count::of(0)).top_n("first", 0, |number| *number);
    assert_eq!(faults(&step).len(), 2);
    let by_clock = keyed::<Record, ByClock>().window(Session::gap(ms(5))).allowed_lateness(ms(1)).count("visits");
    assert!(faults(&by_clock)[0].contains("by the clock nothing is late"));
    let none = keyed_by_time().window(Sliding::of(ms(5)).every(ms(9))).final_only().count("gaps");
    assert_eq!(faults(&none), [""; 0], "a slide above the size leaves gaps, and is allowed");
}
