//! Nexmark's queries, over few events, and what a database has said of them.

use std::{collections::BTreeMap, fs, io, path::Path};

use cofferdam_engine::topology::Topology;
use cofferdam_examples::{
    nexmark::{
        digest::{Digest, final_rows},
        queries::Query,
        rows::Rows,
        source::Events,
    },
    paced::Paced,
};
use serde::Deserialize;

use super::sorted;
use crate::io::Io;

/// What a database has said of some events: see `integration_tests/nexmark`.
#[derive(Debug, Deserialize)]
pub struct Answers {
    /// How many events.
    #[serde(rename = "events")]
    pub count: u64,
    /// Microseconds of event time from one to the next.
    pub apart: u32,
    /// Of each query's rows.
    pub digests: BTreeMap<String, Digest>,
}

impl Answers {
    /// Of events that fill ten seconds, of some that fill more than a day; and of few for the crash matrix: that fill a minute, some more, and few of more than a day.
    ///
    /// # Panics
    /// If `digests.json` is no such file.
    pub fn all() -> [Self; 5] {
        let said = serde_json::from_str(include_str!("../../nexmark/digests.json"));
        said.unwrap_or_else(|error| panic!("integration_tests/nexmark/digests.json: {error}"))
    }

    /// Of the events that a query has in the matrix: as few as have it say something, and see some windows end.
    fn in_matrix(query: &Query) -> Self {
        let [_, _, minute, more, days] = Self::all();
        match query.name {
            "q2" | "q3" | "q8" => more,
            "q15" | "q16" | "q17" => days,
            _ => minute,
        }
    }

    /// The events.
    pub fn events(&self) -> Events {
        Events::new(self.count).apart(self.apart)
    }
}

/// Of what a query has published, the rows that no later one replaces.
///
/// # Errors
/// A row that lacks what says which ones it replaces.
pub fn digest<'a>(query: &Query, lines: impl IntoIterator<Item = &'a str>) -> Result<Digest, String> {
    final_rows(lines, query.updates.as_ref()).map(Digest::of_lines)
}

/// What lies in the files of a directory.
///
/// # Errors
/// If one of them cannot be read.
pub fn published(directory: &Path) -> io::Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            text += &fs::read_to_string(path)?;
        }
    }
    Ok(text)
}

/// A query, as it is.
pub(super) fn query(query: &'static Query, io: &Io) -> Topology {
    let (out, rows) = (io.directory(), io.directory());
    // Rows that later ones replace may differ from order to order.
    io.output_elsewhere(move || {
        let text = published(&rows).map_err(|error| error.to_string());
        vec![told(text.and_then(|text| digest(query, text.lines())))]
    });
    query.topology(Paced::new(Answers::in_matrix(query).events(), None), Rows::Files(out))
}

/// What a database has said.
pub(super) fn query_oracle(query: &Query) -> Vec<Vec<String>> {
    let said = Answers::in_matrix(query).digests.get(query.name).copied();
    vec![sorted([told(said.ok_or_else(|| "the database was not asked".to_string()))])]
}

/// A row for people, whatever became of it.
fn told(digest: Result<Digest, String>) -> String {
    digest.map_or_else(|error| error, |Digest { rows, sum }| format!("{rows} rows, {sum:016x}"))
}
