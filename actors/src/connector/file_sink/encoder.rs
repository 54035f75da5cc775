//! Records as bytes.

use std::{fmt::Display, io::Write};

use ::csv::{Writer, WriterBuilder};
use cofferdam_engine::BoxError;
use serde::Serialize;

/// A file format: plain functions, so that the sink needs no type parameter but the record's.
#[derive(Debug)]
pub(super) struct Format<T> {
    pub(super) extension: &'static str,
    kind: Kind<T>,
}

#[derive(Debug)]
enum Kind<T> {
    /// Appends a record and a line end.
    Text(fn(&T, &mut Vec<u8>) -> Result<(), BoxError>),
    /// Appends a row, and a header before it if it is the first.
    Csv(fn(&T, &mut Writer<Vec<u8>>) -> Result<(), ::csv::Error>),
}

impl<T> Format<T> {
    pub(super) fn json_lines() -> Self
    where
        T: Serialize,
    {
        let encode = |record: &T, out: &mut Vec<u8>| {
            serde_json::to_writer(&mut *out, record)?;
            out.push(b'\n');
            Ok(())
        };
        Self { extension: "jsonl", kind: Kind::Text(encode) }
    }

    pub(super) fn lines() -> Self
    where
        T: Display,
    {
        Self { extension: "txt", kind: Kind::Text(|record, out| Ok(writeln!(out, "{record}")?)) }
    }

    pub(super) fn csv() -> Self
    where
        T: Serialize,
    {
        Self { extension: "csv", kind: Kind::Csv(|record, rows| rows.serialize(record)) }
    }

    pub(super) fn encoder(self) -> Encoder<T> {
        Encoder { kind: self.kind, rows: rows(false), taken: 0 }
    }
}

impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Format<T> {}

impl<T> Clone for Kind<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kind<T> {}

/// Encodes the records of one writer.
pub(super) struct Encoder<T> {
    kind: Kind<T>,
    /// The rows written so far, some of them; only CSV uses it.
    rows: Writer<Vec<u8>>,
    /// How much of them has been handed out.
    taken: usize,
}

/// The CSV writer cannot be emptied, only replaced.
const ROWS_BYTES_MAX: usize = 64 * 1024;

impl<T> Encoder<T> {
    /// Appends a record to `out`, as the first of a file or a later one.
    #[inline]
    pub(super) fn encode(&mut self, record: &T, is_first: bool, out: &mut Vec<u8>) -> Result<(), BoxError> {
        match self.kind {
            Kind::Text(encode) => encode(record, out),
            Kind::Csv(encode) => {
                if is_first || self.taken > ROWS_BYTES_MAX {
                    (self.rows, self.taken) = (rows(is_first), 0);
                }
                encode(record, &mut self.rows)?;
                self.rows.flush()?;
                out.extend_from_slice(&self.rows.get_ref()[self.taken..]);
                self.taken = self.rows.get_ref().len();
                Ok(())
            }
        }
    }
}

fn rows(with_header: bool) -> Writer<Vec<u8>> {
    WriterBuilder::new().has_headers(with_header).from_writer(Vec::new())
}
