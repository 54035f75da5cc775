//! A source that reads files.
//!
//! | file | holds |
//! |---|---|
//! | here | what a user starts from, and the source's contract |
//! | `split` | which files there are, and whether they are still what they were |
//! | `input` | the bytes of a split, plain or decompressed, from an offset on |
//! | `lines`, `csv` | the records in those bytes, and the position behind each |
//! | `bad_record` | what happens to those that are none |

mod bad_record;
mod csv;
mod input;
mod lines;
mod split;

use std::path::{Path, PathBuf};

use ::csv::StringRecord;
use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::{bad_record::BadRecords, csv::CsvReader, lines::LineReader};
pub use self::{
    bad_record::{BadRecord, SkippedRecords},
    split::FileSplit,
};

/// Reads the records of one file, or of all files that a glob matches.
///
/// A file may be plain or gzip, which is told by its first bytes, not by its name. Each is a split, read by one subtask, in the
/// order of their paths. The files are looked up once, when the job first starts: one that comes later is not read, one
/// that grows is read up to the size it had, and one that vanishes or shrinks is an error.
///
/// ```
/// use cofferdam::connector::FileSource;
/// use cofferdam_engine::{ProcessingTime, Read, Source, SplitReader};
///
/// # let dir = tempfile::tempdir()?;
/// # let books = dir.path();
/// std::fs::write(books.join("hamlet.txt"), "to be\nor not\n")?;
///
/// let lines = FileSource::lines(books.join("*.txt"));
/// let split = &lines.splits(1)?[0];
/// let mut reader = lines.open(split, None)?;
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::Record("to be".to_string()));
///
/// // After a restart the next reader goes on from a position.
/// let position = reader.position()?;
/// let mut reader = lines.open(split, Some(&position))?;
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::Record("or not".to_string()));
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::End);
/// # Ok::<(), cofferdam_engine::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileSource<T> {
    pattern: PathBuf,
    format: Format<T>,
    on_bad_record: BadRecord,
    skipped: SkippedRecords,
}

/// How the bytes of a file become records: plain functions, so that the reader needs no other type parameter.
#[derive(Debug)]
enum Format<T> {
    /// `None` for a line that holds no record.
    Lines(fn(&str) -> Result<Option<T>, BoxError>),
    /// Gets the record and the header row.
    Csv(fn(&StringRecord, &StringRecord) -> Result<T, BoxError>),
}

impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Format<T> {}

impl FileSource<String> {
    /// Each line is a record, without its line end (`\n` or `\r\n`). A last line without one counts too.
    pub fn lines(path_or_glob: impl AsRef<Path>) -> Self {
        Self::new(path_or_glob, Format::Lines(|line| Ok(Some(line.to_owned()))))
    }

    /// Each line is a JSON value. Blank lines are passed over.
    pub fn json_lines<T: DeserializeOwned>(path_or_glob: impl AsRef<Path>) -> FileSource<T> {
        FileSource::new(path_or_glob, Format::Lines(lines::parse_json))
    }

    /// Comma-separated values; the first row of each file names the columns. A quoted field may hold commas and line ends.
    ///
    /// ```
    /// # use cofferdam::connector::FileSource;
    /// #[derive(serde::Deserialize)]
    /// struct Trip {
    ///     city: String,
    ///     minutes: f64,
    /// }
    ///
    /// let trips = FileSource::csv::<Trip>("trips/2026-*.csv.gz");
    /// ```
    pub fn csv<T: DeserializeOwned>(path_or_glob: impl AsRef<Path>) -> FileSource<T> {
        FileSource::new(path_or_glob, Format::Csv(csv::parse_row))
    }
}

impl<T> FileSource<T> {
    fn new(pattern: impl AsRef<Path>, format: Format<T>) -> Self {
        let (on_bad_record, skipped) = (BadRecord::default(), SkippedRecords::default());
        Self { pattern: pattern.as_ref().to_owned(), format, on_bad_record, skipped }
    }

    /// What to do with a record that cannot be read. Without this the job fails, and the error names file, line and cause.
    pub fn on_bad_record(self, on_bad_record: BadRecord) -> Self {
        Self { on_bad_record, ..self }
    }

    /// Counts the bad records that were skipped or diverted, while the job runs and afterwards.
    pub fn skipped_records(&self) -> SkippedRecords {
        self.skipped.clone()
    }
}

impl<T: 'static> Source for FileSource<T> {
    type Record = T;
    type Split = FileSplit;
    type Position = FilePosition;
    type Reader = FileReader<T>;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<FileSplit>, BoxError> {
        split::find(&self.pattern)
    }

    fn open(&self, split: &FileSplit, position: Option<&FilePosition>) -> Result<FileReader<T>, BoxError> {
        let position = position.cloned().unwrap_or_default();
        split.check()?;
        let bad_records = BadRecords::open(&self.on_bad_record, &self.skipped, split, &position)?;
        Ok(FileReader(match self.format {
            Format::Lines(parse) => Inner::Lines(LineReader::open(split, &position, parse, bad_records)?),
            Format::Csv(parse) => Inner::Csv(Box::new(CsvReader::open(split, &position, parse, bad_records)?)),
        }))
    }
}

/// How far a file has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// Bytes before it, decompressed.
    offset: u64,
    /// Line ends before it.
    line: u64,
    /// Bad records before it.
    skipped: u64,
    /// Bytes in the side file for what was diverted.
    diverted: u64,
}

/// Reads one split of a [`FileSource`].
pub struct FileReader<T>(Inner<T>);

enum Inner<T> {
    Lines(LineReader<T>),
    Csv(Box<CsvReader<T>>),
}

/// After so many lines without a record a reader lets others have a turn.
const LINES_PER_READ: u32 = 1024;

impl<T: 'static> SplitReader for FileReader<T> {
    type Record = T;
    type Position = FilePosition;

    #[inline]
    fn read(&mut self, now: ProcessingTime) -> Result<Read<T>, BoxError> {
        match &mut self.0 {
            Inner::Lines(reader) => reader.read(now),
            Inner::Csv(reader) => reader.read(now),
        }
    }

    fn position(&mut self) -> Result<FilePosition, BoxError> {
        match &mut self.0 {
            Inner::Lines(reader) => reader.position(),
            Inner::Csv(reader) => reader.position(),
        }
    }
}
