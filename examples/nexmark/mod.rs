//! Nexmark: an auction house's persons, auctions and bids, and what is asked of them.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the events |

pub mod source;
