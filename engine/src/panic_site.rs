//! Which step was running when user code panicked.
//!
//! Every call of user code is wrapped in [`running`]. Its guard does something only while the thread unwinds: it notes the step,
//! the innermost first. So the message of a panic can name the step, and nothing is paid for it while nothing panics.

use std::{any::Any, cell::Cell};

use crate::topology::graph::StepIndex;

thread_local! {
    static PANICKED: Cell<Option<StepIndex>> = const { Cell::new(None) };
}

struct Guard(StepIndex);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() && PANICKED.get().is_none() {
            PANICKED.set(Some(self.0));
        }
    }
}

/// Runs user code of `step`.
#[inline(always)]
pub(crate) fn running<R>(step: StepIndex, code: impl FnOnce() -> R) -> R {
    let guard = Guard(step);
    let result = code();
    std::mem::forget(guard);
    result
}

/// Runs `code`; a panic becomes the step it came from, if known, and its message.
pub(crate) fn catch<R>(code: impl FnOnce() -> R) -> Result<R, (Option<StepIndex>, String)> {
    PANICKED.set(None);
    // The subtask is never used again after a panic, so a broken invariant inside it is never seen.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(code))
        .map_err(|payload| (PANICKED.take(), message(payload.as_ref())))
}

/// The message of a panic.
pub fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_string()
    }
}
