//! The events, as a source.

use ::nexmark::{
    EventGenerator,
    config::NexmarkConfig,
    event::{Auction, Bid, Event, Person},
};
use cofferdam::connector::{EveryNth, NextNumber};
use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use serde::{Deserialize, Serialize};

/// When the first event happens: 2015-07-15 00:00 UTC, in milliseconds since the epoch.
pub const BASE_TIME: u64 = 1_436_918_400_000;

/// An event and its number. Some ten events share a millisecond: the number tells which was first, whatever way they took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// How many events were before.
    pub seq: u64,
    /// A person, an auction or a bid.
    pub event: Event,
}

impl NumberedEvent {
    /// The bid and its number, if it is one.
    pub fn bid(self) -> Option<(u64, Bid)> {
        match self.event {
            Event::Bid(bid) => Some((self.seq, bid)),
            _ => None,
        }
    }

    /// The auction and its number, if it is one.
    pub fn auction(self) -> Option<(u64, Auction)> {
        match self.event {
            Event::Auction(auction) => Some((self.seq, auction)),
            _ => None,
        }
    }

    /// The person and the number, if it is one.
    pub fn person(self) -> Option<(u64, Person)> {
        match self.event {
            Event::Person(person) => Some((self.seq, person)),
            _ => None,
        }
    }
}

/// The first so many events of Nexmark: of each fifty one person, three auctions and 46 bids.
///
/// An event is a function of its number, so every n-th of them is a split, and a position is the next number. Times never fall from one event to the next. They are
/// computed in single precision: of many events, neighbours happen in steps of more than a millisecond.
#[derive(Clone, Debug)]
pub struct Events {
    count: u64,
    apart: u32,
    config: NexmarkConfig,
}

impl Events {
    /// Numbers 0 to `count - 1`, 100 microseconds of event time apart.
    pub fn new(count: u64) -> Self {
        // The generator's default would read the clock.
        let config = NexmarkConfig { base_time: BASE_TIME, ..NexmarkConfig::default() };
        Self { count, apart: 0, config }.apart(100)
    }

    /// So many microseconds of event time from one event to the next.
    pub fn apart(mut self, micros: u32) -> Self {
        self.apart = micros;
        (self.config.first_rate, self.config.next_rate) = (1, 1);
        self.config.us_per_unit = micros as usize;
        self
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them in their order.
    pub fn iter(&self) -> impl Iterator<Item = NumberedEvent> + use<> {
        self.share(0, 1)
    }

    /// Every `step`-th, from number `first` on.
    pub fn share(&self, first: u64, step: u64) -> impl Iterator<Item = NumberedEvent> + use<> {
        let mut reader = self.every(EveryNth { first, step }, first);
        std::iter::from_fn(move || reader.next())
    }

    /// Those of a split, from a number on.
    fn every(&self, split: EveryNth, next: u64) -> EventReader {
        let generator = EventGenerator::new(self.config.clone()).with_offset(next).with_step(split.step);
        EventReader { generator, end: self.count }
    }
}

/// A split of [`Events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSplit {
    /// Which of them.
    pub numbers: EveryNth,
    /// How many microseconds apart: with another distance they would be other events.
    pub apart: u32,
}

impl Source for Events {
    type Record = NumberedEvent;
    type Split = EventSplit;
    type Position = NextNumber;
    type Reader = EventReader;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<EventSplit>, BoxError> {
        let step = u64::from(parallelism.max(1));
        Ok((0..step).map(|first| EventSplit { numbers: EveryNth { first, step }, apart: self.apart }).collect())
    }

    fn open(&self, split: &EventSplit, position: Option<&NextNumber>) -> Result<EventReader, BoxError> {
        let EventSplit { numbers, apart } = *split;
        if apart != self.apart {
            let message = format!(
                "the job has begun with events {apart} microseconds apart, and is now given some {} apart: give it {apart} again, or remove state and \
                 output to start over",
                self.apart
            );
            return Err(message.into());
        }
        Ok(self.every(numbers, position.map_or(numbers.first, |next| next.0)))
    }
}

/// Reads one split of [`Events`].
pub struct EventReader {
    generator: EventGenerator,
    end: u64,
}

impl EventReader {
    #[inline]
    fn next(&mut self) -> Option<NumberedEvent> {
        let seq = self.generator.offset();
        if seq >= self.end {
            return None;
        }
        Some(NumberedEvent { seq, event: self.generator.next()? })
    }
}

impl SplitReader for EventReader {
    type Record = NumberedEvent;
    type Position = NextNumber;

    #[inline]
    fn read(&mut self, _now: ProcessingTime) -> Result<Read<NumberedEvent>, BoxError> {
        Ok(self.next().map_or(Read::End, Read::Record))
    }

    fn position(&mut self) -> Result<NextNumber, BoxError> {
        Ok(NextNumber(self.generator.offset()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut reader: EventReader) -> Vec<NumberedEvent> {
        std::iter::from_fn(|| reader.next()).collect()
    }

    #[test]
    fn splits_together_give_every_event_once() {
        let events = Events::new(1_000);
        let expected: Vec<_> = events.iter().collect();
        assert_eq!(expected.len(), 1_000);
        for parallelism in 1..=7 {
            let splits = events.splits(parallelism).unwrap();
            let mut given: Vec<_> = splits.iter().flat_map(|split| all(events.open(split, None).unwrap())).collect();
            given.sort_by_key(|event| event.seq);
            assert_eq!(given, expected, "with {parallelism} splits");
        }
    }

    #[test]
    fn every_position_leads_to_the_events_that_came_after_it() {
        let events = Events::new(300);
        for split in events.splits(3).unwrap() {
            let expected = all(events.open(&split, None).unwrap());
            let mut reader = events.open(&split, None).unwrap();
            for read in 0..=expected.len() {
                let position = reader.position().unwrap();
                assert_eq!(all(events.open(&split, Some(&position)).unwrap()), expected[read..]);
                let _ = reader.read(ProcessingTime(0)).unwrap();
            }
        }
    }

    #[test]
    fn a_split_of_events_of_other_times_is_refused() {
        let split = Events::new(10).splits(1).unwrap()[0];
        let error = Events::new(10).apart(7).open(&split, None).err().unwrap().to_string();
        assert!(error.contains("100 microseconds apart") && error.contains("7 apart"), "{error}");
    }

    #[test]
    fn times_begin_at_the_base_and_never_fall() {
        for events in [Events::new(20_000), Events::new(20_000).apart(5_000_000)] {
            let times: Vec<u64> = events.iter().map(|event| event.event.timestamp()).collect();
            assert_eq!(times[0], BASE_TIME);
            assert!(times.is_sorted());
        }
        let times = Events::new(101).iter().map(|event| event.event.timestamp());
        assert_eq!(times.last(), Some(BASE_TIME + 10));
    }

    #[test]
    fn ids_belong_together() {
        let events: Vec<_> = Events::new(50_000).iter().collect();
        let auctions: Vec<_> = events.iter().cloned().filter_map(NumberedEvent::auction).collect();
        let persons = events.iter().cloned().filter_map(NumberedEvent::person).count();
        let bids: Vec<_> = events.into_iter().filter_map(NumberedEvent::bid).collect();
        assert_eq!((persons, auctions.len(), bids.len()), (1_000, 3_000, 46_000));
        let ids: std::collections::BTreeSet<_> = auctions.iter().map(|(_, auction)| auction.id).collect();
        let known = bids.iter().filter(|(_, bid)| ids.contains(&bid.auction)).count();
        assert!(known > 45_000, "only {known} bids are for an auction that there is");
    }
}
