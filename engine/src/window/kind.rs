//! What all kinds of windows have in common.

use crate::topology::fault::TopologyFault;

/// What every kind of windows says of itself.
pub trait Windows: Clone + Send + 'static {
    /// What they are, such as `tumbling 10000+0`: equal for equal windows. State that was kept for others is not read for these.
    fn describe(&self) -> String;

    /// Why they make no sense, one sentence each.
    fn faults(&self) -> Vec<String>;

    /// The same as faults of a topology's step.
    fn faults_of(&self, step: &str) -> Vec<TopologyFault> {
        let fault = |message| TopologyFault::Windows { step: step.to_string(), message };
        self.faults().into_iter().map(fault).collect()
    }
}
