//! A list in pieces of equal size: it grows without being copied, and what one gives up another can use.

/// Entries in a piece. The first one grows up to that, for those who have few.
const PIECE: usize = 256;

/// See the module. All pieces but the last are full, and none is empty.
pub(super) struct Pieces<T> {
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Pieces<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.pieces.get(place / PIECE)?.get(place % PIECE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.pieces.get_mut(place / PIECE)?.get_mut(place % PIECE)
    }

    /// Gives back its place.
    pub(super) fn push(&mut self, item: T) -> usize {
        let place = self.len();
        if place.is_multiple_of(PIECE) {
            self.pieces.push(if place == 0 { Vec::new() } else { Vec::with_capacity(PIECE) });
        }
        if let Some(last) = self.pieces.last_mut() {
            last.push(item);
        }
        place
    }

    fn pop(&mut self) -> Option<T> {
        let last = self.pieces.last_mut()?;
        let item = last.pop();
        if last.is_empty() {
            self.pieces.pop();
        }
        item
    }

    /// The last item takes its place.
    pub(super) fn swap_remove(&mut self, place: usize) -> Option<T> {
        self.get(place)?;
        let last = self.pop()?;
        match self.get_mut(place) {
            Some(item) => Some(std::mem::replace(item, last)),
            None => Some(last),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let first = self.pieces.first().map_or(0, Vec::capacity);
        let others = self.pieces.len().saturating_sub(1) * PIECE;
        (first + others) * size_of::<T>() + self.pieces.capacity() * size_of::<Vec<T>>()
    }
}

/// Gives each piece up once it is through.
impl<T> IntoIterator for Pieces<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_like_a_vector(events in prop::collection::vec((0u8..10, 0usize..2000), 0..2000), many in 0usize..1000) {
            let mut pieces = Pieces::default();
            let mut vector: Vec<usize> = (0..many).collect();
            for item in &vector {
                pieces.push(*item);
            }
            for (kind, number) in events {
                if kind < 5 {
                    prop_assert_eq!(pieces.push(number), vector.len());
                    vector.push(number);
                } else {
                    let expected = (number < vector.len()).then(|| vector.swap_remove(number));
                    prop_assert_eq!(pieces.swap_remove(number), expected);
                }
                prop_assert_eq!(pieces.len(), vector.len());
                prop_assert_eq!(pieces.get(number), vector.get(number));
            }
            prop_assert!(pieces.heap_bytes() >= vector.len() * size_of::<usize>());
            prop_assert_eq!(pieces.into_iter().collect::<Vec<_>>(), vector);
        }
    }
}
