//! A job of joins: streams that meet by time, what follows what in their pairs, and rules that everybody gets.

use std::{collections::BTreeMap, time::Duration};

use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    pattern::{Match, Pattern},
    state,
    topology::Topology,
};

use super::sorted;
use crate::io::Io;

const ORDERS: u64 = 72;
/// Orders of a key: it is touched for a while and then never again.
const OF_KEY: u64 = 12;
const BETWEEN: u64 = 10;
/// A payment comes so much later, if there is one.
const BEHIND: u64 = 4;
const RULES: u64 = 15;
const RULE: u64 = 50;
const WITHIN: u64 = 45;

/// An order's number, and that of its payment.
type Paid = (u64, u64);
/// The last order of three.
type Found = (u64, u64);
/// An order, and the rule that was in force when it was paid.
type Ruled = (u64, u64);

/// The order that has this place in the stream: not quite the one of its time.
fn order(place: u64) -> u64 {
    place ^ 1
}

fn key(order: u64) -> u64 {
    order / OF_KEY
}

fn ordered_at(order: u64) -> u64 {
    1_000 + order * BETWEEN
}

/// The payment of an order.
fn payment(order: u64) -> Option<u64> {
    (order % 5 != 3).then_some(order * 100)
}

fn paid_at(payment: u64) -> u64 {
    ordered_at(payment / 100) + BEHIND
}

fn is_dear(order: u64) -> bool {
    order * 7 % 5 > 1
}

fn rule(number: u64) -> (u64, u64) {
    (1_000 + number * RULE, number * number)
}

/// Orders with their payments, two dear ones in a row and then a cheap one, and which rule is in force when one is paid.
pub(super) fn joins(io: &Io) -> Topology {
    let topology = Topology::new("joins");
    let strategy = || WatermarkStrategy::bounded(Duration::from_millis(2 * BETWEEN));
    let moment = |millis: u64| Timestamp::from_millis(millis as i64);
    let orders = topology
        .source("orders", io.source((0..ORDERS).map(order).collect()))
        .event_time("order time", strategy(), move |order| moment(ordered_at(*order)))
        .key_by(|order| key(*order));
    let payments = topology
        .source("payments", io.source((0..ORDERS).filter_map(payment).collect()))
        .event_time("payment time", strategy(), move |payment| moment(paid_at(*payment)))
        .key_by(|payment| key(payment / 100));
    let rules = topology.source("rules", io.source((0..RULES).map(rule).collect())).parallelism(1).event_time(
        "rule time",
        strategy(),
        move |(from, _)| moment(*from),
    );
    let paid = orders
        .connect(payments)
        .interval_join("paid", Duration::ZERO..=Duration::from_millis(BETWEEN - 1), |_, order, payment| {
            (*order, *payment)
        })
        .share();
    let pattern = Pattern::begin("dear", |(order, _): &Paid| is_dear(*order))
        .times(2)
        .next("cheap", |(order, _)| !is_dear(*order))
        .within(Duration::from_millis(WITHIN));
    paid.stream()
        .key_by(|(order, _)| key(*order))
        .pattern("in a row", pattern, |found: Match<'_, u64, Paid>| {
            let last = found.records().last().map_or(0, |(order, _)| *order);
            (*found.key(), last)
        })
        .sink("found", io.sink::<Found>());
    paid.stream()
        .key_by(|(order, _)| key(*order))
        .connect_broadcast("in force", rules, state::broadcast::<u64, u64>("rules"), |(from, rule), rules| {
            rules.insert(from, rule);
        })
        .process_with_timers(
            "ruled",
            state::map::<u64, u64>("waiting"),
            move |(order, payment), _, cx| {
                let at = paid_at(payment);
                cx.states().insert(at, order);
                // When the rules of that moment are known.
                cx.set_timer(moment(at));
            },
            |timer, rules, cx| {
                let at = timer.time.as_millis() as u64;
                let rule = rules.range(..=at).next_back().map_or(0, |(_, rule)| *rule);
                if let Some(order) = cx.states().remove(&at) {
                    cx.emit((order, rule));
                }
            },
        )
        .sink("ruled rows", io.sink::<Ruled>());
    topology
}

/// Looks for each order's payment, in order, and for each payment's rule.
pub(super) fn joins_oracle() -> Vec<Vec<String>> {
    let paid: Vec<Paid> = (0..ORDERS).filter_map(|order| payment(order).map(|payment| (order, payment))).collect();
    let mut by_key = BTreeMap::<u64, Vec<u64>>::new();
    for (order, _) in &paid {
        by_key.entry(key(*order)).or_default().push(*order);
    }
    let mut found = Vec::<Found>::new();
    for (key, orders) in by_key {
        for three in orders.windows(3) {
            let is_near = (three[2] - three[0]) * BETWEEN <= WITHIN;
            if is_near && is_dear(three[0]) && is_dear(three[1]) && !is_dear(three[2]) {
                found.push((key, three[2]));
            }
        }
    }
    let ruled = paid.iter().map(|(order, payment)| {
        let mut newest_first = (0..RULES).rev().map(rule);
        (*order, newest_first.find(|(from, _)| *from <= paid_at(*payment)).map_or(0, |(_, rule)| rule))
    });
    vec![sorted(found), sorted::<Ruled>(ruled)]
}
