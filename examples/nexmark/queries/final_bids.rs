//! Of many bids those that are left at the end of the input.

use std::cmp::Reverse;

use ::nexmark::event::Bid;
use cofferdam::prelude::*;
use serde::Serialize;

use super::{EventSource, timed_bids};
use crate::nexmark::rows::Rows;

/// How many bids of an auction q19 gives.
const TOP: usize = 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    auction: usize,
    bidder: usize,
    price: usize,
    channel: String,
    url: String,
    date_time: u64,
    extra: String,
    #[serde(rename = "rank_number", skip_serializing_if = "Option::is_none")]
    rank_number: Option<usize>,
}

impl Row {
    fn of(bid: Bid, rank_number: Option<usize>) -> Self {
        let Bid { auction, bidder, price, channel, url, date_time, extra } = bid;
        Self { auction, bidder, price, channel, url, date_time, extra, rank_number }
    }
}

/// The last bid of each bidder on each auction: of the same millisecond, the one with the highest number. One row for each, at the end of the input, where the SQL would
/// replace its rows with each bid.
pub(super) fn q18(topology: &Topology, events: EventSource, rows: Rows) {
    let bids = timed_bids(topology, events).key_by(|(_, bid)| (bid.bidder as u64, bid.auction as u64));
    let last = bids.process_with_timers(
        "last bids",
        // In a box: the table of the states has room to spare.
        state::value::<Box<(u64, Bid)>>("bid"),
        |(seq, bid), cx| {
            let is_last = cx.states().get().is_none_or(|last| (last.1.date_time, last.0) < (bid.date_time, seq));
            if is_last {
                cx.states().set(Box::new((seq, bid)));
                cx.set_timer(Timestamp::MAX);
            }
        },
        |_end, cx| {
            let last = cx.states().get().map(|last| last.1.clone());
            cx.states().clear();
            last.into_iter().for_each(|bid| cx.emit(Row::of(bid, None)));
        },
    );
    rows.take(last);
}

/// The ten highest bids of each auction, with their rank; of the same price, the one with the lowest number is first. They are given at the end of the input, where the SQL
/// would replace its rows with each bid among them.
pub(super) fn q19(topology: &Topology, events: EventSource, rows: Rows) {
    let bids = timed_bids(topology, events).key_by(|(_, bid)| bid.auction as u64);
    let top = bids.process_with_timers(
        "highest bids",
        state::value::<Vec<(u64, Bid)>>("bids"),
        |(seq, bid), cx| {
            let is_higher = |(other, than): &(u64, Bid)| (Reverse(than.price), *other) < (Reverse(bid.price), seq);
            let rank = cx.states().get().map_or(0, |top| top.partition_point(is_higher));
            if rank < TOP {
                cx.set_timer(Timestamp::MAX);
                cx.states().update(Vec::new, |top| {
                    top.insert(rank, (seq, bid));
                    top.truncate(TOP);
                });
            }
        },
        |_end, cx| {
            let top = cx.states().get().cloned().unwrap_or_default();
            cx.states().clear();
            top.into_iter().zip(1..).for_each(|((_, bid), rank)| cx.emit(Row::of(bid, Some(rank))));
        },
    );
    rows.take(top);
}
