//! Where late records end.

/// Records that came when all their windows had been given up: they are dropped, and counted.
#[derive(Clone, Debug, Default)]
pub struct Late {
    dropped: u64,
}

impl Late {
    pub(super) fn add<T>(&mut self, _record: T) {
        self.dropped += 1;
    }

    /// How many there were since the last call.
    pub(super) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}
