//! Bids beside a table that does not change.

use ::nexmark::event::Bid;
use cofferdam::prelude::*;
use serde::Serialize;

use super::{EventSource, bids};
use crate::nexmark::rows::Rows;

/// Rows of the table, keys 0 to 9,999: as many as Nexmark's generator makes for its file.
const ROWS: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    auction: usize,
    bidder: usize,
    price: usize,
    date_time: u64,
    value: String,
}

/// Every bid with the table's value for the last four digits of its auction. The SQL reads the table from a file as it is at processing time, and says nothing of what
/// is in it: here the value of *n* is `value-n`, and does not change.
pub(super) fn q13(topology: &Topology, events: EventSource, rows: Rows) {
    let table: Vec<String> = (0..ROWS).map(|key| format!("value-{key}")).collect();
    let row = move |bid: Bid| {
        let Bid { auction, bidder, price, date_time, .. } = bid;
        table.get(auction % ROWS).map(|value| Row { auction, bidder, price, date_time, value: value.clone() })
    };
    rows.take(bids(topology, events).flat_map(row));
}
