//! What a harness finds.

use std::fmt;

/// A clause of a contract that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken: {clause}\n{detail}")]
pub struct BrokenClause<C: fmt::Display> {
    /// Which one.
    pub clause: C,
    /// What was expected, what was seen, and where.
    pub detail: String,
}

impl<C: fmt::Display> BrokenClause<C> {
    pub(crate) fn new(clause: C, detail: impl Into<String>) -> Self {
        Self { clause, detail: detail.into() }
    }
}
