//! A store between the backend and another one, that a test makes misbehave.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use parking_lot::Mutex;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The call of this number fails, and nothing was done.
    Before(usize),
    /// The call of this number fails after it was carried out.
    After(usize),
    /// From this call on, all fail.
    From(usize),
    /// A put that must not replace anything is repeated below once it was carried out, and finds itself.
    Repeated,
    /// Objects are replaced, whatever was asked.
    Unconditional,
}

/// What is done when nobody expects it.
type Surprise = Box<dyn FnOnce() + Send>;

pub struct Shim {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    calls: AtomicUsize,
    /// Before or after the first put.
    before_put: Mutex<Option<Surprise>>,
    after_put: Mutex<Option<Surprise>>,
}

impl Shim {
    pub fn new(inner: Arc<dyn ObjectStore>, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            inner,
            fault,
            calls: AtomicUsize::new(0),
            before_put: Mutex::default(),
            after_put: Mutex::default(),
        })
    }

    /// Nothing goes wrong, but somebody else does something before the first put is carried out, or after it.
    pub fn surprised(inner: Arc<dyn ObjectStore>, before: bool, surprise: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let shim = Self::new(inner, Fault::None);
        let when = if before { &shim.before_put } else { &shim.after_put };
        *when.lock() = Some(Box::new(surprise));
        shim
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The number of the call that begins, or its failure.
    fn begin(&self) -> Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Before(failing) if failing == call => Err(failure()),
            Fault::From(first) if first <= call => Err(failure()),
            _ => Ok(call),
        }
    }

    fn end<R>(&self, call: usize, result: Result<R>) -> Result<R> {
        match self.fault {
            Fault::After(failing) if failing == call => Err(failure()),
            _ => result,
        }
    }
}

fn failure() -> Error {
    Error::Generic { store: "shim", source: "made to fail".into() }
}

impl fmt::Debug for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shim: {:?}", self.fault)
    }
}

impl fmt::Display for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shim")
    }
}

#[async_trait]
impl ObjectStore for Shim {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let call = self.begin()?;
        if let Some(surprise) = self.before_put.lock().take() {
            surprise();
        }
        if self.fault == Fault::Unconditional {
            options.mode = PutMode::Overwrite;
        }
        let result = self.inner.put_opts(path, payload.clone(), options.clone()).await;
        let result = match result {
            Ok(_) if self.fault == Fault::Repeated && options.mode == PutMode::Create => {
                self.inner.put_opts(path, payload, options).await
            }
            result => result,
        };
        if let Some(surprise) = self.after_put.lock().take() {
            surprise();
        }
        self.end(call, result)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let call = self.begin()?;
        self.end(call, self.inner.put_multipart_opts(path, options).await)
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let call = self.begin()?;
        self.end(call, self.inner.get_opts(path, options).await)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.begin() {
            Err(error) => stream::once(async move { Err(error) }).boxed(),
            Ok(call) => {
                let deleted = self.inner.delete_stream(paths);
                match self.fault {
                    // Carried out, and then nothing is heard of it but that.
                    Fault::After(failing) if failing == call => {
                        stream::once(async move { deleted.try_collect::<Vec<_>>().await.and(Err(failure())) }).boxed()
                    }
                    _ => deleted,
                }
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.begin() {
            Err(error) => stream::once(async move { Err(error) }).boxed(),
            Ok(_) => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let call = self.begin()?;
        self.end(call, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
