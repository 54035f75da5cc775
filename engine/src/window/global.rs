//! One window.

use super::{Window, Windows};

/// One window of all time. It ends with the input, so as a rule a trigger says when there is a row.
///
/// ```
/// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::{Global, Trigger}};
/// # fn example(orders: KeyedStream<u64, u64, Timestamp>) {
/// // What a customer has spent, after every ten orders.
/// let spent = orders.window(Global).trigger(Trigger::count(10)).sum("spent", |cents| *cents);
/// # let _ = spent;
/// # }
/// ```
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
