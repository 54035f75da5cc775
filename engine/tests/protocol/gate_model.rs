//! The gate against a model that stashes without bound and has one rule: handle what is not blocked, the lowest channel first. Of time it has one rule, too: the least of
//! what the open channels say that are not idle; if all are, the most; and never less than before.

use std::collections::{BTreeSet, VecDeque};

use cofferdam_engine::{Timestamp, Watermark, checkpoint::config::CheckpointMode};
use proptest::{prelude::*, sample::Index};

use crate::support::{Gate, Seen, barrier, batch, end, idle_mark, mark};

/// An element of a script; batches are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Batch(u64),
    /// A time, and whether the channel is idle.
    Mark(i64, bool),
    Barrier(u64),
    End,
}

struct Model {
    mode: CheckpointMode,
    queues: Vec<VecDeque<Item>>,
    ended: BTreeSet<usize>,
    /// What each channel has said of time, and the answer.
    said: Vec<(i64, bool)>,
    time: (i64, bool),
    /// Oldest first.
    collecting: Vec<(u64, BTreeSet<usize>)>,
    last: u64,
    cancelled: BTreeSet<u64>,
    events: Vec<Seen>,
}

impl Model {
    fn is_blocked(&self, channel: usize) -> bool {
        let arrived = self.collecting.iter().any(|(_, arrived)| arrived.contains(&channel));
        self.mode == CheckpointMode::ExactlyOnce && arrived
    }

    fn settle(&mut self) {
        while let Some(channel) = (0..self.queues.len()).find(|i| !self.queues[*i].is_empty() && !self.is_blocked(*i)) {
            match self.queues[channel].pop_front() {
                Some(Item::Batch(n)) => {
                    self.said[channel].1 = false;
                    self.tell();
                    self.events.push(Seen::Delivered(n));
                }
                Some(Item::Mark(time, is_idle)) => {
                    self.said[channel] = (time, is_idle);
                    self.tell();
                }
                Some(Item::End) => {
                    self.ended.insert(channel);
                    match self.ended.len() == self.queues.len() {
                        true => self.events.push(Seen::Ended),
                        false => self.tell(),
                    }
                }
                Some(Item::Barrier(n)) => self.barrier(channel, n),
                None => {}
            }
        }
    }

    fn tell(&mut self) {
        let open = || (0..self.said.len()).filter(|i| !self.ended.contains(i)).map(|i| self.said[i]);
        let least = open().filter(|(_, is_idle)| !is_idle).map(|(time, _)| time).min();
        let most = open().map(|(time, _)| time).max().unwrap_or(i64::MAX);
        let now = (self.time.0.max(least.unwrap_or(most)), least.is_none());
        if std::mem::replace(&mut self.time, now) != now {
            self.events.push(Seen::Time(Watermark { time: Timestamp(now.0), is_idle: now.1 }));
        }
    }

    fn push(&mut self, channel: usize, item: Item) {
        match (self.queues[channel].back_mut(), item) {
            (Some(Item::Mark(time, is_idle)), Item::Mark(newer, now)) => (*time, *is_idle) = (newer, now),
            (_, item) => self.queues[channel].push_back(item),
        }
    }

    fn barrier(&mut self, channel: usize, n: u64) {
        while let Some(lost) = self.collecting.iter().position(|(m, arrived)| *m < n && !arrived.contains(&channel)) {
            let (lost, _) = self.collecting.remove(lost);
            self.events.push(Seen::Declined(lost));
            self.last = self.last.max(lost);
        }
        let is_old = n <= self.last || self.cancelled.contains(&n);
        let known = self.collecting.iter().position(|(m, _)| *m == n);
        if is_old || (known.is_none() && self.collecting.iter().any(|(m, _)| *m > n)) {
            return;
        }
        let place = known.unwrap_or_else(|| {
            if self.queues.len() > 1 {
                self.events.push(Seen::Collecting(n));
            }
            self.collecting.push((n, BTreeSet::new()));
            self.collecting.len() - 1
        });
        self.collecting[place].1.insert(channel);
        if self.collecting[place].1.len() == self.queues.len() {
            self.collecting.remove(place);
            self.events.push(Seen::Aligned(n));
            self.last = n;
        }
    }

    fn cancel(&mut self, n: u64) {
        self.collecting.retain(|(m, _)| *m != n);
        self.cancelled.insert(n);
        self.settle();
    }
}

/// One channel's elements: batches, barriers with growing numbers, of which some are left out, perhaps an end.
fn channel(barriers: u64) -> impl Strategy<Value = Vec<Item>> {
    let item =
        prop_oneof![Just(Item::Batch(0)), (0..4i64, any::<bool>()).prop_map(|(step, idle)| Item::Mark(step, idle))];
    let between = prop::collection::vec(prop::collection::vec(item, 0..4), barriers as usize + 1);
    let skipped = prop::collection::vec(prop::bool::weighted(0.15), barriers as usize);
    (between, skipped, 0..=barriers + 1).prop_map(move |(between, skipped, end)| {
        let mut items = Vec::new();
        let mut ended = false;
        for n in 0..=barriers {
            if n == end {
                items.push(Item::End);
                ended = true;
            }
            if !ended {
                items.extend(between[n as usize].iter().copied());
            }
            if n < barriers && !skipped[n as usize] {
                items.push(Item::Barrier(n + 1));
            }
        }
        items
    })
}

#[derive(Clone, Debug)]
enum Step {
    Read(Index),
    Cancel(u64),
}

fn script() -> impl Strategy<Value = (Vec<Vec<Item>>, Vec<Step>, usize)> {
    let channels = prop::collection::vec(channel(5), 1..4);
    let step = prop_oneof![20 => any::<Index>().prop_map(Step::Read), 1 => (1..6u64).prop_map(Step::Cancel)];
    (channels, prop::collection::vec(step, 1..200), 0..6usize).prop_map(|(mut channels, steps, limit)| {
        // Numbered, so that each batch tells its channel and its place there. What was by how much time grows becomes the time.
        for (number, items) in channels.iter_mut().enumerate() {
            let (mut next, mut time) = (number as u64 * 1000, 0);
            for item in items {
                match item {
                    Item::Batch(n) => {
                        *n = next;
                        next += 1;
                    }
                    Item::Mark(step, _) => {
                        time += *step;
                        *step = time;
                    }
                    Item::Barrier(_) | Item::End => {}
                }
            }
        }
        (channels, steps, limit)
    })
}

fn element(item: Item) -> cofferdam_engine::StreamElement {
    match item {
        Item::Batch(n) => batch(n),
        Item::Mark(time, true) => idle_mark(time),
        Item::Mark(time, false) => mark(time),
        Item::Barrier(n) => barrier(n),
        Item::End => end(),
    }
}

/// What the batches before barrier `n` of each channel are.
fn before(channels: &[Vec<Item>], n: u64) -> BTreeSet<u64> {
    let of_channel = |items: &Vec<Item>| {
        let up_to = items.iter().take_while(|item| **item != Item::Barrier(n)).copied().collect::<Vec<_>>();
        up_to.into_iter().filter_map(|item| if let Item::Batch(n) = item { Some(n) } else { None })
    };
    channels.iter().flat_map(of_channel).collect()
}

fn check(mode: CheckpointMode, channels: Vec<Vec<Item>>, steps: Vec<Step>, limit: usize) {
    let mut gate = Gate::new(channels.len(), mode, limit);
    let queues = vec![VecDeque::new(); channels.len()];
    let mut model = Model {
        mode,
        queues,
        ended: BTreeSet::new(),
        said: vec![(i64::MIN, false); channels.len()],
        time: (i64::MIN, false),
        collecting: Vec::new(),
        last: 0,
        cancelled: BTreeSet::new(),
        events: Vec::new(),
    };
    let mut events = Vec::new();
    let mut unread: Vec<VecDeque<_>> = channels.iter().map(|items| items.iter().copied().collect()).collect();
    let mut received = 0usize;
    for step in steps {
        match step {
            Step::Cancel(n) => {
                gate.cancel(n);
                model.cancel(n);
            }
            Step::Read(index) => {
                let readable: Vec<_> =
                    (0..unread.len()).filter(|i| !unread[*i].is_empty() && gate.can_read(*i as u32)).collect();
                if readable.is_empty() {
                    break;
                }
                let channel = *index.get(&readable);
                let Some(item) = unread[channel].pop_front() else { break };
                received += 1;
                events.extend(gate.receive(channel as u32, element(item)).0);
                model.push(channel, item);
                model.settle();
            }
        }
        events.extend(gate.replay());
        let stashed: usize = model.queues.iter().map(VecDeque::len).sum();
        assert!(stashed <= limit, "{stashed} of {received} elements stashed, {limit} allowed");
    }
    events.retain(|event| !matches!(event, Seen::Nothing | Seen::Stashed(_)));
    assert_eq!(events, model.events);
    let mut delivered = BTreeSet::new();
    for event in events {
        match event {
            Seen::Delivered(n) => assert!(delivered.insert(n), "batch {n} came twice"),
            Seen::Aligned(n) => {
                let before = before(&channels, n);
                match mode {
                    CheckpointMode::ExactlyOnce => {
                        assert_eq!(delivered, before, "a snapshot is what lies before the barriers")
                    }
                    CheckpointMode::AtLeastOnce => assert!(delivered.is_superset(&before), "a snapshot lacks a batch"),
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_gate_does_what_the_model_does((channels, steps, limit) in script()) {
        check(CheckpointMode::ExactlyOnce, channels.clone(), steps.clone(), limit);
        check(CheckpointMode::AtLeastOnce, channels, steps, limit);
    }
}
