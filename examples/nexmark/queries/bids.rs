//! The queries that look at one bid at a time.

use ::nexmark::event::Bid;
use cofferdam::prelude::*;
use serde::Serialize;

use super::{EventSource, Thousandths, bids};
use crate::nexmark::{rows::Rows, utc};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unchanged<P> {
    auction: usize,
    bidder: usize,
    price: P,
    date_time: u64,
    extra: String,
}

/// Every bid, as it is.
pub(super) fn q0(topology: &Topology, events: EventSource, rows: Rows) {
    let row = |bid: Bid| {
        let Bid { auction, bidder, price, date_time, extra, .. } = bid;
        Unchanged { auction, bidder, price, date_time, extra }
    };
    rows.take(bids(topology, events).map(row));
}

/// Every bid, its price in euros: a decimal, as in the SQL.
pub(super) fn q1(topology: &Topology, events: EventSource, rows: Rows) {
    let row = |bid: Bid| {
        let Bid { auction, bidder, price, date_time, extra, .. } = bid;
        Unchanged { auction, bidder, price: Thousandths::euros(price), date_time, extra }
    };
    rows.take(bids(topology, events).map(row));
}

/// The bids on auctions whose number 123 divides.
pub(super) fn q2(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        auction: usize,
        price: usize,
    }
    let some = bids(topology, events).filter(|bid| bid.auction % 123 == 0);
    rows.take(some.map(|bid| Row { auction: bid.auction, price: bid.price }));
}

/// Every bid with the day and the minute it was made, of UTC. The SQL writes a directory for each minute; here all go to the sink that all queries have.
pub(super) fn q10(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        auction: usize,
        bidder: usize,
        price: usize,
        date_time: u64,
        extra: String,
        dt: String,
        hm: String,
    }
    let row = |bid: Bid| {
        let Bid { auction, bidder, price, date_time, extra, .. } = bid;
        Row { auction, bidder, price, date_time, extra, dt: utc::day(date_time), hm: utc::minute(date_time) }
    };
    rows.take(bids(topology, events).map(row));
}

/// Bids of more than a million and less than fifty million euros, with the time of day and how often their extra has a `c`. Hours are of UTC; the SQL takes those of the
/// session.
pub(super) fn q14(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        auction: usize,
        bidder: usize,
        price: Thousandths,
        bid_time_type: &'static str,
        date_time: u64,
        extra: String,
        #[serde(rename = "c_counts")]
        c_counts: usize,
    }
    let some = bids(topology, events).filter(|bid| {
        let Thousandths(price) = Thousandths::euros(bid.price);
        price > 1_000_000_000 && price < 50_000_000_000
    });
    let row = |bid: Bid| {
        let bid_time_type = match utc::hour(bid.date_time) {
            8..=18 => "dayTime",
            0..=6 | 20.. => "nightTime",
            _ => "otherTime",
        };
        let c_counts = bid.extra.bytes().filter(|byte| *byte == b'c').count();
        let Bid { auction, bidder, price, date_time, extra, .. } = bid;
        Row { auction, bidder, price: Thousandths::euros(price), bid_time_type, date_time, extra, c_counts }
    };
    rows.take(some.map(row));
}

/// Bids whose channel is one of four, or whose page names the channel's number. A page that names none is left out: the SQL's `REGEXP_EXTRACT` gives NULL where nothing
/// matches, not an empty string.
pub(super) fn q21(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        auction: usize,
        bidder: usize,
        price: usize,
        channel: String,
        channel_id: String,
    }
    let row = |bid: Bid| {
        let channel_id = match bid.channel.to_lowercase().as_str() {
            "apple" => "0",
            "google" => "1",
            "facebook" => "2",
            "baidu" => "3",
            _ => bid.url.split('&').find_map(|part| part.strip_prefix("channel_id="))?,
        };
        let channel_id = channel_id.to_owned();
        Some(Row { auction: bid.auction, bidder: bid.bidder, price: bid.price, channel: bid.channel, channel_id })
    };
    rows.take(bids(topology, events).flat_map(row));
}

/// Every bid with the first three directories of its page; NULL where there is none.
pub(super) fn q22(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        auction: usize,
        bidder: usize,
        price: usize,
        channel: String,
        dir1: Option<String>,
        dir2: Option<String>,
        dir3: Option<String>,
    }
    let row = |bid: Bid| {
        let mut parts = bid.url.split('/').skip(3).map(str::to_owned);
        let (dir1, dir2, dir3) = (parts.next(), parts.next(), parts.next());
        Row { auction: bid.auction, bidder: bid.bidder, price: bid.price, channel: bid.channel, dir1, dir2, dir3 }
    };
    rows.take(bids(topology, events).map(row));
}
