//! Waits for a future on a thread that has no runtime, or none that need go on meanwhile.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks the thread until `future` is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(thread::current())).into();
    // On a thread that drives a runtime, tokio would put futures off, after so many polls, until the runtime goes on: which it does not.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::block_on;

    #[tokio::test]
    async fn any_number_of_futures_is_waited_for_on_a_thread_that_drives_a_runtime() {
        for number in 0..1000 {
            let (sender, receiver) = oneshot::channel();
            let thread = std::thread::spawn(move || sender.send(number));
            assert_eq!(block_on(receiver), Ok(number));
            assert_eq!(thread.join().ok(), Some(Ok(())));
        }
    }
}
