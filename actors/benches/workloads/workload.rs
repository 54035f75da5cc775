//! What is computed: the records and their answer. All arithmetic wraps.

/// The workloads.
#[derive(Clone, Copy, Debug)]
pub enum Workload {
    /// W1: count per key, a row for every record.
    KeyedCount {
        /// Keys.
        keys: u64,
        /// After each key was seen once, only this many.
        hot: Option<u64>,
    },
    /// W2: a map, a filter, an exchange.
    MapFilter,
    /// W3: the highest bid of each auction and ten seconds.
    WindowedBids,
    /// W4: bids joined to their auctions.
    Joined,
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[inline]
pub fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// W1's key of record `i`.
#[inline]
pub fn key(i: u64, keys: u64, hot: Option<u64>) -> u64 {
    match hot {
        None => splitmix64(i) % keys,
        Some(_) if i < keys => i,
        Some(hot) => splitmix64(i) % hot,
    }
}

/// W1's share of a row in the checksum.
#[inline]
pub fn key_checksum(key: u64, count: u64) -> u64 {
    (key + 1).wrapping_mul(count)
}

/// W2's map.
#[inline]
pub fn mapped(v: u64) -> u64 {
    v.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(1)
}

/// W2's filter.
#[inline]
pub fn is_kept(m: u64) -> bool {
    m & 7 != 0
}

/// W3's bid; its bidder is asked for by nobody.
#[derive(Clone, Copy, Debug)]
pub struct Bid {
    pub auction: u64,
    pub price: u64,
    /// Milliseconds.
    pub time: u64,
}

/// How long W3's windows are, in milliseconds.
pub const WINDOW: u64 = 10_000;

/// By how much W3's bids may come too late, in milliseconds.
pub const DISORDER: u64 = 2_000;

/// W3's auctions.
pub const AUCTIONS: u64 = 100_000;

/// W3's record `i`.
#[inline]
pub fn bid(i: u64) -> Bid {
    Bid {
        auction: splitmix64(4 * i) % AUCTIONS,
        price: 100 + splitmix64(4 * i + 2) % 10_000_000,
        time: i / 100 + DISORDER - splitmix64(4 * i + 3) % DISORDER,
    }
}

/// W3's share of a row in the checksum.
#[inline]
pub fn window_checksum(auction: u64, end: u64, highest: u64) -> u64 {
    (auction + 1).wrapping_mul(highest).wrapping_add(end)
}

/// W4's records.
#[derive(Clone, Copy, Debug)]
pub enum AuctionOrBid {
    Auction { id: u64, seller: u64, category: u8 },
    Bid { auction: u64, bidder: u64, price: u64 },
}

/// W4's record `i`.
#[inline]
pub fn auction_or_bid(i: u64) -> AuctionOrBid {
    if i.is_multiple_of(10) {
        return AuctionOrBid::Auction {
            id: i / 10,
            seller: seller(i / 10),
            category: (splitmix64(4 * i + 1) % 10) as u8,
        };
    }
    let newest = i / 10;
    AuctionOrBid::Bid {
        auction: newest - newest.min(splitmix64(4 * i) % 10_000),
        bidder: splitmix64(4 * i + 1) % 100_000,
        price: 100 + splitmix64(4 * i + 2) % 10_000_000,
    }
}

/// Who sells in an auction of W4.
#[inline]
pub fn seller(auction: u64) -> u64 {
    splitmix64(4 * (10 * auction)) % 100_000
}

/// W4's share of a row in the checksum.
#[inline]
pub fn join_checksum(seller: u64, price: u64, bidder: u64) -> u64 {
    (seller + 1).wrapping_mul(price).wrapping_add(bidder)
}
