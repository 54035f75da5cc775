//! Windows of so many records.

use std::ops::Range;

use super::Windows;

/// Windows of so many records of a key, in the order in which they come. What is left at the end of the input makes no window.
///
/// ```
/// use cofferdam_engine::window::Count;
///
/// let last_ten = Count::sliding(10, 4);
/// assert_eq!(last_ten.complete(8), Some(0..8));
/// assert_eq!(last_ten.complete(12), Some(2..12));
/// assert_eq!(last_ten.complete(13), None);
/// ```
///
/// Records are cut into panes wherever a window begins or ends, as time is by [`Sliding`](super::Sliding).
#[derive(Clone, Copy, Debug)]
pub struct Count {
    size: u64,
    every: u64,
}

impl Count {
    /// One behind the other.
    pub fn of(size: u64) -> Self {
        Self { size, every: size }
    }

    /// After `every` records, the last `size` of them; fewer before there are so many.
    pub fn sliding(size: u64, every: u64) -> Self {
        Self { size, every }
    }

    /// The window that is complete when a key has had so many records, by their numbers from 0.
    #[inline]
    pub fn complete(&self, records: u64) -> Option<Range<u64>> {
        let is_complete = records > 0 && records.is_multiple_of(self.every.max(1));
        is_complete.then(|| records.saturating_sub(self.size.max(1))..records)
    }

    /// When a key has had so many records, and a window was just complete: the first record that a window to come has.
    pub(crate) fn first_kept(&self, records: u64) -> u64 {
        records.saturating_add(self.every.max(1)).saturating_sub(self.size.max(1))
    }

    /// Whether there is a window that has this record: with a size below `every`, what lies between two of them is in none.
    pub(crate) fn has(&self, record: u64) -> bool {
        record >= self.first_kept(record - record % self.every.max(1))
    }

    /// The numbers of the records that are one pane with this one. Those that no window has are panes, too.
    pub fn pane(&self, record: u64) -> Range<u64> {
        let (size, every) = (self.size.max(1), self.every.max(1));
        let slide = record - record % every;
        // A window ends at a multiple of `every`, so it begins at such a place in its slide.
        let cut = (every - size % every) % every;
        let behind = slide.saturating_add(every);
        if cut == 0 {
            slide..behind
        } else if record - slide < cut {
            slide..slide + cut
        } else {
            slide + cut..behind
        }
    }
}

impl Windows for Count {
    fn describe(&self) -> String {
        format!("count {}/{}", self.size, self.every)
    }

    fn faults(&self) -> Vec<String> {
        let faults = [
            (self.size == 0, "they are of 0 records: it must be at least 1"),
            (self.every == 0, "there is one after every 0 records: it must be at least 1"),
        ];
        // `of(0)` sets both, and was said once.
        faults.into_iter().filter(|(is_fault, _)| *is_fault).map(|(_, fault)| fault.to_string()).take(1).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_are_the_last_records_after_every_so_many(size in 1..20_u64, every in 1..30_u64) {
            let count = Count::sliding(size, every);
            let mut come = Vec::new();
            for record in 0..200 {
                come.push(record);
                let last = come[come.len().saturating_sub(size as usize)..].to_vec();
                let expected = (come.len() as u64).is_multiple_of(every).then_some(last);
                prop_assert_eq!(count.complete(record + 1).map(Iterator::collect::<Vec<_>>), expected);
            }
        }

        #[test]
        fn windows_consist_of_whole_panes(size in 1..20_u64, every in 1..30_u64) {
            let count = Count::sliding(size, every);
            let windows: Vec<_> = (0..400).filter_map(|records| count.complete(records)).collect();
            let of = |record: u64| windows.iter().filter(|window| window.contains(&record)).collect::<Vec<_>>();
            for record in 0..200 {
                let pane = count.pane(record);
                prop_assert!(pane.contains(&record));
                prop_assert!(pane.clone().all(|other| of(other) == of(record) && count.pane(other) == pane));
                prop_assert!(pane.end - pane.start <= every);
                prop_assert_eq!(count.has(record), !of(record).is_empty());
            }
        }
    }

    #[test]
    fn one_pane_is_a_slide_that_divides_the_size() {
        assert_eq!(Count::sliding(10, 5).pane(7), 5..10);
        assert_eq!(Count::of(4).pane(3), 0..4);
    }

    #[test]
    fn windows_of_nothing_are_a_fault() {
        assert_eq!(Count::of(0).faults(), ["they are of 0 records: it must be at least 1"]);
        assert_eq!(Count::sliding(1, 0).faults(), ["there is one after every 0 records: it must be at least 1"]);
        assert!(Count::sliding(3, 5).faults().is_empty());
        assert_eq!((Count::of(0).complete(1), Count::of(0).pane(3)), (Some(0..1), 3..4));
    }
}
