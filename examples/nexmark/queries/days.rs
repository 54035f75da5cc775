//! What became of the bids of a day. Days are of UTC.
//!
//! The SQL counts anew with each bid; here there is one row when the day has ended.

use ::nexmark::event::Bid;
use cofferdam::prelude::*;
use cofferdam_engine::{
    operator::Operator,
    topology::{KeyedStream, Stream},
    window::{Tumbling, Windowed},
};
use serde::{Deserialize, Serialize};

use super::{EventSource, timed_bids};
use crate::nexmark::{rows::Rows, utc};

/// What is counted of a bid.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Counted {
    auction: u64,
    bidder: u64,
    price: u64,
    time: u64,
}

impl Counted {
    fn of(bid: &Bid) -> Self {
        let (auction, bidder, price) = (bid.auction as u64, bid.bidder as u64, bid.price as u64);
        Self { auction, bidder, price, time: bid.date_time }
    }
}

/// Bids of less than 10,000, of less than a million, and the others are counted apart: which of the three.
fn rank(price: u64) -> usize {
    match price {
        ..10_000 => 0,
        10_000..1_000_000 => 1,
        _ => 2,
    }
}

/// How many there are, and how many of each rank.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Ranks {
    total: u64,
    ranks: [u64; 3],
}

impl Ranks {
    /// One more of a rank.
    fn add(&mut self, rank: usize) {
        self.total += 1;
        self.ranks[rank] += 1;
    }

    /// One of which it is known with what ranks it has been seen, a bit each.
    fn add_if_new(&mut self, rank: usize, seen: u8) {
        self.total += u64::from(seen == 0);
        self.ranks[rank] += u64::from(seen & 1 << rank == 0);
    }
}

/// What q15 and q16 know of a day.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Day {
    /// When the last bid was made.
    last: u64,
    bids: Ranks,
    bidders: Ranks,
    auctions: Ranks,
}

/// The columns of a [`Day`].
#[derive(Serialize)]
struct Columns {
    total_bids: u64,
    rank1_bids: u64,
    rank2_bids: u64,
    rank3_bids: u64,
    total_bidders: u64,
    rank1_bidders: u64,
    rank2_bidders: u64,
    rank3_bidders: u64,
    total_auctions: u64,
    rank1_auctions: u64,
    rank2_auctions: u64,
    rank3_auctions: u64,
}

impl From<Day> for Columns {
    fn from(Day { bids, bidders, auctions, .. }: Day) -> Self {
        let ([rank1_bids, rank2_bids, rank3_bids], total_bids) = (bids.ranks, bids.total);
        let ([rank1_bidders, rank2_bidders, rank3_bidders], total_bidders) = (bidders.ranks, bidders.total);
        let ([rank1_auctions, rank2_auctions, rank3_auctions], total_auctions) = (auctions.ranks, auctions.total);
        Self {
            total_bids,
            rank1_bids,
            rank2_bids,
            rank3_bids,
            total_bidders,
            rank1_bidders,
            rank2_bidders,
            rank3_bidders,
            total_auctions,
            rank1_auctions,
            rank2_auctions,
            rank3_auctions,
        }
    }
}

/// Counts the bids of each key; the key's bids are all of one day.
///
/// Whom it has seen it keeps in maps, an entry for each, so that a checkpoint writes those that are new and not all of the day's.
fn counted<K: Key>(
    bids: KeyedStream<K, Counted, Timestamp>,
) -> Stream<impl Operator<Out = (K, Day), Time = Timestamp> + use<K>> {
    let states = (state::value::<Day>("day"), state::map::<u64, u8>("bidders"), state::map::<u64, u8>("auctions"));
    bids.process_with_timers(
        "days",
        states,
        |bid, cx| {
            let rank = rank(bid.price);
            let (day, bidders, auctions) = cx.states();
            let is_first = day.get().is_none();
            let see = |seen: &mut u8| std::mem::replace(seen, *seen | 1 << rank);
            let of_bidder = bidders.update(bid.bidder, || 0, see);
            let of_auction = auctions.update(bid.auction, || 0, see);
            day.update(Day::default, |day| {
                day.last = day.last.max(bid.time);
                day.bids.add(rank);
                day.bidders.add_if_new(rank, of_bidder);
                day.auctions.add_if_new(rank, of_auction);
            });
            if is_first {
                cx.set_timer(utc::end_of_day(bid.time));
            }
        },
        |_end, cx| {
            let (day, bidders, auctions) = cx.states();
            let counted = day.get().copied();
            day.clear();
            bidders.clear();
            auctions.clear();
            let key = cx.key();
            counted.into_iter().for_each(|day| cx.emit((key.clone(), day)));
        },
    )
}

/// Bids, bidders and auctions of each day, by the height of the bid.
pub(super) fn q15(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        day: String,
        #[serde(flatten)]
        counts: Columns,
    }
    let bids = timed_bids(topology, events).map(|(_, bid)| Counted::of(&bid));
    let days = counted(bids.key_by(|bid| utc::day_number(bid.time)));
    rows.take(days.map(|(_, day)| Row { day: utc::day(day.last), counts: day.into() }));
}

/// The same for each channel and day, with the minute of the last bid.
pub(super) fn q16(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        channel: String,
        day: String,
        minute: String,
        #[serde(flatten)]
        counts: Columns,
    }
    let bids = timed_bids(topology, events).keyed(|(_, bid)| {
        let counted = Counted::of(&bid);
        ((bid.channel, utc::day_number(bid.date_time)), counted)
    });
    let row = |((channel, _), day): ((String, u64), Day)| {
        let (minute, counts) = (utc::minute(day.last), day.into());
        Row { channel, day: utc::day(day.last), minute, counts }
    };
    rows.take(counted(bids).map(row));
}

/// What q17 knows of an auction's day.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Prices {
    bids: Ranks,
    min: u64,
    max: u64,
    sum: u64,
}

impl Prices {
    const NONE: Self = Self { bids: Ranks { total: 0, ranks: [0; 3] }, min: u64::MAX, max: 0, sum: 0 };

    fn add(&mut self, price: u64) {
        self.bids.add(rank(price));
        (self.min, self.max, self.sum) = (self.min.min(price), self.max.max(price), self.sum + price);
    }
}

/// Bids of each auction and day, by their height, and their prices. The mean drops its fraction.
pub(super) fn q17(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        auction: u64,
        day: String,
        total_bids: u64,
        rank1_bids: u64,
        rank2_bids: u64,
        rank3_bids: u64,
        min_price: u64,
        max_price: u64,
        avg_price: u64,
        sum_price: u64,
    }
    let bids = timed_bids(topology, events).keyed(|(_, bid)| (bid.auction as u64, bid.price as u64));
    let days = bids.window(Tumbling::of(utc::DAY)).fold("days", Prices::NONE, Prices::add);
    let row = |Windowed { key: auction, window, value: Prices { bids, min, max, sum } }: Windowed<u64, Prices>| {
        let day = utc::day(window.start.as_millis() as u64);
        let [rank1_bids, rank2_bids, rank3_bids] = bids.ranks;
        let (total_bids, min_price, max_price, avg_price, sum_price) = (bids.total, min, max, sum / bids.total, sum);
        Row { auction, day, total_bids, rank1_bids, rank2_bids, rank3_bids, min_price, max_price, avg_price, sum_price }
    };
    rows.take(days.map(row));
}
