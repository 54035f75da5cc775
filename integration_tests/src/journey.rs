//! What a run does with savepoints: a job that takes them and goes on, or one that goes on from one elsewhere.
//!
//! ```text
//! None        ----------------------------------------------------> end
//! Taken       ----*-------*--------*------------------------------> end      from one of them, without faults: the same state
//! Followed    --------*  dies
//!                      \--- another backend, another parallelism -> end
//! Stopped     ----------- stops *
//!                                \- another backend, ... ---------> end
//! ```

use std::{path::Path, sync::Arc};

use cofferdam_engine::{
    Error, ErrorKind,
    checkpoint::{config::CheckpointMode, coordinator::JobEnd},
    savepoint::{Savepoint, SavepointInfo},
};
use tempfile::TempDir;

use crate::{
    faults::Faults,
    io::Io,
    post::Request,
    schedule::Schedule,
    setup::Setup,
    simulation::Simulation,
    trial::{Backend, Place, Trial},
    world::Home,
};

/// What each run does with savepoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SavepointUse {
    /// Nothing.
    #[default]
    None,
    /// The job takes some at moments drawn from the order, and goes on. Each must be whole; and from one of them, elsewhere, the job comes to the same state.
    Taken,
    /// The job takes one at such a moment, and the process dies when it is written. The job goes on from the savepoint on another backend, at another parallelism, with the same sinks;
    /// where it was, if those have published more already.
    Followed,
    /// The job is stopped with one at such a moment, and goes on from it likewise; if it could not be written, where it was.
    Stopped,
}

impl SavepointUse {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Taken, Self::Followed, Self::Stopped];
}

/// How a job ended; or a promise that the engine broke.
type Ended = Result<Result<JobEnd, Error>, String>;

/// Steps between two wishes for a savepoint, at most.
const PAUSE: u64 = 400;

/// Runs the job to its end, wherever that is: `place` is where its state is then.
pub(crate) fn run(trial: &Trial, simulation: &mut Simulation, place: &mut Place, schedule: &Schedule) -> Ended {
    let files = match trial.savepoints {
        SavepointUse::None => return Ok(simulation.run()),
        _ => tempfile::tempdir().map_err(|error| format!("no temporary directory for savepoints: {error}"))?,
    };
    simulation.write_savepoints_to(files.path());
    let random = fastrand::Rng::with_seed(schedule.order ^ 0x5a7e_901e);
    let mut journey = Journey { trial, simulation, place, schedule, random, files };
    match trial.savepoints {
        SavepointUse::None | SavepointUse::Taken => journey.taking(),
        SavepointUse::Followed => Ok(journey.following()),
        SavepointUse::Stopped => Ok(journey.stopping()),
    }
}

struct Journey<'a> {
    trial: &'a Trial,
    simulation: &'a mut Simulation,
    place: &'a mut Place,
    schedule: &'a Schedule,
    random: fastrand::Rng,
    files: TempDir,
}

impl Journey<'_> {
    fn taking(&mut self) -> Ended {
        let end = loop {
            if let Some(end) = self.simulation.run_steps(self.random.u64(1..PAUSE)) {
                break end;
            }
            self.simulation.request(Request::Savepoint);
        };
        let written = self.simulation.savepoints().0.to_vec();
        for info in &written {
            let whole = Savepoint::open(&info.path).and_then(|mut savepoint| savepoint.verify());
            whole.map_err(|error| format!("the savepoint of checkpoint {} is not whole: {error}", info.checkpoint))?;
        }
        if end.is_ok()
            && let Some(info) = self.random.choice(&written)
        {
            self.compare_from(&info.path)?;
        }
        Ok(end)
    }

    /// From the savepoint the job comes to the state that it has here. At least once, it may count what came again.
    fn compare_from(&mut self, savepoint: &Path) -> Result<(), String> {
        let setup = self.setup();
        if setup.settings.checkpoints.mode == CheckpointMode::AtLeastOnce {
            return Ok(());
        }
        let place = Backend::Memory.place();
        let io = Arc::new(Io::new(self.trial.limit));
        let simulation = self.trial.simulation(self.schedule, setup, io, Faults::none());
        let mut simulation = simulation.backend_shared(place.backend.clone());
        simulation.from_savepoint(savepoint);
        simulation.discard_prepared();
        simulation.run().map_err(|error| format!("from a savepoint, the job ends: {error}"))?;
        let is_same =
            self.trial.states_in(self.place.backend.as_ref())? == self.trial.states_in(place.backend.as_ref())?;
        if is_same { Ok(()) } else { Err("from a savepoint, the job comes to other state".to_string()) }
    }

    fn following(&mut self) -> Result<JobEnd, Error> {
        let info = match self.first_savepoint() {
            Ok(info) => info,
            Err(end) => return end,
        };
        let newest = self.simulation.stored().map(|newest| newest.checkpoint);
        let (before, home) = self.go_on_from(&info.path);
        match self.simulation.run() {
            // Its sinks may have published what the savepoint has not.
            Err(error) if error.kind() == ErrorKind::Refused && newest > Some(info.checkpoint) => {
                *self.place = before;
                self.simulation.go_on_in(home);
                self.simulation.run()
            }
            end => end,
        }
    }

    /// Asks until there is one, and kills the process; the job's end, if that comes first.
    fn first_savepoint(&mut self) -> Result<SavepointInfo, Result<JobEnd, Error>> {
        loop {
            for _ in 0..self.random.u64(1..PAUSE) {
                if let Some(end) = self.simulation.run_steps(1) {
                    return Err(end);
                }
                if let Some(info) = self.simulation.savepoints().0.first().cloned() {
                    self.simulation.kill();
                    return Ok(info);
                }
            }
            self.simulation.request(Request::Savepoint);
        }
    }

    fn stopping(&mut self) -> Result<JobEnd, Error> {
        if let Some(end) = self.simulation.run_steps(self.random.u64(1..2 * PAUSE)) {
            return end;
        }
        self.simulation.request(Request::Stop);
        match self.simulation.run() {
            Ok(JobEnd::Stopped) => {}
            // Between two attempts: it stops where it is, and says why the last one failed.
            Err(_) if !self.schedule.injections.is_empty() => {}
            end => return end,
        }
        match self.simulation.export_last(self.files.path().join("last")) {
            Some(info) => drop(self.go_on_from(&info.path)),
            None => self.simulation.set_up(|setup| *setup = elsewhere(setup.clone())),
        }
        self.simulation.run()
    }

    /// Has the job go on from a savepoint elsewhere; gives back where it was.
    fn go_on_from(&mut self, savepoint: &Path) -> (Place, Home) {
        let all = Backend::ALL;
        let here = all.iter().position(|backend| *backend == self.trial.backend).unwrap_or(0);
        let place = all[(here + 1) % all.len()].place();
        let home = self.simulation.go_on_from(savepoint, place.backend.clone());
        self.simulation.set_up(|setup| *setup = elsewhere(setup.clone()));
        (std::mem::replace(self.place, place), home)
    }

    /// The run's numbers, elsewhere.
    fn setup(&self) -> Setup {
        elsewhere((self.trial.setup)(Setup::drawn(self.schedule.order)))
    }
}

/// At another parallelism.
fn elsewhere(setup: Setup) -> Setup {
    let parallelism = setup.settings.parallelism % 4 + 1;
    setup.parallelism(parallelism)
}
