//! Which promises a run broke.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    order::OrderDependence,
    outcome::{Broken, Outcome, compare_output, differing},
    trial::{Run, Trial},
};

/// An invariant of the user's, and its name.
pub(crate) type Check = (String, Arc<dyn Fn(&Outcome) -> Result<(), String> + Send + Sync>);

pub(crate) struct Judge {
    expected: Outcome,
    checks: Vec<Check>,
    /// Outputs that are the same in every order.
    outputs: BTreeSet<usize>,
    /// Of the states asked for, those that are.
    states: BTreeSet<usize>,
    steps: Vec<String>,
}

impl Judge {
    /// Expects what the runs without faults agree on.
    pub(crate) fn new(
        trial: &Trial,
        checks: Vec<Check>,
        probes: &[(u64, Run)],
        order: Option<&OrderDependence>,
    ) -> Self {
        let expected = probes[0].1.outcome.clone();
        let depends = |output: &usize| order.is_some_and(|order| order.outputs.contains(output));
        let outputs = (0..expected.outputs.len()).filter(|output| !depends(output)).collect();
        let agrees = |state: &usize| {
            probes.iter().all(|(_, run)| differing(&expected.states[*state], &run.outcome.states[*state]) == 0)
        };
        let states = (0..expected.states.len()).filter(agrees).collect();
        let steps = trial.states.iter().map(|state| state.step.clone()).collect();
        Self { expected, checks, outputs, states, steps }
    }

    /// As it is, with the expectations of shorter input.
    pub(crate) fn expecting(&self, run: &Run) -> Self {
        Self {
            expected: run.outcome.clone(),
            checks: self.checks.clone(),
            outputs: self.outputs.clone(),
            states: self.states.clone(),
            steps: self.steps.clone(),
        }
    }

    pub(crate) fn expected(&self) -> &Outcome {
        &self.expected
    }

    /// Whether every output and every state asked for is compared, or else the user has said what must hold.
    pub(crate) fn compares(&self) -> bool {
        let all = self.outputs.len() == self.expected.outputs.len() && self.states.len() == self.expected.states.len();
        all || !self.checks.is_empty()
    }

    pub(crate) fn judge(&self, run: &Run) -> Vec<Broken> {
        if let Some(message) = &run.mechanism {
            return vec![Broken::Mechanism(message.clone())];
        }
        if let Some(error) = &run.outcome.error {
            return vec![Broken::Ended(error.clone())];
        }
        let mut broken = Vec::new();
        for output in &self.outputs {
            broken.extend(compare_output(*output, &self.expected.outputs[*output], &run.outcome.outputs[*output]));
        }
        for state in &self.states {
            let entries = differing(&self.expected.states[*state], &run.outcome.states[*state]);
            if entries > 0 {
                broken.push(Broken::State { step: self.steps[*state].clone(), entries });
            }
        }
        broken.extend(broken_checks(&self.checks, &run.outcome));
        broken
    }
}

/// The checks that do not hold.
pub(crate) fn broken_checks(checks: &[Check], outcome: &Outcome) -> Vec<Broken> {
    let broken =
        |(name, check): &Check| check(outcome).err().map(|message| Broken::Check { name: name.clone(), message });
    checks.iter().filter_map(broken).collect()
}
