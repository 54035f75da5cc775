//! Where a topology depends on the order in which its channels are read.
//!
//! The same topology is run without faults in several orders. What passed each edge is summed up without regard to order. The step to blame is in the first
//! chain whose inputs agree in all orders while its outputs differ: what it was given differed in order alone, and what it made of it
//! did not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::outcome::{Outcome, compare_output, differing};

/// A sum over the records that passed, and how many they were: the same for the same records in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bag {
    sum: u64,
    records: u64,
}

/// What passed one edge. Clones add to the same sum.
#[derive(Clone, Default)]
pub(crate) struct EdgeDigest(Arc<Mutex<Bag>>);

impl EdgeDigest {
    pub(crate) fn add(&self, record: &[u8]) {
        let mut bag = self.0.lock();
        bag.sum = bag.sum.wrapping_add(xxh3_64(record));
        bag.records += 1;
    }
}

/// What passed the edges of a run; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Edges(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    /// By the chains at both ends.
    edges: BTreeMap<(u32, u32), EdgeDigest>,
    names: BTreeMap<u32, String>,
}

impl Edges {
    pub(crate) fn digest(&self, from: u32, to: u32) -> EdgeDigest {
        self.0.lock().edges.entry((from, to)).or_default().clone()
    }

    pub(crate) fn name(&self, chain: u32, name: String) {
        self.0.lock().names.insert(chain, name);
    }

    fn bags(&self) -> BTreeMap<(u32, u32), Bag> {
        self.0.lock().edges.iter().map(|(edge, digest)| (*edge, *digest.0.lock())).collect()
    }
}

/// That a topology's result depends on order, where, and on which output one can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderDependence {
    /// The chains to blame, by the names of their steps: inputs that differ in order alone, and other outputs.
    pub steps: Vec<String>,
    /// The outputs that differ, as they were asked for.
    pub outputs: BTreeSet<usize>,
    /// The steps whose state in the end differs, of those asked for.
    pub states: BTreeSet<String>,
    /// Seeds of two orders that show it.
    pub orders: (u64, u64),
}

impl fmt::Display for OrderDependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs = self.outputs.iter().map(|output| format!("output {output}"));
        let seen: Vec<_> = outputs.chain(self.states.iter().map(|step| format!("the state of '{step}'"))).collect();
        let (one, other) = self.orders;
        write!(
            f,
            "step {} makes something else of the same records in another order (seen in {}; orders {one} and {other})",
            self.steps.iter().map(|step| format!("'{step}'")).collect::<Vec<_>>().join(" or "),
            seen.join(", "),
        )
    }
}

/// Compares two runs without faults.
pub(crate) fn depends_on_order(
    (one, one_edges, one_order): (&Outcome, &Edges, u64),
    (other, other_edges, other_order): (&Outcome, &Edges, u64),
    names_of_states: &[String],
) -> Option<OrderDependence> {
    let outputs: BTreeSet<_> = (0..one.outputs.len())
        .filter(|output| !compare_output(*output, &one.outputs[*output], &other.outputs[*output]).is_empty())
        .collect();
    let states: BTreeSet<_> = (0..one.states.len())
        .filter(|state| differing(&one.states[*state], &other.states[*state]) > 0)
        .map(|state| names_of_states[state].clone())
        .collect();
    if outputs.is_empty() && states.is_empty() {
        return None;
    }
    let (bags, other_bags) = (one_edges.bags(), other_edges.bags());
    let names = one_edges.0.lock().names.clone();
    let differs = |edge: &(u32, u32)| bags.get(edge) != other_bags.get(edge);
    let inputs_agree = |chain: u32| !bags.keys().any(|edge| edge.1 == chain && differs(edge));
    let feeds = |chain: u32| bags.keys().any(|edge| edge.0 == chain);
    let first: Vec<u32> = names
        .keys()
        .copied()
        .filter(|chain| inputs_agree(*chain) && bags.keys().any(|edge| edge.0 == *chain && differs(edge)))
        .collect();
    // Nothing that passes an edge differs: then it is a chain that ends in a sink.
    let last = || names.keys().copied().filter(|chain| inputs_agree(*chain) && !feeds(*chain)).collect();
    let blamed = if first.is_empty() { last() } else { first };
    let mut steps: Vec<_> = blamed.iter().filter_map(|chain| names.get(chain).cloned()).collect();
    if outputs.is_empty() {
        steps = states.iter().cloned().collect();
    }
    Some(OrderDependence { steps, outputs, states, orders: (one_order, other_order) })
}
