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

/// Schemes that mean something here, in whatever case.
const KNOWN: [&str; 4] = ["file", "s3", "s3a", "hdfs"];

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
        let Some((scheme, rest)) = uri.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(Self::Directory(uri.into()));
        };
        let is_known = KNOWN.iter().any(|known| known.eq_ignore_ascii_case(scheme));
        if !rest.starts_with("//") {
            let what = format!("'{scheme}:' is followed by two slashes; a directory of that name is './{uri}'");
            return if is_known { Err(fault::no_place(uri, what)) } else { Ok(Self::Directory(uri.into())) };
        }
        if !is_known {
            let what = format!("nothing is known of '{scheme}://'; there are file://, s3:// and hdfs://");
            return Err(fault::no_place(uri, what));
        }
        let url = Url::parse(uri).map_err(|cause| fault::no_place(uri, format!("it is no URI: {cause}")))?;
        refuse_what_is_dropped(uri, &url)?;
        match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::Directory(path)),
                Err(()) => Err(fault::no_place(
                    uri,
                    "it names no file of this machine: file:// is followed by an absolute path",
                )),
            },
            "hdfs" => hdfs(url),
            _ => s3(url),
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

/// Whether this is what a URI begins with. A single letter is a drive of Windows.
fn is_scheme(text: &str) -> bool {
    let is_of_schemes = |character: char| character.is_ascii_alphanumeric() || "+-.".contains(character);
    text.len() > 1 && text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(is_of_schemes)
}

/// Two URIs that differ must not be one place.
fn refuse_what_is_dropped(uri: &str, url: &Url) -> Result<(), StoreError> {
    let part = if url.fragment().is_some() {
        "what follows '#' is no part of a path; in a name it is written %23"
    } else if url.query().is_some() {
        "what follows '?' is no part of a path; in a name it is written %3F"
    } else if !url.username().is_empty() || url.password().is_some() {
        "a user has no place in it: credentials come from the environment or from options"
    } else if url.port().is_some() && url.scheme() != "hdfs" {
        "a port has no place in it: a server other than Amazon's is named by AWS_ENDPOINT, or by the option 'endpoint'"
    } else {
        return Ok(());
    };
    Err(fault::no_place(uri, part))
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
        _ => Err(fault::no_place(url.as_str(), "it names no bucket: s3://bucket/prefix")),
    }
}

#[cfg(not(feature = "s3"))]
fn s3(url: Url) -> Result<Target, StoreError> {
    Err(fault::no_place(
        url.as_str(),
        "this build lacks the cargo feature 's3', which the package 'cofferdam' has; build with it",
    ))
}

#[cfg(feature = "hdfs")]
fn hdfs(url: Url) -> Result<Target, StoreError> {
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(Target::Hdfs(url)),
        _ => Err(fault::no_place(url.as_str(), "it names no host: hdfs://host:port/path")),
    }
}

#[cfg(not(feature = "hdfs"))]
fn hdfs(url: Url) -> Result<Target, StoreError> {
    Err(fault::no_place(
        url.as_str(),
        "this build lacks the cargo feature 'hdfs', which the package 'cofferdam' has; build with it",
    ))
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
