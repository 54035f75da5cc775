//! What a database has said of Nexmark's events, for the suites that compare with it.

// Each suite uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;

use cofferdam_examples::nexmark::{
    digest::{Digest, final_rows},
    queries::Query,
    source::Events,
};
use serde::Deserialize;

/// What the database has said of some events.
#[derive(Debug, Deserialize)]
pub struct Answers {
    #[serde(rename = "events")]
    pub count: u64,
    pub apart: u32,
    pub digests: BTreeMap<String, Digest>,
}

impl Answers {
    /// Of events that fill ten seconds, and of some that fill more than a day.
    pub fn all() -> [Self; 2] {
        serde_json::from_str(include_str!("../../nexmark/digests.json")).unwrap()
    }

    pub fn events(&self) -> Events {
        Events::new(self.count).apart(self.apart)
    }
}

/// Of what a query has published: of the rows that no later one replaces.
pub fn digest<'a>(query: &Query, lines: impl IntoIterator<Item = &'a str>) -> Digest {
    Digest::of_lines(final_rows(lines, query.updates.as_ref()).unwrap())
}
