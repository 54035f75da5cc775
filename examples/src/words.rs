//! Words, and the topology that counts them.

use cofferdam::prelude::*;
use cofferdam_engine::{Source, TwoPhaseSink};
use serde::Serialize;

/// The topology of the `word_count` example: for each word of the text, how often it has come so far.
pub fn topology(lines: impl Source<Record = String>, counts: impl TwoPhaseSink<WordCount>) -> Topology {
    let topology = Topology::new("word_count");
    topology
        .source("lines", lines)
        .flat_map(|line| words(&line))
        .key_by(|word| word.clone())
        .fold("count", 0u64, |count, _word| *count += 1)
        .map(|(word, count)| WordCount { word, count })
        .sink("counts", counts);
    topology
}

/// What is published.
#[derive(Debug, Serialize)]
pub struct WordCount {
    word: String,
    count: u64,
}

/// The words of a line, in lower case: letters and digits are in words, all else is between them.
pub fn words(line: &str) -> Vec<String> {
    line.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn punctuation_separates_and_case_does_not_count() {
        assert_eq!(words("To be, or NOT to be: ÄÖ 42!"), ["to", "be", "or", "not", "to", "be", "äö", "42"]);
        assert!(words(" -- ").is_empty());
    }
}
