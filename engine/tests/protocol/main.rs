//! The protocol's state machines, each driven by hand: one machine a file.

mod channel_queue;
mod coordinator;
mod gate;
mod gate_model;
mod input_times;
mod opening;
mod participant;
mod source_alignment;
mod supervisor;
mod support;
