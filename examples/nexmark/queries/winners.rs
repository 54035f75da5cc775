//! The bids that win auctions.

use std::cmp::Reverse;

use ::nexmark::event::{Auction, Bid, Event};
use cofferdam::prelude::*;
use cofferdam_engine::{operator::Operator, topology::Stream};
use serde::{Deserialize, Serialize};

use super::{EventSource, time_of, timed_events};
use crate::nexmark::{rows::Rows, source::NumberedEvent};

/// Of an auction `A` is wanted, and of a bid `B`.
#[derive(Serialize, Deserialize)]
enum Side<A, B> {
    Auction(u64, Open<A, B>),
    Bid(u64, Offer<B>),
}

/// An auction, and the best bid on it so far.
#[derive(Clone, Serialize, Deserialize)]
struct Open<A, B> {
    begins: u64,
    expires: u64,
    of: A,
    best: Option<Offer<B>>,
}

/// A bid.
#[derive(Clone, Serialize, Deserialize)]
struct Offer<B> {
    price: u64,
    time: u64,
    seq: u64,
    of: B,
}

/// What is known of an auction.
#[derive(Clone, Serialize, Deserialize)]
enum Known<A, B> {
    /// Bids on it, which are of use only if it begins no later.
    Bids(Vec<Offer<B>>),
    Auction(Open<A, B>),
}

impl<A, B> Open<A, B> {
    fn is_bettered_by(&self, bid: &Offer<B>) -> bool {
        let height = |bid: &Offer<B>| (bid.price, Reverse(bid.time), Reverse(bid.seq));
        (self.begins..=self.expires).contains(&bid.time)
            && self.best.as_ref().is_none_or(|best| height(bid) > height(best))
    }

    fn take(&mut self, bid: Offer<B>) {
        if self.is_bettered_by(&bid) {
            self.best = Some(bid);
        }
    }
}

/// An auction that has expired, and the bid that has won it.
struct Won<A, B> {
    id: u64,
    begins: u64,
    expires: u64,
    of: A,
    bid: Offer<B>,
}

/// Each auction that has a valid bid, when it expires, with the winning one: the highest, of equal ones the first by time, then by number. Valid is a bid made from the
/// auction's beginning to its expiry, both included.
///
/// Bids may come before their auction, as they take other ways; once time has passed them, no auction can come that begins early enough.
fn winners<A, B>(
    topology: &Topology,
    events: EventSource,
    of_auction: fn(Auction) -> A,
    of_bid: fn(Bid) -> B,
) -> Stream<impl Operator<Out = Won<A, B>, Time = Timestamp> + use<A, B>>
where
    A: Record + Clone,
    B: Record + Clone,
{
    let side = move |NumberedEvent { seq, event }| match event {
        Event::Person(_) => None,
        Event::Auction(auction) => {
            let (id, begins, expires) = (auction.id as u64, auction.date_time, auction.expires);
            Some(Side::Auction(id, Open { begins, expires, of: of_auction(auction), best: None }))
        }
        Event::Bid(bid) => {
            let (auction, price, time) = (bid.auction as u64, bid.price as u64, bid.date_time);
            Some(Side::Bid(auction, Offer { price, time, seq, of: of_bid(bid) }))
        }
    };
    let sides = timed_events(topology, events).flat_map(side).key_by(|side| match side {
        Side::Auction(id, _) | Side::Bid(id, _) => *id,
    });
    sides.process_with_timers(
        "auctions",
        state::value::<Known<A, B>>("auction"),
        |side, cx| match side {
            Side::Auction(_, mut auction) => {
                if let Some(Known::Bids(bids)) = cx.states().get() {
                    bids.iter().for_each(|bid| auction.take(bid.clone()));
                }
                cx.set_timer(time_of(auction.expires));
                cx.states().set(Known::Auction(auction));
            }
            Side::Bid(_, bid) => match cx.states().get() {
                Some(Known::Auction(auction)) if !auction.is_bettered_by(&bid) => {}
                None => {
                    cx.set_timer(time_of(bid.time));
                    cx.states().set(Known::Bids(vec![bid]));
                }
                Some(_) => match cx.states().get_mut() {
                    Some(Known::Auction(auction)) => auction.best = Some(bid),
                    Some(Known::Bids(bids)) => bids.push(bid),
                    None => {}
                },
            },
        },
        |timer, cx| match cx.states().get().cloned() {
            Some(Known::Auction(Open { begins, expires, of, best })) if time_of(expires) == timer.time => {
                cx.states().clear();
                let id = *cx.key();
                best.into_iter().for_each(|bid| cx.emit(Won { id, begins, expires, of: of.clone(), bid }));
            }
            Some(Known::Bids(mut bids)) => {
                bids.retain(|bid| time_of(bid.time) > timer.time);
                match bids.iter().map(|bid| bid.time).max() {
                    None => cx.states().clear(),
                    Some(last) => {
                        cx.set_timer(time_of(last));
                        cx.states().set(Known::Bids(bids));
                    }
                }
            }
            _ => {}
        },
    )
}

/// For each category, the mean of its auctions' highest valid bids; it drops its fraction, as a mean of integers does in the SQL. An auction counts when it has expired,
/// where the SQL counts it with each bid. A row is given for each of them, with `auctions` = how many of the category have counted by then: one field more than in
/// the SQL, by which the last row of a category is known.
pub(super) fn q4(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        id: u64,
        #[serde(rename = "final")]
        mean: u64,
        auctions: u64,
    }
    let won = winners(topology, events, |auction| auction.category as u64, |_| ()).map(|won| (won.of, won.bid.price));
    let means = won.keyed(|won| won).fold("categories", (0, 0), |(sum, auctions): &mut (u64, u64), price| {
        (*sum, *auctions) = (*sum + price, *auctions + 1);
    });
    rows.take(means.map(|(id, (sum, auctions))| Row { id, mean: sum / auctions, auctions }));
}

/// How many auctions the mean of q6 is taken over.
const LAST: usize = 11;

/// What q6 keeps of a seller.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sales {
    auctions: u64,
    /// The last ones, each with the time of its winning bid, its number and its price.
    last: Vec<(u64, u64, u64)>,
}

/// For each seller, the mean price of the last eleven auctions: the current one and the ten before, by the time of the winning bid, then by the auction's number. It drops its
/// fraction. The SQL does not run in Flink, as it asks for a window over a table whose rows are replaced; here an auction counts when it has expired, and a row is
/// given for each, with `auctions` = how many of the seller's have counted by then: one field more than in the SQL, by which the last row of a seller is known.
pub(super) fn q6(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    struct Row {
        seller: u64,
        avg_price: u64,
        auctions: u64,
    }
    let won = winners(topology, events, |auction| auction.seller as u64, |_| ());
    let won = won.keyed(|Won { id, of: seller, bid, .. }| (seller, (bid.time, id, bid.price)));
    let sales = won.fold("sellers", Sales::default(), |sales: &mut Sales, sale| {
        sales.auctions += 1;
        sales.last.insert(sales.last.partition_point(|earlier| *earlier < sale), sale);
        if sales.last.len() > LAST {
            sales.last.remove(0);
        }
    });
    let row = |(seller, Sales { auctions, last }): (u64, Sales)| {
        let sum: u64 = last.iter().map(|(.., price)| price).sum();
        Row { seller, avg_price: sum / last.len() as u64, auctions }
    };
    rows.take(sales.map(row));
}

/// Each auction with its winning bid, when it has expired; none without a valid bid. The SQL gives a row for each bid that is the best so far, and replaces it; and of equal
/// prices the first by time, where here the number decides between those of the same millisecond.
pub(super) fn q9(topology: &Topology, events: EventSource, rows: Rows) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        id: u64,
        item_name: String,
        description: String,
        initial_bid: usize,
        reserve: usize,
        date_time: u64,
        expires: u64,
        seller: usize,
        category: usize,
        extra: String,
        auction: u64,
        bidder: usize,
        price: u64,
        #[serde(rename = "bid_dateTime")]
        bid_date_time: u64,
        #[serde(rename = "bid_extra")]
        bid_extra: String,
    }
    let row = |Won { id, begins, expires, of, bid }: Won<Auction, (usize, String)>| {
        let Auction { item_name, description, initial_bid, reserve, seller, category, extra, .. } = of;
        let (auction, date_time, price, bid_date_time) = (id, begins, bid.price, bid.time);
        let (bidder, bid_extra) = bid.of;
        Row {
            id,
            item_name,
            description,
            initial_bid,
            reserve,
            date_time,
            expires,
            seller,
            category,
            extra,
            auction,
            bidder,
            price,
            bid_date_time,
            bid_extra,
        }
    };
    rows.take(winners(topology, events, |auction| auction, |bid| (bid.bidder, bid.extra)).map(row));
}
