//! Windows of bids, as one would write them by hand: a map for each window that is open.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::{
    checksum_sink::Checksum,
    workload::{AUCTIONS, Bid, WINDOW, window_checksum},
};

/// The highest bid of each auction in each window that has not ended.
#[derive(Default)]
pub struct Panes {
    /// By their ends, one after the other.
    open: VecDeque<Pane>,
    /// Tables of windows that have ended, to be used again.
    spare: Vec<HashMap<u64, u64, ahash::RandomState>>,
}

struct Pane {
    end: u64,
    highest: HashMap<u64, u64, ahash::RandomState>,
}

impl Panes {
    #[inline]
    pub fn add(&mut self, bid: Bid) {
        let at = self.open.iter().position(|pane| pane.end - WINDOW <= bid.time && bid.time < pane.end);
        let at = at.unwrap_or_else(|| self.begin(bid.time));
        let highest = self.open[at].highest.entry(bid.auction).or_insert(0);
        *highest = bid.price.max(*highest);
    }

    /// A window for this time, where its end says.
    #[cold]
    fn begin(&mut self, time: u64) -> usize {
        let end = time / WINDOW * WINDOW + WINDOW;
        let fresh = || HashMap::with_capacity_and_hasher(AUCTIONS as usize, ahash::RandomState::new());
        let highest = self.spare.pop().unwrap_or_else(fresh);
        let at = self.open.partition_point(|pane| pane.end < end);
        self.open.insert(at, Pane { end, highest });
        at
    }

    /// Gives the rows of all windows that end before `watermark`, or with it.
    #[inline]
    pub fn close(&mut self, watermark: u64, checksum: &mut Checksum) {
        while self.open.front().is_some_and(|pane| pane.end - 1 <= watermark) {
            let Some(Pane { end, mut highest }) = self.open.pop_front() else { return };
            highest.drain().for_each(|(auction, highest)| checksum.add(window_checksum(auction, end, highest)));
            self.spare.push(highest);
        }
    }
}
