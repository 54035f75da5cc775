//! Several sources as one.

use cofferdam_engine::{BoxError, Source};

/// The splits of several sources of one type. Any of the sources must be able to open the splits of all, as those of files can. A
/// split that comes twice is read once.
pub struct Several<S>(Vec<S>);

impl<S> Several<S> {
    /// There must be at least one.
    pub fn new(sources: Vec<S>) -> Self {
        Self(sources)
    }

    /// The one that opens the splits of all.
    pub fn first(&self) -> Option<&S> {
        self.0.first()
    }
}

impl<S: Source<Split: PartialEq>> Source for Several<S> {
    type Record = S::Record;
    type Split = S::Split;
    type Position = S::Position;
    type Reader = S::Reader;

    fn is_bounded(&self) -> bool {
        self.0.iter().all(S::is_bounded)
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<S::Split>, BoxError> {
        let mut splits = Vec::new();
        for source in &self.0 {
            for split in source.splits(parallelism)? {
                if !splits.contains(&split) {
                    splits.push(split);
                }
            }
        }
        Ok(splits)
    }

    fn open(&self, split: &S::Split, position: Option<&S::Position>) -> Result<S::Reader, BoxError> {
        self.first().ok_or("there is no source")?.open(split, position)
    }
}
