//! How the values of a state are read: as they are now, or as they were.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{codec, error::BoxError};

type Read<S> = Arc<dyn Fn(&[u8]) -> Result<S, BoxError> + Send + Sync>;

/// The version of a state's type, and how values of older versions become values of it.
///
/// Many changes need no version: a field that is added with `#[serde(default)]`, one that is removed, one renamed with `#[serde(alias = "...")]`, a wider
/// integer. For others count the version up, and say what becomes of a value of the one before:
///
/// ```
/// use cofferdam_engine::state::ValueFormat;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Cents(u64);
/// // The first version was a number of euros.
/// let format = ValueFormat::<Cents>::version(1).migrate_from(0, |euros: f64| Cents((euros * 100.0).round() as u64));
/// # let _ = format;
/// ```
pub struct ValueFormat<S> {
    version: u32,
    older: Vec<(u32, Read<S>)>,
}

impl<S> Clone for ValueFormat<S> {
    fn clone(&self) -> Self {
        Self { version: self.version, older: self.older.clone() }
    }
}

impl<S> fmt::Debug for ValueFormat<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older: Vec<_> = self.older.iter().map(|(version, _)| version).collect();
        f.debug_struct("ValueFormat").field("version", &self.version).field("older", &older).finish()
    }
}

/// Version 0, and nothing older.
impl<S> Default for ValueFormat<S> {
    fn default() -> Self {
        Self { version: 0, older: Vec::new() }
    }
}

impl<S> ValueFormat<S> {
    /// Values are written as those of this version. A state begins with version 0.
    pub fn version(version: u32) -> Self {
        Self { version, older: Vec::new() }
    }

    /// A stored value of `version` is read as an `Old`, and becomes what `migrate` makes of it.
    #[must_use]
    pub fn migrate_from<Old: DeserializeOwned>(
        mut self,
        version: u32,
        migrate: impl Fn(Old) -> S + Send + Sync + 'static,
    ) -> Self {
        self.older.retain(|(older, _)| *older != version);
        self.older.push((version, Arc::new(move |bytes| codec::decode(bytes).map(&migrate))));
        self
    }

    /// The version that values are written as.
    pub fn written(&self) -> u32 {
        self.version
    }

    /// The versions that can be read, the one written among them.
    pub fn readable(&self) -> Vec<u32> {
        let older = self.older.iter().map(|(version, _)| *version);
        let mut versions: Vec<_> = older.chain([self.version]).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}

impl<S: DeserializeOwned> ValueFormat<S> {
    /// Reads values of any version.
    pub(crate) fn reader(&self) -> ValueReader<'_, S> {
        ValueReader { format: self, older: None }
    }

    fn older(&self, version: u32) -> Result<&Read<S>, BoxError> {
        let older = self.older.iter().find(|(older, _)| *older == version);
        older.map(|(_, read)| read).ok_or_else(|| {
            let versions: Vec<_> = self.readable().iter().map(ToString::to_string).collect();
            let way_out = if version < self.version {
                format!("give the state's `ValueFormat` a `migrate_from({version}, ...)`")
            } else {
                "start the program that wrote it, or a newer one".to_string()
            };
            format!("it is of version {version}, and those that can be read are {}; {way_out}", versions.join(", "))
                .into()
        })
    }
}

/// Reads one value after the other.
pub(crate) struct ValueReader<'a, S> {
    format: &'a ValueFormat<S>,
    /// The older version that was read last.
    older: Option<(u32, &'a Read<S>)>,
}

impl<S: DeserializeOwned> ValueReader<'_, S> {
    #[inline]
    pub(crate) fn read(&mut self, version: u32, bytes: &[u8]) -> Result<S, BoxError> {
        if version == self.format.version { codec::decode(bytes) } else { self.read_older(version, bytes) }
    }

    #[cold]
    fn read_older(&mut self, version: u32, bytes: &[u8]) -> Result<S, BoxError> {
        let read = match self.older {
            Some((older, read)) if older == version => read,
            _ => self.format.older(version)?,
        };
        self.older = Some((version, read));
        read(bytes)
    }
}
