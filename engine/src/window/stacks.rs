//! Sliding windows of panes, without merging all of them each time.

use std::ops::Range;

use super::Window;
use crate::{state::Merge, time::Timestamp};

/// What a key's sliding window comes to, from one slide to the next. In memory only: it is made anew of the panes wherever it is not there.
///
/// The panes of the window lie in two stacks. The front has, for each of its panes, what comes of it and all behind it in the front, so that the oldest pane leaves
/// by a pop; the back is one accumulator, into which panes that are complete are merged. When the front is empty it is made of all panes in the window. So a pane is
/// merged at most once into the back and once in such a flip, and each answer is at most one merge: for windows of panes as long as a slide less than 3 merges a
/// slide, however many panes there are.
#[derive(Clone, Debug)]
pub struct Stacks<V> {
    /// The oldest last: a pane's start, and what comes of it and of all in front of it here.
    front: Vec<(Timestamp, V)>,
    back: Option<V>,
    /// Panes that start before this are in one of the stacks.
    taken: Timestamp,
}

impl<V> Default for Stacks<V> {
    fn default() -> Self {
        Self { front: Vec::new(), back: None, taken: Timestamp::MIN }
    }
}

impl<V: Clone> Stacks<V> {
    /// Forgets what it has. Due when a pane changes that [`holds`](Self::holds) says yes to.
    pub fn reset(&mut self) {
        self.front.clear();
        self.back = None;
        self.taken = Timestamp::MIN;
    }

    /// Whether the pane that starts here would not be looked at again.
    pub fn holds(&self, start: Timestamp) -> bool {
        start < self.taken
    }

    /// What the panes of `window` come to; `None` if there are none. `panes` gives those that start within a stretch of time, in order. Windows are asked for in
    /// order; one that ends before the last one did is answered as after a reset.
    pub fn slide<'a, A, I>(&mut self, merge: &A, window: Window, panes: impl Fn(Range<Timestamp>) -> I) -> Option<V>
    where
        V: 'a,
        A: Merge<Accumulator = V>,
        I: DoubleEndedIterator<Item = (Timestamp, &'a V)>,
    {
        if window.end < self.taken {
            self.reset();
        }
        while self.front.pop_if(|(start, _)| *start < window.start).is_some() {}
        if self.front.is_empty() {
            self.flip(merge, panes(window.start..window.end));
        } else {
            for (_, pane) in panes(self.taken..window.end) {
                put(merge, &mut self.back, pane);
            }
        }
        self.taken = window.end;
        let (_, oldest) = self.front.last()?;
        let mut all = oldest.clone();
        if let Some(back) = &self.back {
            merge.merge(&mut all, back.clone());
        }
        Some(all)
    }

    fn flip<'a, A: Merge<Accumulator = V>>(
        &mut self,
        merge: &A,
        panes: impl DoubleEndedIterator<Item = (Timestamp, &'a V)>,
    ) where
        V: 'a,
    {
        self.back = None;
        for (start, pane) in panes.rev() {
            let mut all = pane.clone();
            if let Some((_, behind)) = self.front.last() {
                merge.merge(&mut all, behind.clone());
            }
            self.front.push((start, all));
        }
    }
}

/// Puts a pane behind what there is.
fn put<A: Merge>(merge: &A, back: &mut Option<A::Accumulator>, pane: &A::Accumulator)
where
    A::Accumulator: Clone,
{
    match back {
        Some(back) => merge.merge(back, pane.clone()),
        None => *back = Some(pane.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use proptest::prelude::*;

    use super::{
        super::{Sliding, tumbling::ms},
        *,
    };
    use crate::state::Aggregate;

    /// All records in order, so that a merge too many, too few or in the wrong order shows. Counts its merges.
    #[derive(Clone, Default)]
    struct Listed {
        merges: Arc<AtomicU64>,
    }

    impl Aggregate for Listed {
        type In = u32;
        type Accumulator = Vec<u32>;
        type Out = Vec<u32>;

        fn create(&self) -> Vec<u32> {
            Vec::new()
        }

        fn add(&self, accumulator: &mut Vec<u32>, value: u32) {
            accumulator.push(value);
        }

        fn get(&self, accumulator: &Vec<u32>) -> Vec<u32> {
            accumulator.clone()
        }
    }

    impl Merge for Listed {
        fn merge(&self, into: &mut Vec<u32>, other: Vec<u32>) {
            self.merges.fetch_add(1, Ordering::Relaxed);
            into.extend(other);
        }
    }

    type Panes = BTreeMap<Timestamp, Vec<u32>>;

    fn slide(stacks: &mut Stacks<Vec<u32>>, listed: &Listed, window: Window, panes: &Panes) -> Option<Vec<u32>> {
        stacks.slide(listed, window, |range| panes.range(range).map(|(start, pane)| (*start, pane)))
    }

    proptest! {
        #[test]
        fn a_slide_gives_what_merging_all_panes_gives(
            size in 1..30_i64,
            every in 1..40_i64,
            times in proptest::collection::vec(0..400_i64, 0..120),
            late in proptest::collection::vec((0..40_usize, 0..400_i64), 0..10),
            forgotten in proptest::collection::vec(0..40_usize, 0..4),
        ) {
            let windows = Sliding::of(ms(size)).every(ms(every));
            let (listed, mut stacks, mut panes) = (Listed::default(), Stacks::default(), Panes::new());
            for (number, time) in (0..).zip(&times) {
                panes.entry(windows.pane(Timestamp(*time)).start).or_default().push(number);
            }
            let mut window = windows.windows(Timestamp(0)).next().unwrap();
            for nth in 0..40 {
                for (_, time) in late.iter().filter(|(when, _)| *when == nth) {
                    let start = windows.pane(Timestamp(*time)).start;
                    panes.entry(start).or_default().push(1_000);
                    if stacks.holds(start) {
                        stacks.reset();
                    }
                }
                if forgotten.contains(&nth) {
                    stacks = Stacks::default();
                }
                let all: Vec<u32> = panes.range(window.start..window.end).flat_map(|(_, pane)| pane.clone()).collect();
                let given = slide(&mut stacks, &listed, window, &panes);
                prop_assert_eq!(given, Some(all).filter(|all| !all.is_empty()));
                window = windows.after(window).unwrap();
                // Panes that no window to come has are gone, as they are from the state.
                panes = panes.split_off(&window.start);
            }
        }
    }

    /// Merges in `slides` slides over a key that has a record in each pane.
    fn merges(size: i64, every: i64, slides: u64) -> u64 {
        let windows = Sliding::of(ms(size)).every(ms(every));
        let (listed, mut stacks, mut panes) = (Listed::default(), Stacks::default(), Panes::new());
        let (mut window, mut pane) = (windows.windows(Timestamp(0)).next().unwrap(), windows.pane(Timestamp(0)));
        for _ in 0..slides {
            while pane.end <= window.end {
                panes.insert(pane.start, Vec::new());
                pane = windows.pane(pane.end);
            }
            slide(&mut stacks, &listed, window, &panes);
            window = windows.after(window).unwrap();
            panes = panes.split_off(&window.start);
        }
        listed.merges.load(Ordering::Relaxed)
    }

    #[test]
    fn a_slide_costs_less_than_three_merges_however_many_panes_a_window_has() {
        for panes in [1, 2, 3, 10, 100, 1_000] {
            let slides = 5_000;
            let all = merges(panes * 10, 10, slides);
            assert!(all < 3 * slides, "{all} merges in {slides} slides of {panes} panes");
        }
    }

    #[test]
    fn a_slide_that_does_not_divide_the_size_costs_at_most_five_merges() {
        for (size, every) in [(1_000, 999), (1_000, 501), (1_000, 7), (997, 2), (5, 8)] {
            let slides = 5_000;
            let all = merges(size, every, slides);
            assert!(all <= 5 * slides, "{all} merges in {slides} slides of {size}/{every}");
        }
    }
}
