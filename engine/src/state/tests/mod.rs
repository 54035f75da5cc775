pub(crate) mod job;
mod model;
mod promises;
mod timers;
