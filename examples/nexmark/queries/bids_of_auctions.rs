//! Bids joined to their auctions.

use ::nexmark::event::{Auction, Bid, Event};
use cofferdam::prelude::*;
use serde::{Deserialize, Serialize};

use super::EventSource;
use crate::nexmark::{rows::Rows, source::NumberedEvent};

/// What q20 needs of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Side {
    Auction(u64, Found),
    Bid(Bid),
}

/// What is known of an auction that has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Found {
    Wanted(Box<Auction>),
    /// One of another category: nobody asks for its bids.
    Other,
}

#[derive(Serialize)]
struct Row {
    auction: usize,
    bidder: usize,
    price: usize,
    channel: String,
    url: String,
    #[serde(rename = "bid_dateTime")]
    bid_date_time: u64,
    bid_extra: String,
    #[serde(rename = "itemName")]
    item_name: String,
    description: String,
    #[serde(rename = "initialBid")]
    initial_bid: usize,
    reserve: usize,
    #[serde(rename = "auction_dateTime")]
    auction_date_time: u64,
    expires: u64,
    seller: usize,
    category: usize,
    auction_extra: String,
}

impl Row {
    fn of(bid: Bid, auction: Auction) -> Self {
        Self {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            channel: bid.channel,
            url: bid.url,
            bid_date_time: bid.date_time,
            bid_extra: bid.extra,
            item_name: auction.item_name,
            description: auction.description,
            initial_bid: auction.initial_bid,
            reserve: auction.reserve,
            auction_date_time: auction.date_time,
            expires: auction.expires,
            seller: auction.seller,
            category: auction.category,
            auction_extra: auction.extra,
        }
    }
}

/// Every bid on an auction of category 10, with all of the auction. Either may come first: the generator makes bids on auctions that are only about to begin. Auctions are
/// kept for good, and so are bids on what never begins, since the SQL sets no bound.
pub(super) fn q20(topology: &Topology, events: EventSource, rows: Rows) {
    let states = (state::value::<Found>("auction"), state::list::<Bid>("bids without an auction"));
    let sides = topology.source("events", events).flat_map(side).key_by(|side| match side {
        Side::Auction(id, _) => *id,
        Side::Bid(bid) => bid.auction as u64,
    });
    let joined = sides.process_with("auctions", states, |_, side, (auction, waiting), out| match side {
        Side::Auction(_, begun) => {
            if let Found::Wanted(auction) = &begun {
                waiting.iter().for_each(|bid| out.emit(Row::of(bid.clone(), Auction::clone(auction))));
            }
            waiting.clear();
            auction.set(begun);
        }
        Side::Bid(bid) => match auction.get() {
            Some(Found::Wanted(auction)) => out.emit(Row::of(bid, Auction::clone(auction))),
            Some(Found::Other) => {}
            None => waiting.push(bid),
        },
    });
    rows.take(joined);
}

fn side(NumberedEvent { event, .. }: NumberedEvent) -> Option<Side> {
    match event {
        Event::Person(_) => None,
        Event::Auction(auction) => {
            let id = auction.id as u64;
            let found = if auction.category == 10 { Found::Wanted(Box::new(auction)) } else { Found::Other };
            Some(Side::Auction(id, found))
        }
        Event::Bid(bid) => Some(Side::Bid(bid)),
    }
}
