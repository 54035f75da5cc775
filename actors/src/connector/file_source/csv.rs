//! Comma-separated values with a header row.

use std::io::{self, Cursor, Read as _};

use ::csv::{Reader, ReaderBuilder, StringRecord};
use cofferdam_engine::{BoxError, ProcessingTime, Read};
use serde::de::DeserializeOwned;

use super::{
    FilePosition, LINES_PER_READ,
    bad_record::BadRecords,
    input::{self, BUFFER_BYTES, Input},
    split::FileSplit,
};
use crate::connector::failure::failure;

/// Reads the rows of one split.
pub(super) struct CsvReader<T> {
    split: FileSplit,
    rows: Rows,
    header: StringRecord,
    parse: fn(&StringRecord, &StringRecord) -> Result<T, BoxError>,
    /// The row at hand. Kept for its memory.
    row: StringRecord,
    bad_records: BadRecords,
}

impl<T> CsvReader<T> {
    pub(super) fn open(
        split: &FileSplit,
        position: &FilePosition,
        parse: fn(&StringRecord, &StringRecord) -> Result<T, BoxError>,
        bad_records: BadRecords,
    ) -> Result<Self, BoxError> {
        // The header is read again at each opening: a row cannot be understood without it.
        let mut start = Rows::open(split, byte_order_mark(split)?, 0)?;
        let mut header = StringRecord::new();
        start
            .next(&mut header)
            .map_err(|cause| failure(format!("cannot read the header of '{}'", split.path), cause))?;
        let rows = if position.offset == 0 { start } else { Rows::open(split, position.offset, position.line)? };
        Ok(Self { split: split.clone(), rows, header, parse, row: StringRecord::new(), bad_records })
    }

    #[inline]
    pub(super) fn read(&mut self, now: ProcessingTime) -> Result<Read<T>, BoxError> {
        for _ in 0..LINES_PER_READ {
            let result = match self.rows.next(&mut self.row) {
                Ok(false) => return Ok(Read::End),
                Ok(true) if self.row.len() == self.header.len() => (self.parse)(&self.row, &self.header),
                Ok(true) => Err(wrong_length(&self.row, &self.header)),
                Err(error) => match error.into_kind() {
                    ::csv::ErrorKind::Io(cause) => {
                        return Err(input::read_error(&self.split, self.rows.position().1, cause));
                    }
                    ::csv::ErrorKind::Utf8 { err, .. } => Err(err.into()),
                    other => Err(format!("{other:?}").into()),
                },
            };
            match result {
                Ok(record) => return Ok(Read::Record(record)),
                Err(cause) => {
                    let (raw, line) = self.rows.raw();
                    self.bad_records.add(raw, line, cause)?;
                }
            }
        }
        Ok(Read::NotBefore(now))
    }

    pub(super) fn position(&mut self) -> Result<FilePosition, BoxError> {
        let (offset, line) = self.rows.position();
        self.bad_records.position(offset, line)
    }
}

pub(super) fn parse_row<T: DeserializeOwned>(row: &StringRecord, header: &StringRecord) -> Result<T, BoxError> {
    row.deserialize(Some(header)).map_err(|error| match error.into_kind() {
        // Without the row's position, which counts from where the file was opened.
        ::csv::ErrorKind::Deserialize { err, .. } => err.into(),
        other => format!("{other:?}").into(),
    })
}

fn wrong_length(row: &StringRecord, header: &StringRecord) -> BoxError {
    format!("it has {} fields, the header {}", row.len(), header.len()).into()
}

/// How many bytes at the start of a file only say that it is UTF-8.
fn byte_order_mark(split: &FileSplit) -> Result<u64, BoxError> {
    let mut start = Vec::new();
    let read = input::open(split, 0)?.take(3).read_to_end(&mut start);
    read.map_err(|cause| input::read_error(split, 0, cause))?;
    Ok(if start == *b"\xef\xbb\xbf" { 3 } else { 0 })
}

/// The rows of a file from an offset on. A row may span lines, so only the parser knows where one ends.
struct Rows {
    reader: Reader<Window>,
    /// The file's offset and line at which the parser's own are 0.
    base: (u64, u64),
    /// Where the last row began, as the parser counts.
    row_start: u64,
    row_line: u64,
}

/// Read before the file. A parser drops a byte order mark at its start, which in the middle of a file is part of a field; it also
/// passes over empty lines, so with one in front it sees no such start.
const IN_FRONT: &[u8] = b"\n";

impl Rows {
    fn open(split: &FileSplit, offset: u64, line: u64) -> Result<Self, BoxError> {
        let input = Cursor::new(IN_FRONT).chain(input::open(split, offset)?);
        let window = Window { input, bytes: Vec::new(), start: 0, keep_from: 0 };
        // The header is a row like any other here, and a short row must not end the reading.
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).buffer_capacity(BUFFER_BYTES);
        let reader = builder.from_reader(window);
        Ok(Self { reader, base: (offset, line), row_start: 0, row_line: 0 })
    }

    #[inline]
    fn next(&mut self, row: &mut StringRecord) -> Result<bool, ::csv::Error> {
        let position = self.reader.position();
        (self.row_start, self.row_line) = (position.byte(), position.line());
        self.reader.get_mut().keep_from = self.row_start;
        self.reader.read_record(row)
    }

    /// Offset and line ends in the file, behind the last row.
    fn position(&self) -> (u64, u64) {
        let position = self.reader.position();
        let in_front = IN_FRONT.len() as u64;
        // The parser's lines count from 1 and include the one in front. Before its first row it has not even read that.
        let (byte, lines) = (position.byte().max(in_front), position.line().max(2));
        (self.base.0 + byte - in_front, self.base.1 + lines - 2)
    }

    /// The last row as it stands in the file, without the line ends around it, and the line it begins on.
    fn raw(&self) -> (&[u8], u64) {
        let raw = self.reader.get_ref().between(self.row_start, self.reader.position().byte());
        let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let begin = raw.iter().position(|byte| !is_line_end(byte)).unwrap_or(raw.len());
        let end = raw.iter().rposition(|byte| !is_line_end(byte)).map_or(begin, |last| last + 1);
        let passed = raw[..begin].iter().filter(|byte| **byte == b'\n').count() as u64;
        // The parser's lines count from 1 already, but the one in front does not count.
        (&raw[begin..end], self.base.1 + self.row_line + passed - 1)
    }
}

/// Hands bytes to the parser and remembers those of the row at hand, since the parser forgets them.
struct Window {
    input: io::Chain<Cursor<&'static [u8]>, Input>,
    bytes: Vec<u8>,
    /// The offset of the first of `bytes`.
    start: u64,
    /// The offset before which nothing is needed.
    keep_from: u64,
}

impl Window {
    fn between(&self, from: u64, to: u64) -> &[u8] {
        &self.bytes[(from - self.start) as usize..(to - self.start) as usize]
    }
}

impl io::Read for Window {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.bytes.drain(..(self.keep_from - self.start) as usize);
        self.start = self.keep_from;
        self.bytes.extend_from_slice(&into[..read]);
        Ok(read)
    }
}
