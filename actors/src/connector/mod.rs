//! Sources and sinks that come with the engine.
