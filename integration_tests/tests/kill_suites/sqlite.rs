//! `kill -9` of the `orders_to_sqlite` example as people run it: what is in the database adds up.

use std::{collections::BTreeMap, path::Path, thread, time::Duration};

use crate::kill_support::{Place, Program, Random};
use cofferdam_examples::orders::order;
use rusqlite::{Connection, OpenFlags};

const ORDERS: u64 = 30_000;
const KILLS: u32 = 25;

/// So slow that the kills come before the end.
const PACED: [&str; 8] = ["--orders", "30000", "--rate", "2000", "--checkpoint-ms", "25", "--parallelism", "2"];

/// For each customer the number of orders and their sum.
type Accounts = BTreeMap<String, (i64, i64)>;

fn accounts(database: &Path) -> Accounts {
    let Ok(connection) = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return Accounts::new();
    };
    let Ok(mut select) = connection.prepare("SELECT customer, orders, cents FROM accounts") else {
        return Accounts::new();
    };
    let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn oracle() -> Accounts {
    let mut accounts = Accounts::new();
    for order in (0..ORDERS).map(order).filter(|order| !order.cancelled) {
        let (orders, cents) = accounts.entry(order.customer).or_default();
        *orders += 1;
        *cents += order.cents;
    }
    accounts
}

#[test]
fn after_many_kills_the_accounts_are_those_of_a_plain_loop() {
    let mut random = Random::from_env();
    let place = Place::empty();
    let database = place.out().join("orders.db");
    let expected = oracle();
    let (mut before, mut moved, mut resumes) = (Accounts::new(), 0, 0);
    for kill in 0..KILLS {
        let running = place.start(Program::OrdersToSqlite, &PACED);
        if running.wait_until_started() {
            // Now and then between a durable checkpoint and its publication, now and then before the first.
            thread::sleep(Duration::from_millis(random.below(400)));
        }
        let ended = running.kill();
        assert!(ended.was_killed(), "kill {kill} came too late: {ended:#?}");
        resumes += u32::from(ended.resumed_from().is_some_and(|checkpoint| checkpoint > 0));
        let now = accounts(&database);
        for (customer, (orders, cents)) in &before {
            let account = now[customer];
            assert!(
                account.0 >= *orders && account.1 >= *cents,
                "kill {kill}: {customer} had more before: {account:?}"
            );
        }
        for (customer, (orders, cents)) in &now {
            let whole = expected[customer];
            assert!(*orders <= whole.0 && *cents <= whole.1, "kill {kill}: {customer} has too much: {orders}, {cents}");
        }
        moved += u32::from(now != before);
        before = now;
    }
    println!("{resumes} starts resumed, {moved} of {KILLS} lives have published something");
    assert!(resumes >= 10, "only {resumes} starts resumed: the kills tell nothing");
    assert!(moved >= 10, "only {moved} lives have published something");

    place.run(Program::OrdersToSqlite, &["--orders", "30000", "--parallelism", "1"]).assert_success();
    assert_eq!(accounts(&database), expected);
}
