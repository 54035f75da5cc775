//! Where a query's rows go.

use std::{hint::black_box, path::PathBuf};

use cofferdam::prelude::*;
use cofferdam_engine::{
    operator::Operator,
    topology::{SinkHandle, Stream},
};
use serde::Serialize;

/// Where a query's rows go.
#[derive(Clone, Debug)]
pub enum Rows {
    /// Into files of JSON lines in this directory, exactly once.
    Files(PathBuf),
    /// Nowhere: to see how fast they come.
    Nowhere,
}

impl Rows {
    /// Ends a query.
    pub fn take<O>(self, rows: Stream<O>) -> SinkHandle
    where
        O: Operator,
        O::Out: Serialize,
    {
        match self {
            Self::Files(directory) => rows.sink("rows", FileSink::json_lines(directory)),
            Self::Nowhere => rows.sink_at_least_once("rows", Nowhere),
        }
    }
}

struct Nowhere;

impl<T: 'static> Sink<T> for Nowhere {
    type Writer = fn(T) -> Result<(), BoxError>;

    fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(|row| {
            black_box(&row);
            Ok(())
        })
    }
}
