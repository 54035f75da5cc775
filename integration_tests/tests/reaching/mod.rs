//! What must have gone wrong before a fail point is reached, in a job in which all else goes well.

use cofferdam_engine::fail_point::{Party, Point};
use cofferdam_testkit::{Fault, Schedule};

/// A schedule that lets every point be reached, given two subtasks a chain, input for both sources, and a timeout for checkpoints.
pub fn reaching(point: Point) -> Schedule {
    let schedule = Schedule::default();
    match point {
        // Without one of its four acknowledgements a checkpoint times out: so do the first two.
        Point::Abort | Point::AbortHeard => [3, 7]
            .into_iter()
            .fold(schedule, |schedule, occurrence| schedule.at(Point::Acknowledge, occurrence, Fault::Lose)),
        // While one source stands still, records of the other one come in behind its barrier.
        Point::Stash => schedule.at(Point::TriggerHeard, 1, Fault::Delay),
        _ => schedule,
    }
}

/// Whether a job passes a point in which nothing is in flight in a checkpoint, no barrier overtakes, no record goes round, nothing goes by time, and nobody asks the outside. The crash matrix has the others, and the tests of
/// savepoints theirs.
pub fn is_of_every_job(point: Point) -> bool {
    !matches!(point, Point::Overtaken | Point::Recorded | Point::LoopEnded)
        && !is_of_savepoints(point)
        && !is_of_time(point)
        && !matches!(point, Point::Ask | Point::Answered)
}

/// Whether a point is passed only where something goes by event time.
fn is_of_time(point: Point) -> bool {
    matches!(point, Point::TimePassed | Point::TimeFired | Point::LimitHeard)
}

/// Whether a point is passed only where savepoints are taken or started from.
fn is_of_savepoints(point: Point) -> bool {
    matches!(point, Point::SavepointBegun | Point::SavepointWritten | Point::SavepointImported)
}

/// Whether a point is passed while an attempt is opened, so that whoever is there for a second time is in a second attempt.
pub fn is_of_opening(point: Point) -> bool {
    let sink_is_opened = Point::OwnerBefore <= point && point <= Point::OpenAfter;
    let is_opening = point.party() == Party::Opening || sink_is_opened || point == Point::ReplayBegun;
    is_opening && !is_of_savepoints(point)
}
