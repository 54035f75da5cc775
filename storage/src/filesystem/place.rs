//! Where objects are: puts, reads, lists and deletes them for a caller that waits.

use std::{fmt::Display, future::Future, ops::Range, sync::Arc, time::SystemTime};

use bytes::Bytes;
use cofferdam_engine::checkpoint::store::StoreError;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, WriteMultipart, path::Path};

use super::{
    driver::Driver,
    fault,
    name::{self, Name},
};

/// From this size on an object is uploaded in parts.
const PART: usize = 16 << 20;
/// Parts on their way at once, and objects read at once.
const CONCURRENCY: usize = 8;

/// See the module.
pub(super) struct Place {
    /// For messages.
    pub(super) name: String,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Files are written in one go, and nobody else writes them.
    pub(super) is_local: bool,
    driver: Driver,
}

/// What a conditional put came to.
pub(super) enum Put {
    Done,
    /// There is an object of this name.
    Taken,
    /// The object may be there, now or later.
    Unknown(Error),
}

/// What there is of ours.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) objects: Vec<Name>,
    /// Names as they were listed, beside each of `objects`.
    pub(super) names: Vec<String>,
    /// Of all of them together.
    pub(super) bytes: u64,
    /// When the newest entry of the log was put.
    pub(super) last_entry: Option<SystemTime>,
}

impl Listing {
    /// The newest log entry's number.
    pub(super) fn newest(&self) -> Option<u64> {
        let sequence = |name: &Name| match name {
            Name::Log(sequence) => Some(*sequence),
            _ => None,
        };
        self.objects.iter().filter_map(sequence).max()
    }

    pub(super) fn has_data(&self) -> bool {
        self.objects.iter().any(|name| matches!(name, Name::Data(_)))
    }
}

impl Place {
    pub(super) fn new(name: String, store: Arc<dyn ObjectStore>, prefix: Path, is_local: bool, driver: Driver) -> Self {
        Self { name, store, prefix, is_local, driver }
    }

    fn run<R: Send + 'static>(
        &self,
        call: impl Future<Output = Result<R, Error>> + Send + 'static,
    ) -> Result<R, Error> {
        let panicked = || Error::Generic { store: "cofferdam", source: "the call panicked".into() };
        self.driver.run(call).unwrap_or_else(|| Err(panicked()))
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    pub(super) fn failed(&self, doing: impl Display, cause: Error) -> StoreError {
        fault::failed(&self.name, doing, cause)
    }

    /// All that is ours. The log comes first: data of a commit that it shows is listed too.
    pub(super) fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for folder in [name::LOG, name::DATA] {
            let (store, path) = (self.store.clone(), self.path(folder));
            let listed = self.run(async move { store.list(Some(&path)).try_collect::<Vec<_>>().await });
            for object in listed.map_err(|cause| self.failed(format!("list {folder}/"), cause))? {
                let name = self.name_of(&object.location);
                if let Some(parsed) = name::parse(&name) {
                    listing.bytes += object.size;
                    if matches!(parsed, Name::Log(_)) {
                        listing.last_entry = listing.last_entry.max(Some(object.last_modified.into()));
                    }
                    listing.objects.push(parsed);
                    listing.names.push(name);
                }
            }
        }
        Ok(listing)
    }

    /// Something that is there and not ours.
    pub(super) fn stranger(&self) -> Result<Option<String>, StoreError> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let found = self.run(async move { store.list_with_delimiter(Some(&prefix)).await });
        let found = found.map_err(|cause| self.failed("list the objects", cause))?;
        let objects = found.objects.iter().map(|object| &object.location);
        Ok(objects.chain(&found.common_prefixes).map(|path| self.name_of(path)).next())
    }

    /// The name below the place.
    fn name_of(&self, path: &Path) -> String {
        let parts = path.prefix_match(&self.prefix).into_iter().flatten();
        parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")
    }

    /// The object's bytes; `None` if there is none.
    pub(super) fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let (store, path) = (self.store.clone(), self.path(name));
        match self.run(async move { store.get(&path).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(self.failed(format!("read {name}"), cause)),
        }
    }

    /// Ranges of objects that must be there, in the order given.
    pub(super) fn get_ranges(&self, wanted: Vec<(String, Vec<Range<u64>>)>) -> Result<Vec<Vec<Bytes>>, StoreError> {
        let names: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let ends: Vec<_> = wanted.iter().map(|(_, ranges)| ranges.iter().map(|range| range.end).max()).collect();
        let wanted: Vec<_> = wanted.into_iter().map(|(name, ranges)| (self.path(&name), ranges)).collect();
        let store = self.store.clone();
        let found = self.driver.run(async move {
            let read = |(path, ranges): (Path, Vec<Range<u64>>)| {
                let store = store.clone();
                async move { store.get_ranges(&path, &ranges).await }
            };
            stream::iter(wanted.into_iter().map(read)).buffered(CONCURRENCY).collect::<Vec<_>>().await
        });
        let found = found.ok_or_else(|| fault::damaged(&self.name, "reading it panicked"))?;
        let check = |((found, name), end): ((Result<_, Error>, &String), Option<u64>)| {
            found.map_err(|cause| self.explain(name, end.unwrap_or(0), cause))
        };
        found.into_iter().zip(&names).zip(ends).map(check).collect()
    }

    /// Whether the object that could not be read up to `end` is damaged, or could only not be read.
    fn explain(&self, name: &str, end: u64, cause: Error) -> StoreError {
        let (store, path) = (self.store.clone(), self.path(name));
        match self.run(async move { store.head(&path).await }) {
            Err(Error::NotFound { .. }) => fault::damaged(&self.name, format!("{name} is missing")),
            Ok(meta) if meta.size < end => {
                let what = format!("{name} is cut short: {} bytes, and {end} are needed", meta.size);
                fault::damaged(&self.name, what)
            }
            _ => self.failed(format!("read {name}"), cause),
        }
    }

    /// Puts an object, durably, if there is none of its name.
    pub(super) fn put_new(&self, name: &str, bytes: Bytes) -> Put {
        let (store, path) = (self.store.clone(), self.path(name));
        let put = async move { store.put_opts(&path, PutPayload::from(bytes), PutMode::Create.into()).await };
        match self.run(put) {
            Ok(_) => Put::Done,
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Put::Taken,
            Err(cause) => Put::Unknown(cause),
        }
    }

    /// Puts an object whose name nobody else uses, durably.
    pub(super) fn put(&self, name: &str, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let (store, path, is_local) = (self.store.clone(), self.path(name), self.is_local);
        let put = async move {
            let length: usize = pieces.iter().map(Bytes::len).sum();
            if is_local || length < PART {
                store.put(&path, pieces.into_iter().collect()).await?;
                return Ok(());
            }
            let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await?, PART);
            for piece in pieces {
                if let Err(cause) = upload.wait_for_capacity(CONCURRENCY).await {
                    // What it has sent costs space until it is given up.
                    let _ = upload.abort().await;
                    return Err(cause);
                }
                upload.put(piece);
            }
            upload.finish().await.map(|_| ())
        };
        self.run(put).map_err(|cause| self.failed(format!("write {name}"), cause))
    }

    /// Deletes objects, one after the other if there is no better way, and returns those that may still be there.
    pub(super) fn delete(&self, names: Vec<String>) -> Vec<String> {
        if names.is_empty() {
            return names;
        }
        let (store, paths) = (self.store.clone(), names.iter().map(|name| self.path(name)).collect::<Vec<_>>());
        let deleted = self.driver.run(async move {
            let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
            store.delete_stream(paths).collect::<Vec<_>>().await
        });
        let deleted = deleted.unwrap_or_default();
        let is_gone = |result: &Result<Path, Error>| matches!(result, Ok(_) | Err(Error::NotFound { .. }));
        for failure in deleted.iter().filter(|result| !is_gone(result)).filter_map(|result| result.as_ref().err()) {
            log::warn!("{}: an object that is needed no more could not be deleted: {failure}", self.name);
        }
        // A batch may fail as one, and then says less than there was in it.
        if deleted.len() != names.len() {
            return names;
        }
        names.into_iter().zip(&deleted).filter(|(_, result)| !is_gone(result)).map(|(name, _)| name).collect()
    }
}
