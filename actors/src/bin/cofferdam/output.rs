//! What is said, and how: tables for people, JSON for programs.

use std::{
    error::Error,
    io::{self, BufWriter, StdoutLock, Write},
    process::ExitCode,
    time::SystemTime,
};

use serde_json::Value;

use crate::failure::{Failure, Kind};

/// Standard output.
pub struct Output {
    pub json: bool,
    to: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, to: BufWriter::new(io::stdout().lock()) }
    }

    /// The command's one document; `text` says the same to people. If nobody reads it, the exit code still says what was found.
    pub fn document(&mut self, json: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { format!("{json:#}\n") } else { text() };
        unless_closed(self.to.write_all(text.as_bytes()))
    }

    pub fn line(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.to, "{line}")
    }

    pub fn finish(&mut self) -> io::Result<()> {
        unless_closed(self.to.flush())
    }
}

/// Whoever read has read enough: that is no failure.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// What a list says, in either form.
pub struct Listed {
    pub document: Value,
    pub text: String,
    /// Nothing of it is damaged.
    pub is_whole: bool,
}

impl Listed {
    pub fn say(self, output: &mut Output) -> Result<ExitCode, Failure> {
        output.document(&self.document, || self.text)?;
        Ok(ExitCode::from(if self.is_whole { 0 } else { Kind::Damaged.code() }))
    }
}

/// Says a line on standard error. If that is gone there is nobody to tell.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// An error and its causes, each told once.
pub fn chain(failure: &(dyn Error + 'static)) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

/// Columns as wide as their widest cell; numbers to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<_> = header.iter().map(ToString::to_string).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let is_number = |column: usize| rows.iter().all(|row| row[column].chars().all(|c| c.is_ascii_digit() || c == ','));
    let cell = |(column, text): (usize, &String)| {
        let width = widths[column];
        if is_number(column) { format!("{text:>width$}") } else { format!("{text:<width$}") }
    };
    let line = |line: &Vec<String>| {
        let cells: Vec<_> = line.iter().enumerate().map(cell).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines().map(line).collect()
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// RFC 3339, in UTC.
pub fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
