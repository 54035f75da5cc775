//! Sources and sinks of the library, each by itself.

mod bad_records;
mod collect_sink;
mod file_sink;
mod file_sink_crashes;
mod file_source;
mod generator;
