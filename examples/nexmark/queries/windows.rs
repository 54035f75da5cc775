//! Bids, persons and auctions of windows.

use std::time::Duration;

use ::nexmark::event::{Bid, Event};
use cofferdam::prelude::*;
use cofferdam_engine::window::{Session, Sliding, Tumbling, Windowed};
use serde::{Deserialize, Serialize};

use super::{EventSource, time_of, timed_bids, timed_events, watermarks};
use crate::nexmark::{rows::Rows, source::NumberedEvent};

const TEN_SECONDS: Duration = Duration::from_secs(10);
const TWO_SECONDS: Duration = Duration::from_secs(2);

fn millis(time: Timestamp) -> u64 {
    time.as_millis() as u64
}

/// The auctions with the most bids in the last ten seconds, every two: all of them if several have as many. Windows begin at multiples of two seconds since the epoch; each that
/// holds a bid counts, also those cut by the beginning and the end of the input.
///
/// A count bears the last moment of its window. So the counts of windows that end together, and no others, are in one window of two seconds.
pub(super) fn q5(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        auction: u64,
        num: u64,
    }
    let bids = timed_bids(topology, events).keyed(|(_, bid)| (bid.auction as u64, ()));
    let counts = bids.window(Sliding::of(TEN_SECONDS).every(TWO_SECONDS)).count("bids");
    let most = counts.map(|count| (count.key, count.value)).window_all(Tumbling::of(TWO_SECONDS)).fold(
        "most",
        (0, Vec::new()),
        |(most, auctions): &mut (u64, Vec<u64>), (auction, num)| {
            if num > *most {
                *most = num;
                auctions.clear();
            }
            if num == *most {
                auctions.push(auction);
            }
        },
    );
    rows.take(most.flat_map(|Windowed { value: (num, auctions), .. }| {
        auctions.into_iter().map(move |auction| Row { auction, num })
    }));
}

/// A bid of a window, or a guest in it: one that is made at the moment when the window ends.
#[derive(Clone, Serialize, Deserialize)]
struct OfWindow {
    bid: Bid,
    is_guest: bool,
}

impl OfWindow {
    /// Of its own window; and as a guest of the one before, as whose last moment it counts.
    fn of((_, bid): (u64, Bid)) -> impl Iterator<Item = Self> {
        let is_at_an_end = bid.date_time % TEN_SECONDS.as_millis() as u64 == 0;
        let guest = is_at_an_end.then(|| Self { bid: bid.clone(), is_guest: true });
        guest.into_iter().chain([Self { bid, is_guest: false }])
    }

    fn time(&self) -> Timestamp {
        time_of(self.bid.date_time - u64::from(self.is_guest))
    }
}

/// The highest bids of a window, and its guests.
#[derive(Clone)]
struct Highest;

#[derive(Clone, Default, Serialize, Deserialize)]
struct HighestBids {
    price: usize,
    bids: Vec<Bid>,
    guests: Vec<Bid>,
}

impl Aggregate for Highest {
    type In = OfWindow;
    type Accumulator = HighestBids;
    type Out = Vec<Bid>;

    fn create(&self) -> HighestBids {
        HighestBids::default()
    }

    fn add(&self, highest: &mut HighestBids, OfWindow { bid, is_guest }: OfWindow) {
        if is_guest {
            return highest.guests.push(bid);
        }
        if bid.price > highest.price {
            highest.price = bid.price;
            highest.bids.clear();
        }
        if bid.price == highest.price {
            highest.bids.push(bid);
        }
    }

    fn get(&self, HighestBids { price, bids, guests }: &HighestBids) -> Vec<Bid> {
        bids.iter().chain(guests.iter().filter(|guest| guest.price == *price)).cloned().collect()
    }
}

/// The highest bids of each ten seconds. The SQL joins each window's highest price to the bids of that price from ten seconds before the window's end to the end, both included: so a
/// bid at the very end of a window counts if it equals that window's highest, and is one of the next window too. Its INSERT has price and bidder the wrong way
/// round; fields are named here for what they hold, in the order of the SELECT.
pub(super) fn q7(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        auction: usize,
        price: usize,
        bidder: usize,
        date_time: u64,
        extra: String,
    }
    let bids = topology.source("events", events).flat_map(NumberedEvent::bid).flat_map(OfWindow::of);
    let bids = bids.event_time("time", watermarks(), OfWindow::time);
    let highest = bids.window_all(Tumbling::of(TEN_SECONDS)).aggregate("highest", Highest);
    let row = |Bid { auction, bidder, price, date_time, extra, .. }| Row { auction, price, bidder, date_time, extra };
    rows.take(highest.flat_map(|highest| highest.value).map(row));
}

/// Persons who sell in the ten seconds in which they registered; each once.
pub(super) fn q8(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        id: u64,
        name: String,
        stime: u64,
    }
    /// The name of who registers, or nothing of who sells.
    fn side(NumberedEvent { event, .. }: NumberedEvent) -> Option<(u64, Option<String>)> {
        match event {
            Event::Person(person) => Some((person.id as u64, Some(person.name))),
            Event::Auction(auction) => Some((auction.seller as u64, None)),
            Event::Bid(_) => None,
        }
    }
    let sides = timed_events(topology, events).flat_map(side).keyed(|side| side);
    let known = sides.window(Tumbling::of(TEN_SECONDS)).fold(
        "registered and selling",
        (None, false),
        |(registered, sells): &mut (Option<String>, bool), side| match side {
            Some(name) => *registered = Some(name),
            None => *sells = true,
        },
    );
    rows.take(known.flat_map(|Windowed { key: id, window, value: (registered, sells) }| {
        registered.filter(|_| sells).map(|name| Row { id, name, stime: millis(window.start) })
    }));
}

/// What q11 and q12 give.
#[derive(Serialize)]
struct BidsOf {
    bidder: u64,
    bid_count: u64,
    starttime: u64,
    endtime: u64,
}

impl BidsOf {
    fn of(Windowed { key: bidder, window, value: bid_count }: Windowed<u64, u64>) -> Self {
        Self { bidder, bid_count, starttime: millis(window.start), endtime: millis(window.end) }
    }
}

/// How many bids each bidder made without a pause of more than ten seconds: bids exactly ten seconds apart are of one session. A session ends ten seconds after its last
/// bid.
pub(super) fn q11(topology: &Topology, events: EventSource, rows: Rows) {
    let bids = timed_bids(topology, events).keyed(|(_, bid)| (bid.bidder as u64, ()));
    rows.take(bids.window(Session::gap(TEN_SECONDS)).count("bids").map(BidsOf::of));
}

/// How many bids each bidder made in each ten seconds of processing time. That is not the same twice, and cannot be compared: the time at which a bid is processed is taken to be the one that
/// the generator gives it.
pub(super) fn q12(topology: &Topology, events: EventSource, rows: Rows) {
    let bids = timed_bids(topology, events).keyed(|(_, bid)| (bid.bidder as u64, ()));
    rows.take(bids.window(Tumbling::of(TEN_SECONDS)).count("bids").map(BidsOf::of));
}
