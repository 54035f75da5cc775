//! Sources and sinks that come with the engine.
//!
//! | to read | | to write | |
//! |---|---|---|---|
//! | [`FileSource`] | lines, JSON lines or CSV, plain or gzip | [`FileSink`] | files that appear when their checkpoint completes |
//! | [`Generator`] | a function of 0, 1, 2, ... | [`CollectSink`] | a vector in memory, for tests |
//! | [`Collection`] | a vector in memory | [`StdoutSink`] | standard output, at least once |
//!
//! Every source here is replayable and both two-phase sinks publish exactly once. [`StdoutSink`] cannot, and is added by the method
//! whose name says so.

mod collect_sink;
mod collection;
mod durable_file;
mod failure;
mod file_name;
mod file_sink;
mod file_source;
mod generator;
mod stdout_sink;

pub use collect_sink::{CollectFrozen, CollectSink, CollectTransaction, CollectWriter, Collected};
pub use collection::{Collection, CollectionReader, CollectionSplit};
pub use file_sink::{FileSink, FileTransaction, FileWriter, FileWriterState, Frozen, Roll};
pub use file_source::{BadRecord, FilePosition, FileReader, FileSource, FileSplit, SkippedRecords};
pub use generator::{EveryNth, Generator, GeneratorReader, NextNumber};
pub use stdout_sink::StdoutSink;
