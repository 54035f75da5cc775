//! Nexmark: an auction house's persons, auctions and bids, and what is asked of them.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the events |
//! | [`queries`] | the queries, and the table of them |
//! | [`rows`] | where a query's rows go |
//! | [`digest`] | rows in one number, to be compared with those of another engine |
//! | [`utc`] | days, hours and minutes |
//!
//! What a query means is said in the SQL of `https://github.com/nexmark/nexmark`; where that leaves room, the query's comment says what is done here. Names in rows are
//! those of the SQL, times are milliseconds since the epoch, decimals are strings.

pub mod digest;
pub mod queries;
pub mod rows;
pub mod source;
pub mod utc;
