//! A match, as the user's function sees it.

use super::shape::Shape;
use crate::time::Timestamp;

/// Records that are what a [`Pattern`](super::Pattern) says, and the key that all of them have.
#[derive(Debug)]
pub struct Match<'a, K, T> {
    key: &'a K,
    shape: &'a Shape,
    began: Timestamp,
    ended: Timestamp,
    taken: &'a [Vec<T>],
}

impl<'a, K, T> Match<'a, K, T> {
    pub(crate) fn new(
        key: &'a K,
        shape: &'a Shape,
        (began, ended): (Timestamp, Timestamp),
        taken: &'a [Vec<T>],
    ) -> Self {
        Self { key, shape, began, ended, taken }
    }

    /// The key.
    pub fn key(&self) -> &'a K {
        self.key
    }

    /// The records of the stage with this name, in order. None if it is optional and was left out, or no stage has that name.
    pub fn all(&self, name: &str) -> &'a [T] {
        let stage = self.shape.stages.iter().position(|stage| stage.name == name);
        stage.and_then(|stage| self.taken.get(stage)).map_or(&[], |taken| taken)
    }

    /// The first of them.
    pub fn first(&self, name: &str) -> Option<&'a T> {
        self.all(name).first()
    }

    /// The last of them.
    pub fn last(&self, name: &str) -> Option<&'a T> {
        self.all(name).last()
    }

    /// Every record, in order.
    pub fn records(&self) -> impl Iterator<Item = &'a T> + use<'a, K, T> {
        self.taken.iter().flatten()
    }

    /// When the first record happened.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// When the last record happened, which is also when the row is.
    pub fn ended(&self) -> Timestamp {
        self.ended
    }
}
