//! Several sources as one.

use std::{collections::HashSet, hash::Hash};

use cofferdam_engine::{BoxError, Source};

/// The splits of several sources of one type. Any of the sources must be able to open the splits of all, as those of files can. Of
/// splits with the same key the first is read.
pub struct Several<S: Source, K> {
    sources: Vec<S>,
    key: fn(&S::Split) -> K,
}

impl<S: Source, K> Several<S, K> {
    /// There must be at least one.
    pub fn new(sources: Vec<S>, key: fn(&S::Split) -> K) -> Self {
        Self { sources, key }
    }

    /// The one that opens the splits of all.
    pub fn first(&self) -> Option<&S> {
        self.sources.first()
    }
}

impl<S: Source, K: Eq + Hash + 'static> Source for Several<S, K> {
    type Record = S::Record;
    type Split = S::Split;
    type Position = S::Position;
    type Reader = S::Reader;

    fn is_bounded(&self) -> bool {
        self.sources.iter().all(S::is_bounded)
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<S::Split>, BoxError> {
        let (mut splits, mut seen) = (Vec::new(), HashSet::new());
        for source in &self.sources {
            splits.extend(source.splits(parallelism)?.into_iter().filter(|split| seen.insert((self.key)(split))));
        }
        Ok(splits)
    }

    fn open(&self, split: &S::Split, position: Option<&S::Position>) -> Result<S::Reader, BoxError> {
        self.first().ok_or("there is no source")?.open(split, position)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{env, fs, os::unix::fs::symlink};

    use cofferdam::connector::{FileSource, FileSplit};

    use super::*;

    #[test]
    fn two_spellings_of_a_file_and_a_link_to_it_are_read_once() {
        let dir = tempfile::tempdir_in(env::current_dir().unwrap()).unwrap();
        let file = dir.path().join("text");
        fs::write(&file, "a\n").unwrap();
        symlink(&file, dir.path().join("link")).unwrap();
        let relative = file.strip_prefix(env::current_dir().unwrap()).unwrap().to_owned();
        let paths = [file, relative, dir.path().join("../.").join(dir.path()).join("text"), dir.path().join("l*")];
        let several = Several::new(paths.map(FileSource::lines).into(), FileSplit::canonical_path);
        assert_eq!(several.splits(1).unwrap().len(), 1);
    }
}
