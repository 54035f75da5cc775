//! How the values of a state are read: as they are now, or as they were.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{
    codec,
    error::BoxError,
    panic_site,
    state::{block::Values, ttl::Timed},
};

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
    written: Values,
    /// What else can be read.
    others: Vec<(Values, Read<S>)>,
}

impl<S> Clone for ValueFormat<S> {
    fn clone(&self) -> Self {
        Self { written: self.written, others: self.others.clone() }
    }
}

impl<S> fmt::Debug for ValueFormat<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueFormat").field("written", &self.written()).field("readable", &self.readable()).finish()
    }
}

/// Version 0, and nothing older.
impl<S> Default for ValueFormat<S> {
    fn default() -> Self {
        Self::version(0)
    }
}

impl<S> ValueFormat<S> {
    /// Values are written as those of this version. A state begins with version 0.
    pub fn version(version: u32) -> Self {
        Self { written: Values { version, are_timed: false }, others: Vec::new() }
    }

    /// The same, with another version.
    pub(crate) fn with_version(mut self, version: u32) -> Self {
        self.written.version = version;
        self
    }

    /// A stored value of `version` is read as an `Old`, and becomes what `migrate` makes of it. Should it panic, the start is refused, as when
    /// [`try_migrate_from`](Self::try_migrate_from) returns an error.
    #[must_use]
    pub fn migrate_from<Old: DeserializeOwned>(
        self,
        version: u32,
        migrate: impl Fn(Old) -> S + Send + Sync + 'static,
    ) -> Self {
        self.try_migrate_from(version, move |old| Ok::<_, BoxError>(migrate(old)))
    }

    /// As [`migrate_from`](Self::migrate_from), with a function that may fail. Its error refuses the start, in words that name operator, state, key and version; nothing is changed.
    #[must_use]
    pub fn try_migrate_from<Old: DeserializeOwned, E: Into<BoxError>>(
        mut self,
        version: u32,
        migrate: impl Fn(Old) -> Result<S, E> + Send + Sync + 'static,
    ) -> Self {
        let older = Values { version, are_timed: false };
        self.others.retain(|(other, _)| *other != older);
        let read = move |bytes: &[u8]| {
            let old = codec::decode(bytes)?;
            let cause = match panic_site::catch(|| migrate(old)) {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(cause)) => cause.into(),
                Err((_, message)) => format!("it panicked: {message}").into(),
            };
            Err(MigrationFailed { version, cause }.into())
        };
        self.others.push((older, Arc::new(read)));
        self
    }

    /// The version that values are written as.
    pub fn written(&self) -> u32 {
        self.written.version
    }

    pub(crate) fn values(&self) -> Values {
        self.written
    }

    /// The versions that can be read, the one written among them.
    pub fn readable(&self) -> Vec<u32> {
        let others = self.others.iter().map(|(values, _)| values.version);
        let mut versions: Vec<_> = others.chain([self.written.version]).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}

impl<S: DeserializeOwned> ValueFormat<S> {
    /// Reads values of any version.
    pub(crate) fn reader(&self) -> ValueReader<'_, S> {
        ValueReader { format: self, other: None }
    }

    fn other(&self, values: Values) -> Result<&Read<S>, BoxError> {
        let version = values.version;
        let other = self.others.iter().find(|(other, _)| *other == values);
        other.map(|(_, read)| read).ok_or_else(|| {
            let versions: Vec<_> = self.readable().iter().map(ToString::to_string).collect();
            let way_out = if version < self.written.version {
                format!("give the state's `ValueFormat` a `migrate_from({version}, ...)`")
            } else {
                "start the program that wrote it, or a newer one".to_string()
            };
            format!("it is of version {version}, and those that can be read are {}; {way_out}", versions.join(", "))
                .into()
        })
    }
}

impl<S: DeserializeOwned + 'static> ValueFormat<S> {
    /// Everything that can be read without times, and how.
    fn plain(&self) -> Vec<(Values, Read<S>)> {
        let current: Read<S> = Arc::new(|bytes| codec::decode(bytes));
        let others = self.others.iter().filter(|(values, _)| values.version != self.written.version).cloned();
        others.chain([(self.written, current)]).filter(|(values, _)| !values.are_timed).collect()
    }

    /// Values without a time; where they have one, it is left out.
    pub(crate) fn untimed(mut self) -> Self {
        self.others = self.plain();
        let timed = self.others.clone().into_iter().map(|(Values { version, .. }, read)| {
            let read: Read<S> = Arc::new(move |bytes| read(Timed::<S>::split(bytes)?.1));
            (Values { version, are_timed: true }, read)
        });
        self.others.extend(timed);
        self
    }

    /// Values with their time; where they have none, it is not known.
    pub(crate) fn timed(self) -> ValueFormat<Timed<S>> {
        let mut others = Vec::new();
        for (values, read) in self.plain() {
            let with_time = read.clone();
            let with_time: Read<Timed<S>> = Arc::new(move |bytes| {
                let (time, value) = Timed::<S>::split(bytes)?;
                Ok(Timed::new(time, with_time(value)?))
            });
            others.push((Values { are_timed: true, ..values }, with_time));
            others.push((values, Arc::new(move |bytes| read(bytes).map(Timed::undated))));
        }
        ValueFormat { written: Values { are_timed: true, ..self.written }, others }
    }
}

/// A function that was given for values of an older version could do nothing with one.
#[derive(Debug)]
pub(crate) struct MigrationFailed {
    version: u32,
    cause: BoxError,
}

impl fmt::Display for MigrationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is of version {}, and cannot be migrated: {}", self.version, self.cause)
    }
}

impl std::error::Error for MigrationFailed {}

/// Reads one value after the other.
pub(crate) struct ValueReader<'a, S> {
    format: &'a ValueFormat<S>,
    /// What was read last that is not as it is written now.
    other: Option<(Values, &'a Read<S>)>,
}

impl<S: DeserializeOwned> ValueReader<'_, S> {
    #[inline]
    pub(crate) fn read(&mut self, values: Values, bytes: &[u8]) -> Result<S, BoxError> {
        if values != self.format.written {
            return self.read_other(values, bytes);
        }
        codec::decode(bytes).or_else(|cause| self.read_apart(values, bytes, cause))
    }

    /// Reads a value that has its time once more, apart from that: what is wrong is told as the value's user knows it.
    #[cold]
    fn read_apart(&self, values: Values, bytes: &[u8], cause: BoxError) -> Result<S, BoxError> {
        let apart = self.format.others.iter().find(|(other, _)| *other == values);
        apart.map_or(Err(cause), |(_, read)| read(bytes))
    }

    #[cold]
    fn read_other(&mut self, values: Values, bytes: &[u8]) -> Result<S, BoxError> {
        let read = match self.other {
            Some((other, read)) if other == values => read,
            _ => self.format.other(values)?,
        };
        self.other = Some((values, read));
        read(bytes)
    }
}
