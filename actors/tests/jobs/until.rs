//! Waiting for what another thread brings about.

use std::time::{Duration, Instant};

/// Waits until `condition` holds; a minute without it fails the test.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
