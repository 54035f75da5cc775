//! One record a line.

use std::io::BufRead;

use cofferdam_engine::{BoxError, ProcessingTime, Read};
use serde::de::DeserializeOwned;

use super::{
    FilePosition, LINES_PER_READ,
    bad_record::BadRecords,
    input::{self, Input},
    split::FileSplit,
};

/// Reads the lines of one split.
pub(super) struct LineReader<T> {
    split: FileSplit,
    input: Input,
    parse: fn(&str) -> Result<Option<T>, BoxError>,
    /// The line at hand, with its end. Kept for its memory.
    line: Vec<u8>,
    offset: u64,
    lines: u64,
    bad_records: BadRecords,
}

impl<T> LineReader<T> {
    pub(super) fn open(
        split: &FileSplit,
        position: &FilePosition,
        parse: fn(&str) -> Result<Option<T>, BoxError>,
        bad_records: BadRecords,
    ) -> Result<Self, BoxError> {
        Ok(Self {
            split: split.clone(),
            input: input::open(split, position.offset)?,
            parse,
            line: Vec::new(),
            offset: position.offset,
            lines: position.line,
            bad_records,
        })
    }

    #[inline]
    pub(super) fn read(&mut self, now: ProcessingTime) -> Result<Read<T>, BoxError> {
        for _ in 0..LINES_PER_READ {
            self.line.clear();
            let read = self.input.read_until(b'\n', &mut self.line);
            let read = read.map_err(|cause| input::read_error(&self.split, self.lines, cause))?;
            if read == 0 {
                return Ok(Read::End);
            }
            self.offset += read as u64;
            self.lines += 1;
            let line = without_end(&self.line);
            match str::from_utf8(line).map_err(BoxError::from).and_then(self.parse) {
                Ok(Some(record)) => return Ok(Read::Record(record)),
                Ok(None) => {}
                Err(cause) => self.bad_records.add(line, self.lines, cause)?,
            }
        }
        Ok(Read::NotBefore(now))
    }

    pub(super) fn position(&mut self) -> Result<FilePosition, BoxError> {
        self.bad_records.position(self.offset, self.lines)
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(super) fn parse_json<T: DeserializeOwned>(line: &str) -> Result<Option<T>, BoxError> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(line)?))
}
