//! A part of a state that most steps leave as it is: to clone and to hash it costs no more than a number.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared<T> {
    part: Arc<T>,
    /// The hash of the part.
    print: u64,
}

impl<T: Hash> Shared<T> {
    pub fn new(part: T) -> Self {
        Self { print: fingerprint(&part), part: Arc::new(part) }
    }

    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Clone,
    {
        let part = Arc::make_mut(&mut self.part);
        let result = change(part);
        self.print = fingerprint(part);
        result
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { part: self.part.clone(), print: self.print }
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print);
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}

pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
