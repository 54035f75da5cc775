//! A bit for each of some numbered things; 0 unless it was set.

/// See the module.
#[derive(Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    #[inline]
    pub(super) fn get(&self, place: usize) -> bool {
        self.words.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 != 0)
    }

    #[inline]
    pub(super) fn set(&mut self, place: usize) {
        if self.words.len() <= place / 64 {
            self.words.resize(place / 64 + 1, 0);
        }
        self.words[place / 64] |= 1 << (place % 64);
    }

    fn clear(&mut self, place: usize) {
        if let Some(word) = self.words.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    /// The thing at `place` went, and the one at `last` is there now, if that is another.
    pub(super) fn swap_remove(&mut self, place: usize, last: usize) {
        let is_set = place != last && self.get(last);
        self.clear(last);
        self.clear(place);
        if is_set {
            self.set(place);
        }
    }

    /// Adds those of `other`, and leaves it none.
    pub(super) fn take_in(&mut self, other: &mut Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(other.words.drain(..)).for_each(|(word, bits)| *word |= bits);
    }

    pub(super) fn clear_all(&mut self) {
        self.words.clear();
    }

    /// How many are set here or there.
    pub(super) fn count_either(&self, other: &Self) -> usize {
        let (short, long) = if self.words.len() < other.words.len() {
            (&self.words, &other.words)
        } else {
            (&other.words, &self.words)
        };
        let both = short.iter().zip(long).map(|(left, right)| left | right);
        both.chain(long[short.len()..].iter().copied()).map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The places of those that are set.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(number, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(number * 64 + bit)
            })
        })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(places: &BTreeSet<usize>) -> Bits {
        let mut bits = Bits::default();
        places.iter().for_each(|place| bits.set(*place));
        bits
    }

    proptest! {
        #[test]
        fn they_are_like_a_set(
            mut places in prop::collection::btree_set(0usize..500, 0..200),
            other in prop::collection::btree_set(0usize..700, 0..200),
            removed in prop::collection::vec((0usize..50, 0usize..50), 0..50),
        ) {
            let (mut bits, mut others) = (of(&places), of(&other));
            for (place, beyond) in removed {
                let last = place + beyond;
                bits.swap_remove(place, last);
                let is_set = places.remove(&last) && beyond > 0;
                places.remove(&place);
                places.extend(is_set.then_some(place));
            }
            prop_assert_eq!(bits.places().collect::<BTreeSet<_>>(), places.clone());
            prop_assert!((0..900).all(|place| bits.get(place) == places.contains(&place)));
            prop_assert_eq!(bits.count(), places.len());
            let union: BTreeSet<_> = places.union(&other).copied().collect();
            prop_assert_eq!(bits.count_either(&others), union.len());
            bits.take_in(&mut others);
            prop_assert_eq!(bits.places().collect::<BTreeSet<_>>(), union);
            prop_assert_eq!(others.count(), 0);
        }
    }
}
