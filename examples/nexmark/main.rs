//! Nexmark.
fn main() {}
