//! What as many threads as there are subtasks do without an engine: W3 by hand. Each makes its share of the bids, keeps those of its own auctions and sends the others on.

use std::{
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::Instant,
};

use crate::{
    Args,
    checksum_sink::Checksum,
    memory::MemoryWatch,
    panes::Panes,
    report::Report,
    workload::{Bid, DISORDER, bid, splitmix64},
};

/// How many batches may wait for a thread.
const WAITING: usize = 32;

/// Bids for one thread, and the watermark behind them.
struct Batch {
    from: usize,
    bids: Vec<Bid>,
    watermark: u64,
}

/// Runs W3 on `args.parallelism` threads.
pub fn run(args: &Args) -> Report {
    let threads = args.parallelism as usize;
    let memory = MemoryWatch::start();
    let began = Instant::now();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::sync_channel(WAITING)).unzip();
    let checksums: Vec<Checksum> = thread::scope(|scope| {
        let running: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(own, received)| {
                let worker = Worker::new(own, senders.clone(), received);
                scope.spawn(move || worker.run(args.records, args.batch_size))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    Report {
        workload: args.what.last().cloned().unwrap_or_default(),
        variant: format!("threads-p{threads}"),
        records: args.records,
        seconds,
        checksum: Checksum::of_all(checksums.iter()),
        checkpoints: None,
        memory: memory.stop(),
        fields: Vec::new(),
    }
}

struct Worker {
    own: usize,
    senders: Vec<SyncSender<Batch>>,
    received: Receiver<Batch>,
    panes: Panes,
    /// What each thread has said of time.
    watermarks: Vec<u64>,
    checksum: Checksum,
}

impl Worker {
    fn new(own: usize, senders: Vec<SyncSender<Batch>>, received: Receiver<Batch>) -> Self {
        let watermarks = vec![0; senders.len()];
        Self { own, senders, received, panes: Panes::default(), watermarks, checksum: Checksum::default() }
    }

    fn run(mut self, records: u64, batch_size: usize) -> Checksum {
        let threads = self.senders.len();
        let mut lanes: Vec<Vec<Bid>> = (0..threads).map(|_| Vec::with_capacity(batch_size)).collect();
        let mut newest = 0u64;
        for bid in (self.own as u64..records).step_by(threads).map(bid) {
            newest = newest.max(bid.time);
            // The high bits of a hash, scaled: as key groups are dealt out.
            let to = ((u128::from(splitmix64(bid.auction)) * threads as u128) >> 64) as usize;
            lanes[to].push(bid);
            if lanes[to].len() == batch_size {
                let bids = std::mem::replace(&mut lanes[to], Vec::with_capacity(batch_size));
                self.send(to, bids, newest.saturating_sub(DISORDER + 1));
                self.take_waiting();
            }
        }
        for (to, bids) in lanes.into_iter().enumerate() {
            self.send(to, bids, u64::MAX);
        }
        while self.watermarks.iter().any(|mark| *mark < u64::MAX) {
            let Ok(batch) = self.received.recv() else { break };
            self.take(batch);
        }
        self.checksum
    }

    /// Takes what has come while there is no room: so whoever waits makes room, and none waits for ever.
    fn send(&mut self, to: usize, bids: Vec<Bid>, watermark: u64) {
        let mut batch = Batch { from: self.own, bids, watermark };
        if to == self.own {
            return self.take(batch);
        }
        while let Err(error) = self.senders[to].try_send(batch) {
            batch = match error {
                TrySendError::Full(batch) => batch,
                TrySendError::Disconnected(_) => panic!("thread {to} has ended early"),
            };
            self.take_waiting();
            thread::yield_now();
        }
    }

    fn take_waiting(&mut self) {
        while let Ok(batch) = self.received.try_recv() {
            self.take(batch);
        }
    }

    fn take(&mut self, Batch { from, bids, watermark }: Batch) {
        bids.into_iter().for_each(|bid| self.panes.add(bid));
        self.watermarks[from] = watermark;
        let watermark = self.watermarks.iter().copied().min().unwrap_or(u64::MAX);
        self.panes.close(watermark, &mut self.checksum);
    }
}
