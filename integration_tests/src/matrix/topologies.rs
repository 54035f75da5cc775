//! The topologies of the matrix besides the [reference](crate::reference): those of the examples, in short, over a few records.

use std::{collections::BTreeMap, time::Duration};

use cofferdam_engine::{
    Alignment, BoxError, ProcessingTime, Read, Source, SplitReader, Timestamp, WatermarkStrategy,
    state::{self, Aggregate, Ttl},
    topology::Topology,
};
use serde::{Deserialize, Serialize};

use super::sorted;
use crate::io::Io;

const LINES: [&str; 16] = [
    "To be, or not to be, that is the question:",
    "Whether 'tis nobler in the mind to suffer",
    "The slings and arrows of outrageous fortune,",
    "Or to take arms against a sea of troubles",
    "And by opposing end them. To die, to sleep,",
    "No more; and by a sleep to say we end",
    "The heart-ache and the thousand natural shocks",
    "That flesh is heir to: 'tis a consummation",
    "Devoutly to be wish'd. To die, to sleep;",
    "To sleep, perchance to dream. Ay, there's the rub,",
    "For in that sleep of death what dreams may come,",
    "When we have shuffled off this mortal coil,",
    "Must give us pause. There's the respect",
    "That makes calamity of so long life,",
    "For who would bear the whips and scorns of time,",
    "Th' oppressor's wrong, the proud man's contumely,",
];

/// How often each number is halved until nothing is left: it goes round a loop, and its state counts the rounds.
pub(super) fn halvings(io: &Io) -> Topology {
    let topology = Topology::new("halvings");
    let halved =
        topology.source("numbers", io.source((0..40u64).collect())).map(|n| (n, n)).iterate("round", |looped| {
            let rounds = looped
                .key_by(|(first, _)| *first)
                .fold("rounds", (0u64, 0u64), |(rounds, now), (_, n): (u64, u64)| {
                    (*rounds, *now) = (*rounds + 1, n / 2)
                })
                .share();
            (
                rounds.stream().filter(|(_, (_, now))| *now > 0).map(|(first, (_, now))| (first, now)),
                rounds.stream().filter(|(_, (_, now))| *now == 0).map(|(first, (rounds, _))| (first, rounds)),
            )
        });
    halved.sink("rows", io.sink());
    topology
}

/// For each word, how often it has come so far.
pub(super) fn word_count(io: &Io) -> Topology {
    let topology = Topology::new("word_count");
    topology
        .source("lines", io.source(LINES.to_vec()))
        .flat_map(words)
        .key_by(|word| word.clone())
        .fold("count", 0u64, |count, _word| *count += 1)
        .sink("counts", io.sink_in_order_of(|(word, _): &(String, u64)| word.clone()));
    topology
}

fn words(line: &str) -> Vec<String> {
    line.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Carrier, origin, and the delay in minutes of a departure; none if it was cancelled.
type Departure = (&'static str, &'static str, Option<i64>);

const DEPARTURES: [Departure; 36] = [
    ("UA", "EWR", Some(2)),
    ("UA", "LGA", Some(4)),
    ("AA", "JFK", Some(2)),
    ("B6", "JFK", Some(-1)),
    ("DL", "LGA", Some(-6)),
    ("UA", "EWR", Some(-4)),
    ("B6", "EWR", Some(-5)),
    ("EV", "LGA", Some(-3)),
    ("B6", "JFK", Some(-3)),
    ("AA", "LGA", None),
    ("B6", "JFK", Some(-2)),
    ("EV", "EWR", Some(101)),
    ("UA", "EWR", Some(-2)),
    ("AA", "LGA", Some(-4)),
    ("EV", "EWR", None),
    ("DL", "LGA", Some(47)),
    ("UA", "LGA", Some(-8)),
    ("B6", "JFK", Some(144)),
    ("AA", "JFK", Some(0)),
    ("EV", "LGA", Some(-7)),
    ("UA", "EWR", Some(11)),
    ("DL", "LGA", Some(-1)),
    ("B6", "EWR", Some(-9)),
    ("AA", "LGA", Some(-2)),
    ("EV", "EWR", Some(22)),
    ("UA", "EWR", Some(-3)),
    ("B6", "JFK", Some(33)),
    ("AA", "JFK", Some(-5)),
    ("DL", "LGA", None),
    ("EV", "EWR", Some(-6)),
    ("UA", "LGA", Some(0)),
    ("B6", "JFK", Some(-4)),
    ("AA", "LGA", Some(59)),
    ("EV", "LGA", Some(-2)),
    ("UA", "EWR", Some(75)),
    ("DL", "LGA", Some(-3)),
];

/// What is known of one carrier at one origin.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Delays {
    flights: u64,
    cancelled: u64,
    sum: i64,
    longest: Option<i64>,
}

impl Delays {
    fn add(&mut self, delay: Option<i64>) {
        self.flights += 1;
        self.cancelled += u64::from(delay.is_none());
        self.sum += delay.unwrap_or(0);
        // `None` is below every value.
        self.longest = self.longest.max(delay);
    }
}

type Row = ((String, String), Delays);

/// For each departure, the row of its carrier and origin as it then is.
pub(super) fn flight_delays(io: &Io) -> Topology {
    let topology = Topology::new("flight_delays");
    // One file is one split: read by several, the sums on the way would depend on order.
    let departures = topology.source("departures", io.source(DEPARTURES.to_vec())).parallelism(1);
    departures
        .map(|(carrier, origin, delay)| (carrier.to_string(), origin.to_string(), delay))
        .key_by(|(carrier, origin, _)| (carrier.clone(), origin.clone()))
        .fold("delays", Delays::default(), |delays, (_, _, delay)| delays.add(delay))
        .sink("rows", io.sink_in_order_of(|(key, _): &Row| key.clone()));
    topology
}

/// Counts and adds up.
#[derive(Clone)]
struct Mean;

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = (u64, u64);

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (count, sum): &mut (u64, u64), value: u64) {
        (*count, *sum) = (*count + 1, *sum + value);
    }

    fn get(&self, accumulator: &(u64, u64)) -> (u64, u64) {
        *accumulator
    }
}

/// For each number what six states of its key come to. Elements and entries also go, and now and then all that a key has.
pub(super) fn state_types(io: &Io) -> Topology {
    let topology = Topology::new("state_types");
    let states = (
        state::value::<u64>("count"),
        state::list::<u64>("list"),
        state::map::<u64, u64>("map"),
        state::reducing("most", |most: &mut u64, n: u64| *most = n.max(*most)),
        state::aggregating("mean", Mean),
        state::map::<u64, u64>("alive").ttl(Ttl::after(Duration::from_secs(3600)).refreshed_on_read()),
    );
    // In one subtask: the order of a list is that of its records.
    let numbers = topology.source("numbers", io.source((0..90u64).collect())).parallelism(1);
    numbers
        .key_by(|n| n / 30 * 3 + n % 3)
        .process_with("states", states, |key, n, (count, list, map, most, mean, alive), out| {
            count.update(|| 0, |count| *count += 1);
            list.push(n);
            map.update(n % 4, || 0, |sum| *sum += n);
            most.add(n);
            mean.add(n);
            alive.insert(n, n + 1);
            if list.len() > 3 {
                let first = list.pop_front().unwrap_or_default();
                alive.remove(&first);
            }
            let sums = [list.iter().fold(0, |sum, n| sum * 100 + n), map.iter().map(|(n, sum)| (n + 1) * sum).sum()];
            let kept = (count.get().copied(), most.get().copied(), mean.get(), alive.keys().sum::<u64>());
            out.emit((*key, (sums, kept)));
            if n % 7 == 6 {
                count.clear();
                list.clear();
                map.clear();
                most.clear();
                mean.clear();
                alive.clear();
            }
        })
        .key_by(|(key, _)| *key)
        // What is here goes while the job runs, at moments that are the run's.
        .process_with(
            "recent",
            state::list::<u64>("recent").ttl(Ttl::after(Duration::from_millis(1))),
            |_, row, recent, out| {
                recent.push(row.0);
                out.emit(row);
            },
        )
        .sink("rows", io.sink_in_order_of(|(key, _): &(u64, Known)| *key));
    topology
}

/// What the states of a key come to.
type Known = ([u64; 2], (Option<u64>, Option<u64>, Option<(u64, u64)>, u64));

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Told {
    Number(u64),
    Nothing,
    End,
}

/// Numbers are held back, wherever they happen to be, until all subtasks are told the end; then each is given once from the list and once from the union.
pub(super) fn held_back(io: &Io) -> Topology {
    let topology = Topology::new("held_back");
    let numbers = topology.source("numbers", io.source((0..60).map(Told::Number).collect()));
    let ends = (0..12).map(|n| if n == 11 { Told::End } else { Told::Nothing }).collect();
    let ends = topology.source("ends", io.source(ends)).parallelism(1);
    let union = state::union::<u64>("union").on_restore(|all, subtask, parallelism| {
        all.into_iter().filter(|n| n % u64::from(parallelism) == u64::from(subtask.0)).collect()
    });
    let states = (state::list::<u64>("list"), union, state::broadcast::<u64, bool>("ended"));
    numbers
        .rebalance()
        .union(ends.broadcast())
        .process_operator("held", states, |told, (list, union, ended), out| {
            match told {
                Told::Number(n) => {
                    list.push(n);
                    union.push(n);
                }
                Told::End => drop(ended.insert(0, true)),
                Told::Nothing => {}
            }
            if ended.contains_key(&0) {
                list.drain(..).for_each(|n| out.emit(("list".to_string(), n)));
                union.drain(..).for_each(|n| out.emit(("union".to_string(), n)));
            }
        })
        .sink("rows", io.sink::<(String, u64)>());
    topology
}

/// Milliseconds of a window.
const WINDOW: u64 = 100;

/// A source of [`timers`]: a reading every five milliseconds, out of order by fifteen at most. Who lingers has nothing for a while before it ends.
struct Readings {
    length: u64,
    lingers: bool,
}

struct ReadingsReader {
    next: u64,
    step: u64,
    length: u64,
    /// How often it will have nothing yet.
    lingers: u32,
}

fn reading(number: u64) -> u64 {
    (number + number * 7 % 4) * 5
}

impl Source for Readings {
    type Record = u64;
    type Split = (u64, u64);
    type Position = u64;
    type Reader = ReadingsReader;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<(u64, u64)>, BoxError> {
        let parallelism = u64::from(parallelism);
        Ok((0..parallelism).map(|first| (first, parallelism)).collect())
    }

    fn open(&self, (first, step): &(u64, u64), position: Option<&u64>) -> Result<ReadingsReader, BoxError> {
        let next = position.copied().unwrap_or(*first);
        Ok(ReadingsReader { next, step: *step, length: self.length, lingers: if self.lingers { 3 } else { 0 } })
    }
}

impl SplitReader for ReadingsReader {
    type Record = u64;
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        if self.next < self.length {
            self.next += self.step;
            return Ok(Read::Record(reading(self.next - self.step)));
        }
        if self.lingers > 0 {
            self.lingers -= 1;
            return Ok(Read::NotBefore(now.after(Duration::from_micros(500))));
        }
        Ok(Read::End)
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.next)
    }
}

const QUICK: u64 = 160;
const SLOW: u64 = 60;

/// A key, a window, and the readings in it; none where only the clock has told.
pub(super) type Counted = ((u64, u64), Option<u64>);

fn place(reading: u64) -> (u64, u64) {
    (reading / 5 % 12, reading / WINDOW)
}

/// Counts by window, from two sources that are aligned. A timer at a window's end gives the count, and one by the clock the key.
pub(super) fn timers(io: &Io) -> Topology {
    let topology = Topology::new("timers");
    let drift = Alignment::group("both", Duration::from_millis(60));
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(20)).align(drift);
    let strategy = strategy.idle_after(Duration::from_micros(100));
    let [quick, slow] = [("quick", QUICK, false), ("slow", SLOW, true)].map(|(name, length, lingers)| {
        let source = topology.source(name, Readings { length, lingers });
        source.event_time(format!("{name} time"), strategy.clone(), |reading| Timestamp::from_millis(*reading as i64))
    });
    quick
        .union(slow)
        .key_by(|reading| place(*reading))
        .process_with_timers(
            "count",
            state::value::<u64>("count"),
            |_, cx| {
                let end = Timestamp::from_millis(((cx.key().1 + 1) * WINDOW) as i64);
                let mut is_first = false;
                cx.states().update(
                    || 0,
                    |count| {
                        *count += 1;
                        is_first = *count == 1;
                    },
                );
                cx.set_timer(end);
                if is_first {
                    cx.set_wall_timer(Duration::from_millis(1));
                }
            },
            |timer, cx| {
                let key = *cx.key();
                if timer.is_wall {
                    return cx.emit((key, None));
                }
                let count = cx.states().get().copied();
                cx.states().clear();
                cx.emit((key, count));
            },
        )
        .sink("rows", io.sink::<Counted>());
    topology
}

/// What [`timers`] comes to, by a loop.
pub(super) fn timers_oracle() -> Vec<Vec<String>> {
    let mut counts = BTreeMap::new();
    for reading in (0..QUICK).chain(0..SLOW).map(reading) {
        *counts.entry(place(reading)).or_insert(0u64) += 1;
    }
    let rows = counts.into_iter().flat_map(|(key, count)| [(key, None), (key, Some(count))]);
    vec![sorted::<Counted>(rows)]
}
