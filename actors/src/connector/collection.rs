//! A source that gives what it was given.

use std::sync::Arc;

use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use serde::{Deserialize, Serialize};

use super::generator::{EveryNth, NextNumber};

/// Gives the elements of a vector, dealt out to the subtasks in turn.
///
/// A start from a checkpoint needs the same elements again: another number of them is refused.
///
/// ```
/// use cofferdam::connector::Collection;
/// use cofferdam_engine::{ProcessingTime, Read, Source, SplitReader};
///
/// let words = Collection::new(vec!["to", "be"]);
/// let split = &words.splits(1)?[0];
/// let mut reader = words.open(split, None)?;
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::Record("to"));
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::Record("be"));
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::End);
/// # Ok::<(), cofferdam_engine::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Collection<T> {
    elements: Arc<[T]>,
}

impl<T> Collection<T> {
    /// A source of these elements.
    pub fn new(elements: Vec<T>) -> Self {
        Self { elements: elements.into() }
    }
}

/// A split of a [`Collection`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectionSplit {
    numbers: EveryNth,
    /// How many elements there were, to notice another collection.
    len: u64,
}

impl<T: Clone + Send + Sync + 'static> Source for Collection<T> {
    type Record = T;
    type Split = CollectionSplit;
    type Position = NextNumber;
    type Reader = CollectionReader<T>;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<CollectionSplit>, BoxError> {
        let len = self.elements.len() as u64;
        Ok(EveryNth::deal(parallelism).map(|numbers| CollectionSplit { numbers, len }).collect())
    }

    fn open(&self, split: &CollectionSplit, position: Option<&NextNumber>) -> Result<Self::Reader, BoxError> {
        let len = self.elements.len();
        if len as u64 != split.len {
            let then = split.len;
            return Err(
                format!("the collection had {then} elements when the job first started, but now has {len}").into()
            );
        }
        Ok(CollectionReader {
            next: position.map_or(split.numbers.first, |position| position.0),
            step: split.numbers.step,
            elements: self.elements.clone(),
        })
    }
}

/// Reads one split of a [`Collection`].
#[derive(Debug)]
pub struct CollectionReader<T> {
    next: u64,
    step: u64,
    elements: Arc<[T]>,
}

impl<T: Clone + Send + Sync + 'static> SplitReader for CollectionReader<T> {
    type Record = T;
    type Position = NextNumber;

    #[inline]
    fn read(&mut self, _now: ProcessingTime) -> Result<Read<T>, BoxError> {
        let element = usize::try_from(self.next).ok().and_then(|next| self.elements.get(next));
        let Some(element) = element else { return Ok(Read::End) };
        self.next += self.step;
        Ok(Read::Record(element.clone()))
    }

    fn position(&mut self) -> Result<NextNumber, BoxError> {
        Ok(NextNumber(self.next))
    }
}
