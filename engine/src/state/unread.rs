//! A stored value that is whole and cannot be read as its state's type.

use std::fmt;

use serde_json::Value;

use crate::{
    checkpoint::{
        snapshot::StateAddress,
        store::{StoreError, StoreErrorKind},
    },
    error::BoxError,
    key::Key,
    key_group::KeyGroup,
    state::value_format::MigrationFailed,
};

/// Whose value it is, and why it cannot be read.
#[derive(Debug)]
pub(crate) struct Unread {
    key: Value,
    /// Where it is, if that is told nowhere else.
    group: Option<KeyGroup>,
    cause: BoxError,
}

impl Unread {
    pub(crate) fn of<K: Key>(key: &K, cause: BoxError) -> Self {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        Self::new(K::format().to_json(&mut &bytes[..]).unwrap_or_default(), cause)
    }

    /// The key as JSON.
    pub(crate) fn new(key: Value, cause: BoxError) -> Self {
        Self { key, group: None, cause }
    }

    /// The same, in a group of which nothing else is read.
    pub(crate) fn in_group(self, group: KeyGroup) -> Self {
        Self { group: Some(group), ..self }
    }

    /// What is said of the state. `otherwise` is the last way out.
    pub(crate) fn in_state(self, address: &StateAddress, otherwise: &str) -> StoreError {
        let message = if self.is_of_migration() {
            format!(
                "state {address} is of an older version, and what becomes of its values failed: start the program that wrote it, mend the function given to `migrate_from`, {otherwise}"
            )
        } else {
            format!(
                "state {address} is stored as another type than it has now: start the program that wrote it, give the state a version and say with `migrate_from` what becomes of older \
                 values, {otherwise}"
            )
        };
        StoreError::new(StoreErrorKind::Unreadable, message, Some(self.into()))
    }

    fn is_of_migration(&self) -> bool {
        self.cause.is::<MigrationFailed>()
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, group, cause } = self;
        if let Some(group) = group {
            write!(f, "key group {group}: ")?;
        }
        match self.is_of_migration() {
            true => write!(f, "the value of key {key}: {cause}"),
            false => write!(f, "the value of key {key} cannot be read as the state's type: {cause}"),
        }
    }
}

impl std::error::Error for Unread {}
