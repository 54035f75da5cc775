//! What the example programs share, so that each of them is little more than its topology.
//!
//! | module | holds |
//! |---|---|
//! | [`flights`] | departures, and the topology that adds up their delays |
//! | [`flight_weather`] | departures and the weather, and the topology that tells what the one did to the other |
//! | [`words`] | words, and the topology that counts them |
//! | [`collatz`] | numbers, and the topology that sends each round a loop |
//! | [`logins`] | log-ins, and the topology that finds who may have guessed a password |
//! | [`orders`] | orders, and the topology that adds them up in a database |
//! | [`nexmark`] | the events and the queries of Nexmark |
//! | [`options`] | the command line |
//! | [`inputs`], [`settings`] | remember what a job reads, and what it was told: in files [`beside`] its state |
//! | [`run`] | starts a job, shows progress while it runs and a table at its end |
//! | [`sqlite_sink`] | a two-phase sink on SQLite |
//! | [`paced`], [`several`], [`disordered`] | sources made of other sources: slowed down, one after the other, out of order |

pub mod beside;
pub mod collatz;
pub mod disordered;
pub mod flight_weather;
pub mod flights;
pub mod inputs;
pub mod logins;
#[path = "../nexmark/mod.rs"]
pub mod nexmark;
pub mod options;
pub mod orders;
pub mod paced;
pub mod run;
pub mod settings;
pub mod several;
pub mod sqlite_sink;
pub mod words;

/// Compiles the README's program.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Runs the programs of the page on windows.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/windows.md")]
struct Windows;

/// Runs the programs of the page on joins.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/joins.md")]
struct Joins;

/// Runs the program of the page on patterns.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/patterns.md")]
struct Patterns;

/// Runs the programs of its page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/side_outputs.md")]
struct SideOutputs;

/// Runs the programs of the page on watermarks.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/watermarks.md")]
struct Watermarks;

/// Runs the program of the page on timers.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/timers.md")]
struct Timers;

/// Runs the program of the page on asynchronous I/O.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/async.md")]
struct Async;

/// Runs the program of the page on two streams.
#[cfg(doctest)]
#[doc = include_str!("../../docs/time/two-streams.md")]
struct TwoStreams;
