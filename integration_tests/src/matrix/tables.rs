//! A job in which two streams meet: in windows, by versions, by what is known of one when the other comes, and in a step that sees both.

use std::time::Duration;

use cofferdam_engine::{
    Timestamp, WatermarkStrategy, state,
    topology::Topology,
    window::{Session, Tumbling},
};

use super::sorted;
use crate::io::Io;

const KEYS: u64 = 4;
const SALES: u64 = 60;
const PRICES: u64 = 22;
const WINDOW: u64 = 60;
const GAP: u64 = 15;

/// A key, a sale and a price of a window; one of them may be lacking.
type Met = (u64, Option<u64>, Option<u64>);
/// Whether there are prices in a sale's session, and the sale.
type Priced = (bool, u64);
/// A sale, and the price at its moment.
type Sold = (u64, Option<u64>);
/// A sale and a price of a key.
type Pair = (u64, u64);

/// The key of a sale, of which there are several in a row.
fn sold(sale: u64) -> u64 {
    sale / 3 % KEYS
}

/// Out of order by one place.
fn sold_at(sale: u64) -> u64 {
    1_000 + (sale ^ 1) * 10
}

/// The key of a price.
fn priced(price: u64) -> u64 {
    price * 3 % KEYS
}

fn priced_at(price: u64) -> u64 {
    1_003 + price * 26
}

/// Now and then nothing is for sale.
fn version(price: u64) -> Option<u64> {
    (price % 5 != 4).then_some(price)
}

/// Sales and prices of one window, sales by whether their session has prices, each at the price of its moment and with the one that is known when it comes, and every two of a key.
pub(super) fn tables(io: &Io) -> Topology {
    let topology = Topology::new("tables");
    let strategy = || WatermarkStrategy::bounded(Duration::from_millis(20));
    let moment = |millis: u64| Timestamp::from_millis(millis as i64);
    let sales = topology
        .source("sales", io.source((0..SALES).collect()))
        .event_time("sale time", strategy(), move |sale| moment(sold_at(*sale)))
        .share();
    let prices = topology
        .source("prices", io.source((0..PRICES).collect()))
        .parallelism(1)
        .event_time("price time", strategy(), move |price| moment(priced_at(*price)))
        .share();
    let sold = || sales.stream().key_by(|sale| sold(*sale));
    let both = || sold().connect(prices.stream().key_by(|price| priced(*price)));
    let table = || sold().connect(prices.stream().keyed(|price| (priced(price), version(price))));

    both()
        .window(Tumbling::of(Duration::from_millis(WINDOW)))
        .full("met", |key, sale, price| (*key, sale.copied(), price.copied()))
        .sink("met rows", io.sink::<Met>());
    let sessions = || both().window(Session::gap(Duration::from_millis(GAP)));
    sessions()
        .semi("priced", |_, sale| (true, *sale))
        .union(sessions().anti("not priced", |_, sale| (false, *sale)))
        .sink("priced rows", io.sink::<Priced>());
    table()
        .temporal_join("at its price", |_, sale, price| Some((sale, price.copied())))
        .sink("sold rows", io.sink::<Sold>());
    // From one subtask: those of a key come in their order. Which one is known is not said; but it is one of the key, and none that is older than what was known before.
    let known = prices.stream().parallelism(1).keyed(|price| (priced(price), Some(price)));
    sold()
        .connect(known)
        .lookup_join("known", state::value("table"), |key, sale, price| Some((*key, sale, price.copied())))
        .key_by(|(key, ..)| *key)
        .process_with("never older", state::value::<u64>("newest"), |_, (key, sale, price), newest, out| {
            let is_of_key = price.is_none_or(|price| priced(price) == key);
            out.emit((is_of_key && price.as_ref() >= newest.get(), sale));
            if let Some(price) = price {
                newest.set(price);
            }
        })
        .sink("known rows", io.sink::<Priced>());
    both()
        .process_with(
            "pairs",
            (state::list::<u64>("sales"), state::list::<u64>("prices")),
            |_, sale, (sales, prices), out| {
                prices.iter().for_each(|price| out.emit((sale, *price)));
                sales.push(sale);
            },
            |_, price, (sales, prices), out| {
                sales.iter().for_each(|sale| out.emit((*sale, price)));
                prices.push(price);
            },
        )
        .sink("pair rows", io.sink::<Pair>());
    topology
}

/// By nested loops.
pub(super) fn tables_oracle() -> Vec<Vec<String>> {
    let (mut met, mut priced_rows, mut pairs) = (Vec::<Met>::new(), Vec::<Priced>::new(), Vec::<Pair>::new());
    for key in 0..KEYS {
        let sales: Vec<_> = (0..SALES).filter(|sale| sold(*sale) == key).collect();
        let prices: Vec<_> = (0..PRICES).filter(|price| priced(*price) == key).collect();
        pairs.extend(sales.iter().flat_map(|sale| prices.iter().map(|price| (*sale, *price))));
        met.extend((0..2_000 / WINDOW).flat_map(|window| met_in(key, window, &sales, &prices)));
        let sale_times = sales.iter().map(|sale| (sold_at(*sale), Some(*sale)));
        let mut times: Vec<_> = sale_times.chain(prices.iter().map(|price| (priced_at(*price), None))).collect();
        times.sort_unstable();
        for session in times.chunk_by(|one, next| next.0 - one.0 <= GAP) {
            let has_prices = session.iter().any(|(_, sale)| sale.is_none());
            priced_rows.extend(session.iter().filter_map(|(_, sale)| *sale).map(|sale| (has_prices, sale)));
        }
    }
    let at_their_price = (0..SALES).map(|sale| {
        let before = (0..PRICES).filter(|price| priced(*price) == sold(sale) && priced_at(*price) <= sold_at(sale));
        (sale, before.max_by_key(|price| priced_at(*price)).and_then(version))
    });
    let known = (0..SALES).map(|sale| (true, sale));
    vec![sorted(met), sorted(priced_rows), sorted::<Sold>(at_their_price), sorted::<Priced>(known), sorted(pairs)]
}

/// Those of a key in a window: each with each, or with nothing.
fn met_in(key: u64, window: u64, sales: &[u64], prices: &[u64]) -> Vec<Met> {
    let is_in = |time: u64| time / WINDOW == window;
    let sales: Vec<_> = sales.iter().copied().filter(|sale| is_in(sold_at(*sale))).collect();
    let prices: Vec<_> = prices.iter().copied().filter(|price| is_in(priced_at(*price))).collect();
    match (sales.is_empty(), prices.is_empty()) {
        (_, true) => sales.iter().map(|sale| (key, Some(*sale), None)).collect(),
        (true, _) => prices.iter().map(|price| (key, None, Some(*price))).collect(),
        _ => sales.iter().flat_map(|sale| prices.iter().map(move |price| (key, Some(*sale), Some(*price)))).collect(),
    }
}
