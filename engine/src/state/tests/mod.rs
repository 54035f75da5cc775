pub(in crate::state) mod job;
mod model;
mod promises;
