//! A thread that drives asynchronous calls for callers that wait.
//!
//! It is the store's own, so that a store may be called and dropped on any thread: within a host's runtime a second one can neither be entered nor ended.

use std::{future::Future, io, sync::mpsc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Ends its thread when it is dropped, without waiting for it.
pub(super) struct Driver {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl Driver {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, dropped) = oneshot::channel::<()>();
        thread::Builder::new().name("cofferdam-store".into()).spawn(move || {
            let _ = runtime.block_on(dropped);
        })?;
        Ok(Self { handle, _running: running })
    }

    /// The runtime, for what asks for one when it is made.
    #[cfg(feature = "hdfs")]
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for what `call` comes to; `None` if it panicked.
    pub(super) fn run<R: Send + 'static>(&self, call: impl Future<Output = R> + Send + 'static) -> Option<R> {
        let (result, returned) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let _ = result.send(call.await);
        });
        returned.recv().ok()
    }
}
