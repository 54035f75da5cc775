//! What the example programs share, so that each of them is little more than its topology.
//!
//! | module | holds |
//! |---|---|
//! | [`flights`] | departures, and the topology that adds up their delays |
//! | [`flight_weather`] | departures and the weather, and the topology that tells what the one did to the other |
//! | [`words`] | words, and the topology that counts them |
//! | [`collatz`] | numbers, and the topology that sends each round a loop |
//! | [`orders`] | orders, and the topology that adds them up in a database |
//! | [`nexmark`] | the events and the queries of Nexmark |
//! | [`options`] | the command line |
//! | [`inputs`] | remembers what a job reads |
//! | [`run`] | starts a job, shows progress while it runs and a table at its end |
//! | [`sqlite_sink`] | a two-phase sink on SQLite |
//! | [`paced`], [`several`] | sources made of other sources: slowed down, and one after the other |

pub mod collatz;
pub mod flight_weather;
pub mod flights;
pub mod inputs;
#[path = "../nexmark/mod.rs"]
pub mod nexmark;
pub mod options;
pub mod orders;
pub mod paced;
pub mod run;
pub mod several;
pub mod sqlite_sink;
pub mod words;

/// Compiles the README's program.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Runs the program of the page on patterns.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/patterns.md")]
struct Patterns;

/// Runs the programs of its page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/side_outputs.md")]
struct SideOutputs;
