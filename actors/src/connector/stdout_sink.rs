//! A sink that prints.

use std::{
    fmt::Display,
    io::{self, Write},
};

use cofferdam_engine::{BoxError, Sink, SubtaskIndex};

/// Writes each record as a line to standard output. What was printed cannot be taken back, so after a failure some lines come again:
/// it is added with `sink_at_least_once`.
///
/// ```
/// use cofferdam::connector::StdoutSink;
/// use cofferdam_engine::{Sink, SubtaskIndex};
///
/// let print = Sink::<&str>::open(&StdoutSink::new(), SubtaskIndex(0))?;
/// print("hello")?;
/// # Ok::<(), cofferdam_engine::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutSink(());

impl StdoutSink {
    /// Prints to the standard output of this process.
    pub fn new() -> Self {
        Self(())
    }
}

impl<T: Display + 'static> Sink<T> for StdoutSink {
    type Writer = fn(T) -> Result<(), BoxError>;

    fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(print_line)
    }
}

/// Unlike `println!` it returns an error when whoever read the pipe has gone.
fn print_line<T: Display>(record: T) -> Result<(), BoxError> {
    writeln!(io::stdout().lock(), "{record}")
        .map_err(|cause| super::failure::failure("cannot write to standard output", cause))
}
