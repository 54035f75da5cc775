//! The supervisor's table: what each input does in each state.

use std::time::Duration;

use cofferdam_engine::{
    Error, ErrorKind, NotRetryable, RestartStrategy,
    checkpoint::coordinator::JobEnd,
    supervisor::{Supervisor, SupervisorEffect},
};

use crate::support::{at, ms};

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, format!("{kind:?}"), None)
}

/// Effects in short.
fn short(effects: Vec<SupervisorEffect>) -> Vec<String> {
    let name = |effect| match effect {
        SupervisorEffect::StartAttempt => "start".to_string(),
        SupervisorEffect::StopAttempt => "stop".to_string(),
        SupervisorEffect::WaitUntil(time) => format!("wait until {} ms", time.0 / 1_000_000),
        SupervisorEffect::SettleState => "settle".to_string(),
        SupervisorEffect::End(Ok(end)) => format!("end {end:?}"),
        SupervisorEffect::End(Err(error)) => format!("end {error}"),
    };
    effects.into_iter().map(name).collect()
}

const ONE_RESTART: RestartStrategy = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_millis(10) };

fn running() -> Supervisor {
    let (supervisor, effects) = Supervisor::new(ONE_RESTART, at(0));
    assert_eq!(short(effects), ["start"]);
    assert!(supervisor.is_running());
    supervisor
}

fn stopping() -> Supervisor {
    let mut supervisor = running();
    assert_eq!(short(supervisor.failed(failure(ErrorKind::Operator))), ["stop"]);
    assert!(!supervisor.is_running());
    supervisor
}

fn waiting() -> Supervisor {
    let mut supervisor = stopping();
    assert_eq!(short(supervisor.stopped(at(100), 0.5)), ["wait until 110 ms"]);
    assert!(supervisor.waiting_for().is_some());
    assert_eq!(supervisor.delay(), Some(ms(10)));
    supervisor
}

fn ended() -> Supervisor {
    let mut supervisor = running();
    supervisor.done(JobEnd::Finished);
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["end Finished"]);
    supervisor
}

#[test]
fn a_failure_is_followed_by_one_stop_and_after_the_delay_by_another_attempt() {
    let mut supervisor = waiting();
    assert_eq!(short(supervisor.tick(at(109))), ["wait until 110 ms"], "too early");
    assert_eq!(short(supervisor.tick(at(110))), ["start"]);
    assert!(supervisor.is_running());
    assert_eq!(supervisor.restarts(), 1);
    assert_eq!(short(supervisor.tick(at(111))), [""; 0], "a timer of the past");
}

#[test]
fn the_next_attempt_waits_until_the_last_one_has_stopped() {
    let mut supervisor = stopping();
    assert_eq!(short(supervisor.tick(at(10_000))), [""; 0]);
    assert!(!supervisor.is_running());
}

#[test]
fn the_caller_sees_the_first_failure_of_the_last_attempt() {
    let mut supervisor = waiting();
    supervisor.tick(at(110));
    assert_eq!(short(supervisor.failed(failure(ErrorKind::Store))), ["stop"]);
    assert_eq!(short(supervisor.failed(failure(ErrorKind::Panic))), [""; 0], "a symptom");
    assert_eq!(short(supervisor.stopped(at(120), 0.5)), ["end given up after 1 restart: Store"]);
}

#[test]
fn a_failure_that_no_restart_follows_by_strategy_is_told_as_it_is() {
    let (mut supervisor, _) = Supervisor::new(RestartStrategy::None, at(0));
    supervisor.failed(failure(ErrorKind::Operator));
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["end Operator"]);
}

#[test]
fn what_is_marked_as_not_retryable_is_not_tried_again_though_the_strategy_would() {
    let marked = || Error::new(ErrorKind::Operator, "outer", Some(Box::new(NotRetryable::new("no such customer"))));
    let mut supervisor = running();
    assert_eq!(short(supervisor.failed(marked())), ["stop"]);
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["end outer: not to be retried: no such customer"]);
    assert_eq!(supervisor.restarts(), 0);
    let mut supervisor = waiting();
    supervisor.tick(at(110));
    supervisor.failed(marked());
    let end = short(supervisor.stopped(at(120), 0.5));
    assert_eq!(end, ["end outer: not to be retried: no such customer"], "it was not for want of restarts");
}

#[test]
fn what_was_refused_is_not_tried_again() {
    let mut supervisor = running();
    assert_eq!(short(supervisor.failed(failure(ErrorKind::Refused))), ["stop"]);
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["end Refused"]);
}

#[test]
fn the_job_ends_when_it_is_done_and_everything_has_stopped() {
    for end in [JobEnd::Finished, JobEnd::Stopped] {
        let mut supervisor = running();
        assert_eq!(short(supervisor.done(end)), ["stop"]);
        assert_eq!(short(supervisor.failed(failure(ErrorKind::Operator))), [""; 0], "too late to matter");
        assert_eq!(short(supervisor.stopped(at(1), 0.5)), [format!("end {end:?}")]);
    }
}

#[test]
fn cancel_settles_the_state_once_everything_has_stopped() {
    let mut supervisor = running();
    assert_eq!(short(supervisor.cancel()), ["stop"]);
    assert_eq!(short(supervisor.cancel()), [""; 0]);
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["settle", "end Cancelled"]);
}

#[test]
fn cancel_overtakes_a_restart() {
    let mut supervisor = stopping();
    assert_eq!(short(supervisor.cancel()), [""; 0], "it is being stopped already");
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["settle", "end Cancelled"]);
    let mut supervisor = waiting();
    assert_eq!(short(supervisor.cancel()), ["settle", "end Cancelled"]);
    assert_eq!(short(supervisor.tick(at(1000))), [""; 0], "nothing follows");
}

#[test]
fn cancel_comes_too_late_for_a_job_that_is_done() {
    let mut supervisor = running();
    supervisor.done(JobEnd::Finished);
    assert_eq!(short(supervisor.cancel()), [""; 0]);
    assert_eq!(short(supervisor.stopped(at(1), 0.5)), ["end Finished"]);
}

#[test]
fn stop_while_waiting_for_a_restart_ends_the_job_with_its_failure() {
    assert_eq!(short(waiting().stop_while_waiting()), ["end Operator"]);
    assert_eq!(short(running().stop_while_waiting()), [""; 0], "the coordinator takes the last checkpoint");
    assert_eq!(short(stopping().stop_while_waiting()), [""; 0], "the next attempt is told");
}

#[test]
fn nothing_happens_after_the_end() {
    let mut supervisor = ended();
    assert_eq!(short(supervisor.failed(failure(ErrorKind::Operator))), [""; 0]);
    assert_eq!(short(supervisor.done(JobEnd::Stopped)), [""; 0]);
    assert_eq!(short(supervisor.cancel()), [""; 0]);
    assert_eq!(short(supervisor.stopped(at(2), 0.5)), [""; 0]);
    assert_eq!(short(supervisor.stop_while_waiting()), [""; 0]);
    assert_eq!(short(supervisor.tick(at(2).after(ms(1)))), [""; 0]);
    assert!(!supervisor.is_running() && supervisor.waiting_for().is_none() && supervisor.delay().is_none());
}
