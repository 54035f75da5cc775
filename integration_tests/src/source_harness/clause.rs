//! The contract of sources, row by row.

use std::fmt;

/// A clause of the contract of [`Source`](cofferdam_engine::Source).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceClause {
    /// `splits` lists every split, whatever the parallelism, in a form that can be stored.
    Splits,
    /// `is_bounded` is true if and only if every split has an end.
    Bounded,
    /// `open` with `None` reads the split from its beginning.
    Beginning,
    /// `open` with a position gives the same records, in the same order, as came after that position the first time.
    Replay,
    /// `read` gives one record or says why there is none; `End` is for ever.
    Read,
    /// `read` does not block for longer than a read of a local file.
    Prompt,
    /// `position` names the place after the last record that `read` gave, in a form that can be stored; asking for it changes nothing.
    Position,
}

impl fmt::Display for SourceClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Splits => "`splits` lists every split, whatever the parallelism, in a form that can be stored",
            Self::Bounded => "`is_bounded` is true if and only if every split has an end",
            Self::Beginning => "`open` with `None` reads the split from its beginning",
            Self::Replay => {
                "`open` with a position gives the same records, in the same order, as came after that position the first time"
            }
            Self::Read => "`read` gives one record or says why there is none; `End` is for ever",
            Self::Prompt => "`read` does not block for longer than a read of a local file",
            Self::Position => {
                "`position` names the place after the last record that `read` gave, in a form that can be stored; asking for it changes nothing"
            }
        })
    }
}
