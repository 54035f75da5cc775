//! Persons joined to the auctions they sell in.

use ::nexmark::event::Event;
use cofferdam::prelude::*;
use serde::{Deserialize, Serialize};

use super::EventSource;
use crate::nexmark::{rows::Rows, source::NumberedEvent};

/// What q3 needs of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Side {
    Person(u64, Seller),
    Auction { id: u64, seller: u64 },
}

/// Who sells.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seller {
    name: String,
    city: String,
    state: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    city: String,
    state: String,
    id: u64,
}

impl Row {
    fn of(Seller { name, city, state }: Seller, id: u64) -> Self {
        Self { name, city, state, id }
    }
}

/// Name, city and state of each person of Oregon, Idaho or California who sells in category 10, and the auction. Either may come first: the generator makes auctions of
/// persons whose numbers are not taken yet. States are compared in lower case, as the generator writes them. Both are kept for good, since the SQL sets no bound.
pub(super) fn q3(topology: &Topology, events: EventSource, rows: Rows) {
    let states = (state::value::<Seller>("seller"), state::list::<u64>("auctions without a seller"));
    let joined = topology.source("events", events).flat_map(side).key_by(|side| match side {
        Side::Person(id, _) => *id,
        Side::Auction { seller, .. } => *seller,
    });
    let joined = joined.process_with("sellers", states, |_, side, (seller, waiting), out| match side {
        Side::Person(_, person) => {
            waiting.iter().for_each(|id| out.emit(Row::of(person.clone(), *id)));
            waiting.clear();
            seller.set(person);
        }
        Side::Auction { id, .. } => match seller.get() {
            Some(seller) => out.emit(Row::of(seller.clone(), id)),
            None => waiting.push(id),
        },
    });
    rows.take(joined);
}

fn side(NumberedEvent { event, .. }: NumberedEvent) -> Option<Side> {
    match event {
        Event::Person(person) if matches!(person.state.as_str(), "or" | "id" | "ca") => {
            let seller = Seller { name: person.name, city: person.city, state: person.state };
            Some(Side::Person(person.id as u64, seller))
        }
        Event::Auction(auction) if auction.category == 10 => {
            Some(Side::Auction { id: auction.id as u64, seller: auction.seller as u64 })
        }
        _ => None,
    }
}
