//! One window.

use super::{Window, Windows};

/// One window of all time. It ends with the input, so as a rule a trigger says when there is a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Global;

impl Global {
    /// All of time.
    pub const WINDOW: Window = Window::ALL;
}

impl Windows for Global {
    fn describe(&self) -> String {
        "global".to_string()
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}
