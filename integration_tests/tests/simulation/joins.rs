//! Joins of two streams of other types and another pace: whatever fails, and on however many subtasks, what nested loops give.

use std::{fmt::Debug, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    Record, Timestamp, WatermarkStrategy, state,
    time::Offset,
    topology::{KeyedStream, Topology},
    window::{Session, Tumbling},
};
use cofferdam_testkit::{Faults, Setup};

use super::{
    seeds::{self, faults, finish, seeds, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

/// The second stream is so much later.
const BEHIND: i64 = 13;
const WINDOW: i64 = 40;

/// Which stream has which number, and as what, when: all of them in the first, every third in the second.
fn numbered() -> impl Iterator<Item = (u64, i64)> + Clone {
    (0..SPLITS).flat_map(|split| (0..length(split)).map(move |number| (split, time(split, number))))
}

fn right_of((split, time): (u64, i64)) -> Option<(u64, i64, String)> {
    (time % 3 == 0).then(|| (split, time + BEHIND, format!("{split} at {time}")))
}

fn first(topology: &Topology, start: u32) -> KeyedStream<u64, i64, Timestamp> {
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
    topology
        .source("first", Readings { is_bounded: false })
        .parallelism(1 + start % 3)
        .event_time("first-time", strategy, |(_, time)| Timestamp::from_millis(*time))
        .keyed(|reading| reading)
}

fn second<V: Record>(topology: &Topology, start: u32, value: fn(String) -> V) -> KeyedStream<u64, V, Timestamp> {
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
    topology
        .source("second", Readings { is_bounded: false })
        .parallelism(1 + start / 2 % 2)
        .flat_map(right_of)
        .event_time("second-time", strategy, |(_, time, _)| Timestamp::from_millis(*time))
        .keyed(move |(split, _, text)| (split, value(text)))
}

/// What the text says from its time on; some say that nothing is valid.
fn version(text: String) -> Option<String> {
    (!text.ends_with('4')).then_some(text)
}

fn text(text: String) -> String {
    text
}

fn run<R: Ord + Record + Clone>(
    (seed, setup, faults, rescales): (u64, Setup, Faults, bool),
    build: impl Fn(&Topology, u32, CollectSink<R>) + 'static,
) -> Vec<R> {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let topology = Topology::new("joined");
        build(&topology, start, sink.clone());
        topology
    };
    finish(seed, setup, faults, topology, &rows)
}

/// Aligned and overtaking, on as many subtasks as before and on others, `each` times.
fn all<R: Ord + Record + Clone + Debug>(each: u64, build: fn(&Topology, u32, CollectSink<R>), mut expected: Vec<R>) {
    expected.sort();
    for (kind, (is_aligned, rescales)) in (0..).zip([(true, false), (false, false), (true, true), (false, true)]) {
        let (first, setup) = (kind * 1_000, if is_aligned { aligned } else { unaligned });
        let run = |seed, setup, faults, rescales| run((seed, setup, faults, rescales), build);
        seeds::all(first..first + each, setup, rescales, run, &expected);
    }
}

#[test]
fn an_interval_join_gives_each_pair_once_whatever_fails() {
    fn near(topology: &Topology, start: u32, sink: CollectSink<(u64, i64, String)>) {
        let within = Offset::before(Duration::from_millis(20))..=Offset::after(Duration::from_millis(45));
        first(topology, start)
            .connect(second(topology, start, text))
            .parallelism(1 + start / 3 % 3)
            .interval_join("near", within, |split, time, text| (*split, *time, text.clone()))
            .sink("rows", sink);
    }
    let pairs = numbered().flat_map(|(split, time)| {
        let others = numbered().filter_map(right_of);
        let near = others.filter(move |(other, at, _)| *other == split && (-20..=45).contains(&(at - time)));
        near.map(move |(_, _, text)| (split, time, text))
    });
    let pairs: Vec<_> = pairs.collect();
    assert!(pairs.len() > 50);
    all(100, near, pairs);
}

#[test]
fn a_temporal_join_finds_the_version_of_each_moment_whatever_fails() {
    fn versioned(topology: &Topology, start: u32, sink: CollectSink<(u64, i64, Option<String>)>) {
        first(topology, start)
            .connect(second(topology, start, version))
            .parallelism(1 + start / 3 % 3)
            .temporal_join("versioned", |split, time, text| Some((*split, time, text.cloned())))
            .sink("rows", sink);
    }
    let rows = numbered().map(|(split, time)| {
        let known = numbered().filter_map(right_of).filter(|(other, at, _)| *other == split && *at <= time);
        let newest = known.max_by_key(|(_, at, _)| *at).and_then(|(_, _, text)| version(text));
        (split, time, newest)
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.iter().skip(20).any(|(.., text)| text.is_none()), "some deletions count");
    all(100, versioned, rows);
}

/// Which row a record finds is not said; but it finds one of its key, and each record gives one.
#[test]
fn a_lookup_join_gives_a_row_for_each_record_whatever_fails() {
    for seed in seeds(0..100) {
        let setup = if seed % 2 == 0 { aligned(seed) } else { unaligned(seed) };
        let rows = run((seed, setup, faults(seed), seed % 3 == 0), |topology, start, sink| {
            first(topology, start)
                .connect(second(topology, start, version))
                .parallelism(1 + start / 3 % 3)
                .lookup_join("looked up", state::value("table"), |split, time, text| {
                    Some((*split, time, text.cloned()))
                })
                .sink("rows", sink);
        });
        let mut expected: Vec<_> = numbered().collect();
        expected.sort_unstable();
        assert_eq!(rows.iter().map(|(split, time, _)| (*split, *time)).collect::<Vec<_>>(), expected, "seed {seed}");
        let of = |split: u64| numbered().filter_map(right_of).filter(move |(other, ..)| *other == split);
        let is_known =
            |split, row: &Option<String>| row.as_ref().is_none_or(|row| of(split).any(|(.., text)| text == *row));
        assert!(rows.iter().all(|(split, _, row)| is_known(*split, row)), "seed {seed}");
    }
}

/// Which records are late depends on how marks come by; but each is either joined or late, once.
#[test]
fn a_record_is_joined_or_goes_to_the_side_output_for_late_ones_whatever_fails() {
    let mut were_late = 0;
    for seed in seeds(0..100) {
        let setup = if seed % 2 == 0 { aligned(seed) } else { unaligned(seed) };
        let (late_sink, late_rows) = CollectSink::new();
        let rows = run((seed, setup, faults(seed), seed % 3 == 0), move |topology, start, sink| {
            let late = topology.side_output::<i64>("late");
            topology
                .source("readings", Readings { is_bounded: false })
                .parallelism(1 + start % 3)
                // Every fourth one is older than the watermark says.
                .event_time("time", WatermarkStrategy::bounded(Duration::ZERO), |(_, time): &(u64, i64)| {
                    Timestamp::from_millis(if time % 4 == 0 { time - 100 } else { *time })
                })
                .keyed(|reading| reading)
                .connect(second(topology, start, version))
                .parallelism(1 + start / 3 % 3)
                .late_left_to(&late)
                .temporal_join("versioned", |_, time, _| Some(time))
                .sink("rows", sink);
            late.stream().sink("late rows", late_sink.clone());
        });
        let late = late_rows.snapshot();
        were_late += late.len();
        let mut met = [rows, late].concat();
        let mut expected: Vec<_> = numbered().map(|(_, time)| time).collect();
        met.sort_unstable();
        expected.sort_unstable();
        assert_eq!(met, expected, "seed {seed}");
    }
    assert!(were_late > 100, "{were_late} of them were late");
}

/// The same of windows, of both streams.
#[test]
fn a_record_is_in_its_window_or_goes_to_the_side_output_of_its_stream_whatever_fails() {
    let mut were_late = (0, 0);
    for seed in 0..100 {
        let setup = if seed % 2 == 0 { aligned(seed) } else { unaligned(seed) };
        let ((late_sink, late_times), (late_text_sink, late_texts)) = (CollectSink::new(), CollectSink::new());
        let rows = run((seed, setup, faults(seed), seed % 3 == 0), move |topology, start, sink| {
            let late = topology.side_output::<i64>("late times");
            let late_texts = topology.side_output::<String>("late texts");
            // Every fourth one is older than the watermark says.
            let at = |time: i64| Timestamp::from_millis(if time % 4 == 0 { time - 4 * WINDOW } else { time });
            let strategy = || WatermarkStrategy::bounded(Duration::ZERO);
            let first = topology
                .source("readings", Readings { is_bounded: false })
                .parallelism(1 + start % 3)
                .event_time("time", strategy(), move |(_, time): &(u64, i64)| at(*time))
                .keyed(|reading| reading);
            let second = topology
                .source("others", Readings { is_bounded: false })
                .event_time("other-time", strategy(), move |(_, time): &(u64, i64)| at(*time))
                .keyed(|(split, time)| (split, time.to_string()));
            let windows = first
                .connect(second)
                .parallelism(1 + start / 3 % 3)
                .window(Tumbling::of(Duration::from_millis(WINDOW as u64)))
                .late_left_to(&late);
            let windows = windows.allowed_lateness(Duration::from_millis(WINDOW as u64)).final_only();
            windows
                .late_right_to(&late_texts)
                .co_group("grouped", |_, _, times, texts, out| {
                    times.iter().for_each(|time| out.emit((true, **time)));
                    texts.iter().filter_map(|text| text.parse().ok()).for_each(|time| out.emit((false, time)));
                })
                .sink("rows", sink);
            late.stream().sink("late rows", late_sink.clone());
            late_texts.stream().sink("late texts-out", late_text_sink.clone());
        });
        let (times, texts) = (late_times.snapshot(), late_texts.snapshot());
        were_late = (were_late.0 + times.len(), were_late.1 + texts.len());
        let mut expected: Vec<_> = numbered().map(|(_, time)| time).collect();
        expected.sort_unstable();
        let texts: Vec<i64> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        for (is_left, late) in [(true, times), (false, texts)] {
            let grouped = rows.iter().filter(|(left, _)| *left == is_left).map(|(_, time)| *time);
            let mut met: Vec<_> = grouped.chain(late).collect();
            met.sort_unstable();
            assert_eq!(met, expected, "seed {seed}");
        }
    }
    assert!(were_late.0 > 100 && were_late.1 > 100, "{were_late:?} of them were late");
}

/// A stream, the start of a window, and its times and texts.
type Group = (u64, i64, Vec<i64>, Vec<String>);

#[test]
fn windows_of_two_streams_are_grouped_once_whatever_fails() {
    fn grouped(topology: &Topology, start: u32, sink: CollectSink<Group>) {
        first(topology, start)
            .connect(second(topology, start, text))
            .parallelism(1 + start / 3 % 3)
            .window(Tumbling::of(Duration::from_millis(WINDOW as u64)))
            .co_group("grouped", |split, window, times, texts, out| {
                let (mut times, mut texts): (Vec<i64>, Vec<String>) =
                    (times.iter().map(|time| **time).collect(), texts.iter().map(|text| (*text).clone()).collect());
                times.sort_unstable();
                texts.sort_unstable();
                out.emit((*split, window.start.as_millis(), times, texts));
            })
            .sink("rows", sink);
    }
    let mut rows: Vec<Group> = Vec::new();
    for (split, at) in (0..SPLITS).flat_map(|split| (0..100).map(move |nth| (split, 960 + nth * WINDOW))) {
        let is_in = |time: i64| (at..at + WINDOW).contains(&time);
        let mut times: Vec<_> =
            numbered().filter(|(other, time)| *other == split && is_in(*time)).map(|record| record.1).collect();
        let right = numbered().filter_map(right_of).filter(|(other, time, _)| *other == split && is_in(*time));
        let mut texts: Vec<_> = right.map(|(.., text)| text).collect();
        times.sort_unstable();
        texts.sort_unstable();
        if !(times.is_empty() && texts.is_empty()) {
            rows.push((split, at, times, texts));
        }
    }
    assert_eq!(rows.iter().map(|row| row.2.len()).sum::<usize>(), numbered().count());
    all(60, grouped, rows);
}

#[test]
fn sessions_of_two_streams_are_joined_once_whatever_fails() {
    const GAP: i64 = 21;
    fn joined(topology: &Topology, start: u32, sink: CollectSink<(u64, Option<i64>, Option<String>)>) {
        first(topology, start)
            .connect(second(topology, start, text))
            .parallelism(1 + start / 3 % 3)
            .window(Session::gap(Duration::from_millis(GAP as u64)))
            .full("joined", |split, time, text| (*split, time.copied(), text.cloned()))
            .sink("rows", sink);
    }
    let mut rows = Vec::new();
    for split in 0..SPLITS {
        let left = numbered().filter(|(other, _)| *other == split).map(|(_, time)| (time, Some(time), None));
        let right = numbered().filter_map(right_of).filter(|(other, ..)| *other == split);
        let mut both: Vec<_> = left.chain(right.map(|(_, time, text)| (time, None, Some(text)))).collect();
        both.sort_unstable();
        for session in both.chunk_by(|one, next| next.0 - one.0 <= GAP) {
            let times: Vec<_> = session.iter().filter_map(|record| record.1).map(Some).collect();
            let texts: Vec<_> = session.iter().filter_map(|record| record.2.clone()).map(Some).collect();
            let (times, texts) =
                (if times.is_empty() { vec![None] } else { times }, if texts.is_empty() { vec![None] } else { texts });
            rows.extend(times.iter().flat_map(|time| texts.iter().map(|text| (split, *time, text.clone()))));
        }
    }
    all(60, joined, rows);
}
