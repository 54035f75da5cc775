//! Sources and sinks that come with the engine.

mod collection;
mod generator;

pub use collection::{Collection, CollectionReader, CollectionSplit};
pub use generator::{EveryNth, Generator, GeneratorReader, NextNumber};
