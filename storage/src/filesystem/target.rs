//! What a URI names, and how it is reached.

use std::{path::PathBuf, sync::Arc};

use cofferdam_engine::checkpoint::store::{StoreError, StoreErrorKind};
use object_store::{ObjectStore, local::LocalFileSystem, path::Path};
use url::Url;

use super::{
    driver::Driver,
    fault, local,
    place::Place,
    start::{InProcess, Ownership},
};
use crate::lmdb::lock_file::LockFile;

/// Where state is kept.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Directory(PathBuf),
    Store(Arc<dyn ObjectStore>, Path),
    #[cfg(feature = "s3")]
    S3(Url),
    #[cfg(feature = "hdfs")]
    Hdfs(Url),
}

impl Target {
    /// What `uri` names; touches nothing.
    pub(super) fn parse(uri: &str) -> Result<Self, StoreError> {
        let Some((scheme, _)) = uri.split_once("://") else { return Ok(Self::Directory(uri.into())) };
        let url = Url::parse(uri).map_err(|cause| fault::foreign_by(uri, "it is no URI", Some(cause.into())))?;
        match scheme {
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::Directory(path)),
                Err(()) => Err(fault::foreign(
                    uri,
                    "it names no file of this machine: file:// is followed by an absolute path",
                )),
            },
            "s3" | "s3a" => s3(url),
            "hdfs" => hdfs(url),
            _ => Err(fault::foreign(
                uri,
                format!("nothing is known of '{scheme}://'; there are file://, s3:// and hdfs://"),
            )),
        }
    }

    /// Takes what keeps others out, and reaches the place.
    pub(super) fn reach(
        &self,
        name: String,
        options: &[(String, String)],
        in_process: InProcess,
    ) -> Result<(Place, Ownership), StoreError> {
        let driver = Driver::start().map_err(|cause| no_thread(&name, cause))?;
        if let Self::Directory(path) = self {
            check_no_options(&name, options)?;
            return directory(path, driver, in_process);
        }
        let (store, prefix) = self.store(&name, options, &driver)?;
        Ok((Place::new(name, store, prefix, false, driver), Ownership { local: None, _in_process: in_process }))
    }

    /// Reaches the place to read it, and keeps nobody out; with a local one's directory, without links. Makes nothing.
    pub(super) fn look(
        &self,
        name: String,
        options: &[(String, String)],
    ) -> Result<(Place, Option<PathBuf>), StoreError> {
        let driver = Driver::start().map_err(|cause| no_thread(&name, cause))?;
        let Self::Directory(path) = self else {
            let (store, prefix) = self.store(&name, options, &driver)?;
            return Ok((Place::new(name, store, prefix, false, driver), None));
        };
        check_no_options(&name, options)?;
        let directory = local::find(path)?;
        let name = directory.display().to_string();
        let store =
            LocalFileSystem::new_with_prefix(&directory).map_err(|cause| fault::failed(&name, "look", cause))?;
        Ok((Place::new(name, Arc::new(store), Path::default(), true, driver), Some(directory)))
    }

    /// The store, and where in it the place is.
    fn store(
        &self,
        name: &str,
        options: &[(String, String)],
        #[cfg_attr(not(feature = "hdfs"), expect(unused_variables, reason = "only HDFS runs on it"))] driver: &Driver,
    ) -> Result<(Arc<dyn ObjectStore>, Path), StoreError> {
        #[cfg(any(feature = "s3", feature = "hdfs"))]
        let failed = |cause: object_store::Error| fault::foreign_by(name, "it cannot be set up", Some(cause.into()));
        match self {
            Self::Directory(_) => Err(fault::foreign(name, "it is a directory")),
            Self::Store(store, prefix) => {
                check_no_options(name, options)?;
                Ok((store.clone(), prefix.clone()))
            }
            #[cfg(feature = "s3")]
            Self::S3(url) => Ok((build_s3(url, options).map_err(failed)?, prefix_of(url).map_err(failed)?)),
            #[cfg(feature = "hdfs")]
            Self::Hdfs(url) => Ok((build_hdfs(url, options, driver).map_err(failed)?, prefix_of(url).map_err(failed)?)),
        }
    }
}

fn no_thread(name: &str, cause: std::io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Io, format!("no thread for the store of {name}"), Some(cause.into()))
}

fn check_no_options(name: &str, options: &[(String, String)]) -> Result<(), StoreError> {
    match options.first() {
        Some((key, _)) => Err(fault::foreign(name, format!("it takes no options, and was given '{key}'"))),
        None => Ok(()),
    }
}

fn directory(path: &std::path::Path, driver: Driver, in_process: InProcess) -> Result<(Place, Ownership), StoreError> {
    let directory = local::prepare(path)?;
    let lock = LockFile::acquire(&directory)?;
    local::sync_parent(&directory)?;
    local::remove_unfinished(&directory)?;
    let name = directory.display().to_string();
    let store = LocalFileSystem::new_with_prefix(&directory).map_err(|cause| fault::failed(&name, "look", cause))?;
    let place = Place::new(name, Arc::new(store.with_fsync(true)), Path::default(), true, driver);
    Ok((place, Ownership { local: Some((directory, lock)), _in_process: in_process }))
}

#[cfg(any(feature = "s3", feature = "hdfs"))]
fn prefix_of(url: &Url) -> Result<Path, object_store::Error> {
    Ok(Path::from_url_path(url.path())?)
}

#[cfg(feature = "s3")]
fn s3(url: Url) -> Result<Target, StoreError> {
    match url.host_str() {
        Some(bucket) if !bucket.is_empty() => Ok(Target::S3(url)),
        _ => Err(fault::foreign(url.as_str(), "it names no bucket: s3://bucket/prefix")),
    }
}

#[cfg(not(feature = "s3"))]
fn s3(url: Url) -> Result<Target, StoreError> {
    Err(fault::foreign(url.as_str(), "this build lacks the cargo feature 's3'"))
}

#[cfg(feature = "hdfs")]
fn hdfs(url: Url) -> Result<Target, StoreError> {
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(Target::Hdfs(url)),
        _ => Err(fault::foreign(url.as_str(), "it names no host: hdfs://host:port/path")),
    }
}

#[cfg(not(feature = "hdfs"))]
fn hdfs(url: Url) -> Result<Target, StoreError> {
    Err(fault::foreign(url.as_str(), "this build lacks the cargo feature 'hdfs'"))
}

/// Options come over the environment.
#[cfg(feature = "s3")]
fn build_s3(url: &Url, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let bucket = url.host_str().unwrap_or_default();
    let mut builder = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket);
    for (key, value) in options {
        builder = builder.with_config(key.parse()?, value);
    }
    Ok(Arc::new(builder.build()?))
}

#[cfg(feature = "hdfs")]
fn build_hdfs(
    url: &Url,
    options: &[(String, String)],
    driver: &Driver,
) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("hdfs://{host}:{port}"),
        (host, None) => format!("hdfs://{host}"),
    };
    let builder = hdfs_native_object_store::HdfsObjectStoreBuilder::new().with_url(host);
    Ok(Arc::new(builder.with_config(options.iter().cloned()).with_io_runtime(driver.handle().clone()).build()?))
}
