//! From every state that can be reached there is a way, without further faults, to a newer completed checkpoint, or to the job's end if its input has one,
//! with all published that it counts and that is not in flight.
//!
//! The way looked for is one fixed fair schedule: the first of what is under way, then what is new, and time only when nothing else can happen. Whoever
//! comes to a state known to be live is live too, since the newest checkpoint never goes back.

use stateright::Model;

use crate::{
    model::{ProtocolModel, State},
    shared::fingerprint,
};

/// More than the schedule takes from anywhere.
const STEPS: usize = 400;

pub fn is_live(model: &ProtocolModel, from: &State) -> bool {
    let mut passed = Vec::new();
    let mut state = State { losses: 0, failures: 0, ..from.clone() };
    let mut actions = Vec::new();
    for _ in 0..STEPS {
        let print = fingerprint(&state);
        if is_reached(model, from, &state) || model.live.lock().contains(&print) {
            model.live.lock().extend(passed);
            return true;
        }
        passed.push(print);
        model.faultless(&state, &mut actions);
        let Some(next) = actions.first().and_then(|action| model.next_state(&state, *action)) else { return false };
        actions.clear();
        state = next;
    }
    false
}

fn is_reached(model: &ProtocolModel, from: &State, state: &State) -> bool {
    let mut counted = model.job.all_records().filter(|record| state.is_counted(&model.job, *record));
    let is_newer = state.done || !model.ends && state.store.checkpoint > from.store.checkpoint;
    is_newer && counted.all(|record| state.place.count(record) == 1 || state.store.is_in_flight(record))
}
