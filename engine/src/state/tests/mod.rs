mod job;
mod model;
mod promises;
