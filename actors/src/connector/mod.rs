//! Sources and sinks that come with the engine.

mod collection;
mod durable_file;
mod failure;
mod file_name;
mod file_sink;
mod file_source;
mod generator;

pub use collection::{Collection, CollectionReader, CollectionSplit};
pub use file_sink::{FileSink, FileTransaction, FileWriter, FileWriterState, Frozen, Roll};
pub use file_source::{BadRecord, FilePosition, FileReader, FileSource, FileSplit, SkippedRecords};
pub use generator::{EveryNth, Generator, GeneratorReader, NextNumber};
