//! Orders, and the topology that adds them up in a database.

use std::path::Path;

use cofferdam::prelude::*;
use cofferdam_engine::Source;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

use crate::sqlite_sink::SqliteSink;

/// The topology of the `orders_to_sqlite` example: every order that was not cancelled is added to its customer's account.
pub fn topology(orders: impl Source<Record = Order>, accounts: SqliteSink<Order>) -> Topology {
    let topology = Topology::new("orders_to_sqlite");
    topology.source("orders", orders).filter(|order| !order.cancelled).rebalance().sink("accounts", accounts);
    topology
}

/// Adds each order to its customer's row. An order that came twice, or not at all, would show in the sums for good.
pub fn accounts(database: impl AsRef<Path>) -> SqliteSink<Order> {
    SqliteSink::new(
        database,
        "CREATE TABLE IF NOT EXISTS accounts(customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, cents INTEGER NOT NULL)",
        "INSERT INTO accounts VALUES(?1, 1, ?2)
         ON CONFLICT(customer) DO UPDATE SET orders = orders + 1, cents = cents + excluded.cents",
        |order: &Order| vec![Value::from(order.customer.clone()), Value::from(order.cents)],
    )
}

/// What somebody has bought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// By whom.
    pub customer: String,
    /// For how much.
    pub cents: i64,
    /// Not after all.
    pub cancelled: bool,
}

/// The order of this number: made up, and always the same.
pub fn order(number: u64) -> Order {
    let drawn = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let drawn = (drawn ^ (drawn >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20;
    Order {
        customer: format!("customer {}", drawn % 40),
        cents: 100 + (drawn >> 8) as i64 % 10_000,
        cancelled: drawn >> 24 & 15 == 0,
    }
}
