//! The queue of a channel that spills, against a plain one.

#![allow(clippy::unwrap_used)]

use std::{
    any::Any,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cofferdam_engine::{
    Attempt, Batch, BoxError, ChannelQueue, CheckpointBarrier, CheckpointId, Copied, NewScratch, NoTime,
    ProcessingTime, Scratch, Stamped, StreamElement, Timestamp, Watermark,
};
use proptest::prelude::*;

/// Bytes in memory, counted over all scratches that are about.
struct Counted(Vec<u8>, Arc<AtomicU64>);

impl Scratch for Counted {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.0.extend(bytes);
        self.1.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), BoxError> {
        let at = at as usize;
        bytes.copy_from_slice(self.0.get(at..at + bytes.len()).ok_or("past the end")?);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), BoxError> {
        self.1.fetch_sub(self.0.len() as u64, Ordering::SeqCst);
        self.0.clear();
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len() as u64, Ordering::SeqCst);
    }
}

fn scratches() -> (NewScratch, Arc<AtomicU64>) {
    let held = Arc::new(AtomicU64::new(0));
    let counter = held.clone();
    (Arc::new(move || Ok(Box::new(Counted(Vec::new(), counter.clone())))), held)
}

/// An element as the plain queue has it.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Batch(Vec<u64>),
    Mark(Watermark),
    Barrier(CheckpointBarrier, Vec<Plain>),
    End,
}

impl Plain {
    fn is_line(&self) -> bool {
        matches!(self, Self::Barrier(..) | Self::End)
    }

    fn overtakes(&self) -> Option<ProcessingTime> {
        if let Self::Barrier(barrier, _) = self { barrier.overtakes } else { None }
    }

    fn into_element(self) -> StreamElement {
        match self {
            Self::Batch(records) => StreamElement::Batch(Box::new(stamped(records))),
            Self::Barrier(barrier, copies) => {
                StreamElement::Barrier(barrier, copies.into_iter().map(Self::into_copied).collect())
            }
            Self::Mark(mark) => StreamElement::Watermark(mark),
            Self::End => StreamElement::EndOfInput,
        }
    }

    fn into_copied(self) -> Copied<Vec<u8>> {
        match self {
            Self::Batch(records) => Copied::Batch(stamped(records).encode().unwrap()),
            Self::Mark(mark) => Copied::Watermark(mark),
            Self::Barrier(..) | Self::End => panic!("lines are not copied"),
        }
    }

    fn of(element: StreamElement) -> Self {
        match element {
            StreamElement::Batch(batch) => {
                let batch: Box<dyn Any> = batch;
                let records: Box<Vec<Stamped<u64, NoTime>>> = batch.downcast().unwrap();
                Self::Batch(records.into_iter().map(|stamped| stamped.record).collect())
            }
            StreamElement::Watermark(mark) => Self::Mark(mark),
            StreamElement::Barrier(barrier, copies) => Self::Barrier(barrier, decoded(&copies)),
            StreamElement::EndOfInput => Self::End,
        }
    }
}

/// A batch as it travels.
fn stamped<T>(records: Vec<T>) -> Vec<Stamped<T, NoTime>> {
    records.into_iter().map(Stamped::from).collect()
}

fn decoded(copies: &[Copied<Vec<u8>>]) -> Vec<Plain> {
    let decoder = stamped(Vec::<u64>::new()).decoder();
    let plain = copies.iter().map(|copied| match copied {
        Copied::Batch(bytes) => Plain::of(StreamElement::Batch(decoder(bytes).unwrap())),
        Copied::Watermark(mark) => Plain::Mark(*mark),
    });
    plain.collect()
}

/// The first barrier that is due, with copies of the batches and watermarks in front of it; barriers and ends in front of it: barriers go.
fn overtake(plain: &mut VecDeque<Plain>, now: u64) -> Option<(CheckpointId, Vec<Plain>)> {
    let place = plain.iter().position(|one| one.overtakes().is_some_and(|time| time.0 <= now))?;
    let behind = plain.split_off(place + 1);
    let Some(Plain::Barrier(barrier, taken)) = plain.pop_back() else { return None };
    let mut copies = Vec::new();
    for one in plain.iter() {
        if !one.is_line() {
            copies.push(one.clone());
        }
    }
    copies.extend(taken);
    plain.retain(|one| !matches!(one, Plain::Barrier(..)));
    plain.extend(behind);
    Some((barrier.checkpoint, copies))
}

#[derive(Clone, Debug)]
enum Action {
    Batches(Vec<Vec<u64>>),
    Marks(Vec<Watermark>),
    Barrier(Option<u64>, Vec<Plain>),
    End,
    Pop(usize),
    Overtake(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let batch = || prop::collection::vec(any::<u64>(), 1..6);
    let mark = || (0..3i64, any::<bool>()).prop_map(|(time, idle)| Watermark { time: Timestamp(time), is_idle: idle });
    let copy = prop_oneof![batch().prop_map(Plain::Batch), mark().prop_map(Plain::Mark)];
    let action = prop_oneof![
        4 => prop::collection::vec(batch(), 1..8).prop_map(Action::Batches),
        2 => (prop::option::of(0u64..10), prop::collection::vec(copy, 0..3)).prop_map(|(at, copies)| Action::Barrier(at, copies)),
        2 => prop::collection::vec(mark(), 1..4).prop_map(Action::Marks),
        1 => Just(Action::End),
        4 => (1usize..8).prop_map(Action::Pop),
        2 => (0u64..10).prop_map(Action::Overtake),
    ];
    prop::collection::vec(action, 1..60)
}

fn barrier(checkpoint: u64, overtakes: Option<u64>) -> CheckpointBarrier {
    CheckpointBarrier {
        checkpoint: CheckpointId(checkpoint),
        attempt: Attempt(1),
        triggered: ProcessingTime(0),
        overtakes: overtakes.map(ProcessingTime),
        halt: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_gives_what_a_plain_queue_gives_and_keeps_no_more_in_memory_than_its_mark(
        actions in actions(), mark in prop_oneof![Just(0usize), 1usize..6, Just(1_000usize)], segment in 1u64..300,
    ) {
        let (new, held) = scratches();
        let mut queue = ChannelQueue::in_segments("round", mark, new, segment);
        let mut plain = VecDeque::new();
        let mut next = 0;
        for action in actions {
            match action {
                Action::Batches(batches) => for records in batches {
                    plain.push_back(Plain::Batch(records));
                    queue.push(plain.back().unwrap().clone().into_element()).unwrap();
                },
                Action::Marks(marks) => for mark in marks {
                    match plain.back_mut() {
                        Some(Plain::Mark(last)) => *last = Watermark { time: last.time.max(mark.time), is_idle: mark.is_idle },
                        _ => plain.push_back(Plain::Mark(mark)),
                    }
                    queue.push(StreamElement::Watermark(mark)).unwrap();
                },
                Action::Barrier(overtakes, copies) => {
                    next += 1;
                    plain.push_back(Plain::Barrier(barrier(next, overtakes), copies));
                    queue.push(plain.back().unwrap().clone().into_element()).unwrap();
                }
                Action::End => {
                    plain.push_back(Plain::End);
                    queue.push(StreamElement::EndOfInput).unwrap();
                }
                Action::Pop(count) => for _ in 0..count {
                    prop_assert_eq!(queue.pop().unwrap().map(Plain::of), plain.pop_front());
                },
                Action::Overtake(now) => {
                    let taken = queue.overtake(ProcessingTime(now)).unwrap();
                    let taken = taken.map(|(barrier, copies)| (barrier.checkpoint, decoded(&copies)));
                    prop_assert_eq!(taken, overtake(&mut plain, now));
                }
            }
            prop_assert_eq!(queue.len(), plain.len());
            prop_assert_eq!(queue.is_empty(), plain.is_empty());
            prop_assert_eq!(queue.has_line(), plain.iter().any(Plain::is_line));
            prop_assert_eq!(queue.overtakes_at(), plain.iter().find_map(Plain::overtakes));
            let waiting: Vec<_> = plain.iter().filter_map(|one| if let Plain::Batch(records) = one { Some(records) } else { None }).collect();
            let circulating = queue.circulating().unwrap();
            prop_assert_eq!(circulating.records, waiting.iter().map(|records| records.len() as u64).sum::<u64>());
            prop_assert!(circulating.in_memory <= circulating.most_in_memory && circulating.most_in_memory <= mark as u64);
            prop_assert_eq!(circulating.on_disk, held.load(Ordering::SeqCst));
            if circulating.in_memory == waiting.len() as u64 {
                prop_assert_eq!(circulating.on_disk, 0, "nothing is spilled");
            }
            // The largest batch is 5 records of up to 10 bytes, its length and that of its frame; two segments may be partly read or partly written.
            let largest = 59;
            prop_assert!(circulating.on_disk <= waiting.len() as u64 * largest + 2 * (segment + largest));
        }
        while let Some(element) = queue.pop().unwrap() {
            prop_assert_eq!(Some(Plain::of(element)), plain.pop_front());
        }
        prop_assert!(plain.is_empty() && held.load(Ordering::SeqCst) == 0);
    }
}

#[test]
fn a_loop_that_is_always_busy_gives_back_what_it_has_read() {
    let (new, held) = scratches();
    let mut queue = ChannelQueue::in_segments("round", 2, new, 1_000);
    for n in 0..10_000u64 {
        queue.push(StreamElement::Batch(Box::new(stamped(vec![n])))).unwrap();
        if n >= 20 {
            assert_eq!(queue.pop().unwrap().map(Plain::of), Some(Plain::Batch(vec![n - 20])));
        }
        assert!(held.load(Ordering::SeqCst) <= 3_000, "{} bytes are held", held.load(Ordering::SeqCst));
    }
    assert!(queue.circulating().unwrap().spilled > 50_000);
}

#[test]
fn what_fails_names_the_loop_and_the_cause() {
    let full: NewScratch = Arc::new(|| Err("no space left".into()));
    let mut queue = ChannelQueue::spilling("walk", 1, full);
    queue.push(StreamElement::Batch(Box::new(stamped(vec![1u64])))).unwrap();
    let error = queue.push(StreamElement::Batch(Box::new(stamped(vec![2u64])))).unwrap_err();
    assert_eq!(error.to_string(), "what circulates in loop 'walk' cannot be kept outside of memory");
    assert_eq!(error.source().unwrap().to_string(), "no space left");
}

/// Its encoding lacks a field that decoding wants.
#[derive(serde::Serialize, serde::Deserialize)]
struct Lossy {
    #[serde(skip_serializing)]
    #[expect(dead_code, reason = "it is lost")]
    lost: u64,
}

#[test]
fn a_record_that_does_not_come_back_from_its_encoding_is_an_error_that_says_why() {
    let (new, _) = scratches();
    let mut queue = ChannelQueue::spilling("walk", 0, new);
    queue.push(StreamElement::Batch(Box::new(stamped(vec![Lossy { lost: 1 }])))).unwrap();
    let error = queue.pop().unwrap_err();
    assert!(error.source().unwrap().to_string().contains("missing field `lost`"), "{error:?}");
}
