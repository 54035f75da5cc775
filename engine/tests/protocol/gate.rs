//! The input gate's table, row by row, and what it promises of its alignment buffer and of what is in flight.

#![allow(clippy::unwrap_used)]

use cofferdam_engine::{
    ChannelIndex, CheckpointId, StreamElement, Watermark,
    checkpoint::{
        config::CheckpointMode::{self, AtLeastOnce, ExactlyOnce},
        gate::{GateEvent, InputGate},
    },
    overtake,
};

use std::collections::VecDeque;

use crate::support::{Gate, Seen, active, at, barrier, batch, end, idle, idle_mark, mark, ms, overtaking};

const MODES: [CheckpointMode; 2] = [ExactlyOnce, AtLeastOnce];

/// A gate over three channels that collects checkpoint 5, whose barrier is in on channel 0, and has handled all up to 2.
fn collecting(mode: CheckpointMode) -> Gate {
    let mut gate = Gate(InputGate::new(3, mode, 4, CheckpointId(2)));
    assert_eq!(gate.receive(0, barrier(5)), Seen::Collecting(5));
    assert_eq!(gate.collecting(), Some(5));
    gate
}

#[test]
fn a_waiting_gate_delivers_batches() {
    for mode in MODES {
        let mut gate = Gate::new(2, mode, 4);
        assert_eq!(gate.receive(1, batch(7)), Seen::Delivered(7));
        assert_eq!(gate.receive(0, batch(8)), Seen::Delivered(8));
    }
}

#[test]
fn a_collecting_gate_delivers_batches_of_channels_whose_barrier_is_out() {
    for mode in MODES {
        assert_eq!(collecting(mode).receive(1, batch(7)), Seen::Delivered(7));
    }
}

#[test]
fn a_batch_behind_the_barrier_waits_in_exactly_once_mode_only() {
    let mut gate = collecting(ExactlyOnce);
    assert_eq!(gate.receive(0, batch(7)), Seen::Stashed(5));
    assert_eq!(gate.replay(), [], "it waits for the alignment");
    assert_eq!(collecting(AtLeastOnce).receive(0, batch(7)), Seen::Delivered(7));
}

#[test]
fn a_barrier_already_handled_is_dropped() {
    for mode in MODES {
        let mut waiting = Gate(InputGate::new(2, mode, 4, CheckpointId(3)));
        for old in [1, 3] {
            assert_eq!(waiting.receive(0, barrier(old)), Seen::Nothing);
            assert_eq!(waiting.collecting(), None, "barrier {old}");
        }
        let mut gate = collecting(mode);
        assert_eq!(gate.receive(1, barrier(2)), Seen::Nothing);
        assert_eq!(gate.collecting(), Some(5));
    }
}

#[test]
fn the_last_barrier_aligns() {
    for mode in MODES {
        let mut gate = collecting(mode);
        assert_eq!(gate.receive(2, barrier(5)), Seen::Nothing);
        assert_eq!(gate.receive(1, barrier(5)), Seen::Aligned(5));
        assert_eq!(gate.collecting(), None);
        assert_eq!(gate.receive(0, barrier(5)), Seen::Nothing, "handled");
        assert_eq!(gate.receive(0, barrier(6)), Seen::Collecting(6));
        assert_eq!(gate.collecting(), Some(6));
    }
}

#[test]
fn a_single_channel_aligns_at_once() {
    for mode in MODES {
        let mut gate = Gate::new(1, mode, 0);
        assert_eq!(gate.receive(0, barrier(1)), Seen::Aligned(1));
        assert_eq!(gate.receive(0, batch(7)), Seen::Delivered(7));
    }
}

#[test]
fn a_barrier_that_comes_twice_counts_once() {
    let mut gate = collecting(AtLeastOnce);
    assert_eq!(gate.receive(0, barrier(5)), Seen::Nothing);
    assert_eq!(gate.receive(1, barrier(5)), Seen::Nothing);
    assert_eq!(gate.receive(2, barrier(5)), Seen::Aligned(5));
}

#[test]
fn a_newer_barrier_declines_the_checkpoint_being_collected_and_is_collected() {
    for mode in MODES {
        let mut gate = collecting(mode);
        assert_eq!(gate.receive(1, barrier(8)), [Seen::Declined(5), Seen::Collecting(8)]);
        assert_eq!(gate.collecting(), Some(8));
        assert_eq!(gate.receive(2, barrier(5)), Seen::Nothing, "5 is over");
        assert_eq!(gate.receive(2, barrier(8)), Seen::Nothing);
        assert_eq!(gate.receive(0, barrier(8)), Seen::Aligned(8));
    }
}

#[test]
fn a_newer_barrier_behind_the_barrier_waits_in_exactly_once_mode_only() {
    let mut gate = collecting(ExactlyOnce);
    assert_eq!(gate.receive(0, barrier(8)), Seen::Stashed(5));
    assert_eq!(gate.collecting(), Some(5));
    let mut gate = collecting(AtLeastOnce);
    assert_eq!(gate.receive(0, barrier(8)), Seen::Collecting(8), "two at once");
    assert_eq!(gate.receive(1, barrier(5)), Seen::Nothing);
    assert_eq!(gate.receive(2, barrier(5)), Seen::Aligned(5));
    assert_eq!(gate.receive(2, barrier(8)), Seen::Nothing);
    assert_eq!(gate.receive(1, barrier(8)), Seen::Aligned(8));
}

#[test]
fn a_barrier_between_the_last_handled_and_the_one_collected_is_dropped() {
    for mode in MODES {
        let mut gate = collecting(mode);
        assert_eq!(gate.receive(1, barrier(4)), Seen::Nothing);
        assert_eq!(gate.collecting(), Some(5));
        assert_eq!(gate.receive(2, barrier(5)), Seen::Nothing);
        assert_eq!(gate.receive(1, barrier(5)), Seen::Aligned(5));
    }
}

#[test]
fn the_last_channel_to_end_ends_the_input() {
    for mode in MODES {
        let mut gate = Gate::new(2, mode, 4);
        assert_eq!(gate.receive(1, end()), Seen::Nothing);
        assert_eq!(gate.receive(0, end()), Seen::Ended);
    }
}

#[test]
fn an_end_behind_the_barrier_waits_in_exactly_once_mode_only() {
    let mut gate = collecting(ExactlyOnce);
    assert_eq!(gate.receive(0, end()), Seen::Stashed(5));
    assert_eq!(gate.receive(1, end()), Seen::Nothing, "an open channel ends at once");
    assert_eq!(collecting(AtLeastOnce).receive(0, end()), Seen::Nothing);
}

#[test]
fn ended_channels_still_align() {
    for mode in MODES {
        let mut gate = Gate::new(2, mode, 4);
        assert_eq!(gate.receive(0, end()), Seen::Nothing);
        assert_eq!(gate.receive(1, barrier(1)), Seen::Collecting(1), "not without the ended channel");
        assert_eq!(gate.receive(0, barrier(1)), Seen::Aligned(1));
        assert_eq!(gate.receive(1, end()), Seen::Ended);
        assert_eq!(gate.receive(0, barrier(2)), Seen::Collecting(2));
        assert_eq!(gate.receive(1, barrier(2)), Seen::Aligned(2));
    }
}

#[test]
fn a_cancelled_checkpoint_is_over_and_unblocks() {
    for mode in MODES {
        let mut gate = collecting(mode);
        let early = gate.receive(0, batch(7));
        gate.cancel(5);
        assert_eq!(gate.collecting(), None);
        let replayed = gate.replay();
        match mode {
            ExactlyOnce => assert_eq!((early.0, replayed), (vec![Seen::Stashed(5)], vec![Seen::Delivered(7)])),
            AtLeastOnce => assert_eq!((early.0, replayed), (vec![Seen::Delivered(7)], vec![])),
        }
        assert_eq!(gate.receive(1, barrier(5)), Seen::Nothing, "it came late");
        assert_eq!(gate.collecting(), None);
        gate.receive(1, barrier(10));
        assert_eq!(gate.collecting(), Some(10));
    }
}

#[test]
fn cancelling_another_checkpoint_changes_nothing_for_the_one_being_collected() {
    for mode in MODES {
        let mut gate = collecting(mode);
        gate.cancel(4);
        gate.cancel(6);
        assert_eq!(gate.collecting(), Some(5));
        gate.cancel(1);
        gate.receive(1, barrier(5));
        assert_eq!(gate.receive(2, barrier(5)), Seen::Aligned(5));
    }
}

#[test]
fn cancelling_while_waiting_drops_the_barriers_that_are_still_to_come() {
    for mode in MODES {
        let mut gate = Gate::new(2, mode, 4);
        (1..=3).for_each(|n| gate.cancel(n));
        for n in 1..=3 {
            assert_eq!(gate.receive(0, barrier(n)), Seen::Nothing);
            assert_eq!(gate.collecting(), None);
        }
    }
}

#[test]
fn the_alignment_buffer_is_bounded_for_all_channels_together() {
    let mut gate = Gate::new(3, ExactlyOnce, 3);
    gate.receive(0, barrier(1));
    gate.receive(1, barrier(1));
    gate.receive(0, batch(1));
    gate.receive(1, batch(2));
    assert!(gate.can_read(0) && gate.can_read(1));
    gate.receive(0, batch(3));
    assert!(!gate.can_read(0) && !gate.can_read(1), "full: what is blocked is left unread");
    assert!(gate.can_read(2), "the channel that the alignment waits for is read");
    assert_eq!(gate.receive(2, batch(4)), Seen::Delivered(4));
    assert_eq!(gate.receive(2, barrier(1)), Seen::Aligned(1));
    assert!((0..3).all(|channel| !gate.can_read(channel)), "what was stashed comes first");
    assert_eq!(gate.replay().len(), 3);
    assert!((0..3).all(|channel| gate.can_read(channel)));
}

#[test]
fn without_an_alignment_buffer_a_blocked_channel_is_left_unread_at_once() {
    let mut gate = Gate::new(2, ExactlyOnce, 0);
    gate.receive(0, barrier(1));
    assert!(!gate.can_read(0) && gate.can_read(1));
    assert_eq!(gate.receive(1, barrier(1)), Seen::Aligned(1));
    assert!(gate.can_read(0) && gate.can_read(1));
}

#[test]
fn each_channels_stash_is_replayed_in_its_order() {
    let mut gate = Gate::new(3, ExactlyOnce, 8);
    gate.receive(1, barrier(1));
    gate.receive(0, barrier(1));
    for (channel, record) in [(1, 10), (0, 1), (0, 2), (1, 11), (0, 3)] {
        assert_eq!(gate.receive(channel, batch(record)), Seen::Stashed(1));
    }
    assert_eq!(gate.receive(2, barrier(1)), Seen::Aligned(1));
    let replayed = gate.replay();
    let of = |range: std::ops::Range<u64>| -> Vec<_> {
        let of_channel = replayed.iter().filter(|seen| matches!(seen, Seen::Delivered(n) if range.contains(n)));
        of_channel.cloned().collect()
    };
    assert_eq!(of(0..10), [Seen::Delivered(1), Seen::Delivered(2), Seen::Delivered(3)]);
    assert_eq!(of(10..20), [Seen::Delivered(10), Seen::Delivered(11)]);
}

#[test]
fn a_newer_barrier_met_in_the_replay_is_aligned_in_its_turn_and_stops_its_channel() {
    let mut gate = Gate::new(2, ExactlyOnce, 8);
    gate.receive(0, barrier(1));
    for element in [batch(1), barrier(2), batch(2), end()] {
        assert_eq!(gate.receive(0, element), Seen::Stashed(1));
    }
    assert_eq!(gate.receive(1, barrier(1)), Seen::Aligned(1));
    assert_eq!(gate.replay(), [Seen::Delivered(1), Seen::Collecting(2)], "up to the barrier, which is collected");
    assert_eq!(gate.collecting(), Some(2));
    assert!(gate.can_read(1), "the other channel is read meanwhile");
    assert_eq!(gate.receive(1, batch(20)), Seen::Delivered(20));
    assert_eq!(gate.receive(1, barrier(2)), Seen::Aligned(2));
    assert_eq!(gate.replay(), [Seen::Delivered(2)]);
}

#[test]
fn a_barrier_met_in_the_replay_can_be_the_last_one() {
    let mut gate = Gate::new(3, ExactlyOnce, 8);
    gate.receive(0, barrier(1));
    gate.receive(0, barrier(2));
    gate.receive(1, barrier(1));
    gate.receive(1, barrier(2));
    assert_eq!(gate.receive(2, barrier(2)), [Seen::Declined(1), Seen::Collecting(2)], "channel 2 never had 1");
    assert_eq!(gate.replay(), [Seen::Aligned(2)]);
}

#[test]
fn the_time_of_the_alignment_is_from_the_first_barrier_to_the_last() {
    for (mode, expected) in [(ExactlyOnce, (ms(20), 1)), (AtLeastOnce, (ms(0), 0))] {
        let mut gate = InputGate::new(2, mode, 4, CheckpointId(0));
        let mut events = Vec::new();
        for (channel, element, time) in [(0, barrier(1), 10), (0, batch(1), 20), (1, barrier(1), 30)] {
            gate.receive(ChannelIndex(channel), element, at(time), &mut events).unwrap();
        }
        let Some(GateEvent::Aligned(aligned)) = events.last() else { panic!("both barriers are in: {events:?}") };
        assert_eq!((aligned.alignment, aligned.stashed, aligned.start_delay), (expected.0, expected.1, ms(10)));
    }
}

/// A gate over two channels whose barriers overtake at once.
fn unaligned() -> Gate {
    Gate::new(2, ExactlyOnce, 4)
}

#[test]
fn the_first_overtaking_barrier_is_enough_and_what_comes_before_the_others_is_recorded() {
    let mut gate = unaligned();
    assert_eq!(gate.receive(1, batch(7)), Seen::Delivered(7));
    assert_eq!(gate.overtaken(0, 1, &[1, 2]), Seen::Aligned(1));
    assert_eq!(gate.receive(0, batch(1)), Seen::Delivered(1), "it was recorded as overtaken, and nothing waits");
    assert_eq!(gate.receive(1, batch(8)), Seen::Delivered(8));
    assert_eq!(gate.overtaken(1, 1, &[9]), Seen::Recorded(1, vec![1, 2, 8, 9]));
    assert_eq!(gate.receive(0, batch(2)), Seen::Delivered(2));
}

#[test]
fn overlapping_recordings_each_have_their_own() {
    let mut gate = unaligned();
    assert_eq!(gate.overtaken(0, 1, &[1]), Seen::Aligned(1));
    assert_eq!(gate.overtaken(0, 2, &[1, 2]), Seen::Aligned(2));
    assert_eq!(gate.receive(1, batch(7)), Seen::Delivered(7));
    assert_eq!(gate.overtaken(1, 1, &[8]), Seen::Recorded(1, vec![1, 7, 8]));
    assert_eq!(gate.receive(1, batch(8)), Seen::Delivered(8));
    assert_eq!(gate.overtaken(1, 2, &[9]), Seen::Recorded(2, vec![1, 2, 7, 8, 9]));
}

#[test]
fn an_alignment_that_takes_too_long_becomes_a_recording() {
    let mut gate = unaligned();
    let soon = |n| overtaking(n, Some(at(50)));
    assert_eq!(gate.receive(0, soon(1)), Seen::Collecting(1));
    assert_eq!(gate.receive(0, batch(2)), Seen::Stashed(1));
    assert_eq!(gate.receive(1, batch(7)), Seen::Delivered(7));
    assert_eq!(gate.0.overtakes_at(), Some(at(50)));
    assert_eq!(gate.time_passed(at(49)), Seen::Nothing);
    assert_eq!(gate.time_passed(at(50)), Seen::Aligned(1));
    assert_eq!(gate.replay(), [Seen::Delivered(2)], "behind the barrier: no part of it");
    assert_eq!(gate.receive(1, batch(8)), Seen::Delivered(8));
    assert_eq!(gate.receive_at(1, soon(1), at(60)), Seen::Recorded(1, vec![8]));
    assert_eq!(gate.0.overtakes_at(), None);
}

#[test]
fn a_barrier_in_the_stash_overtakes_there_when_its_time_has_come() {
    let mut gate = unaligned();
    gate.receive(0, overtaking(1, Some(at(10))));
    for element in [batch(1), overtaking(2, Some(at(20))), batch(2)] {
        assert_eq!(gate.receive(0, element), Seen::Stashed(1));
    }
    assert_eq!(gate.time_passed(at(10)), Seen::Aligned(1));
    assert_eq!(gate.0.overtakes_at(), Some(at(20)));
    assert_eq!(gate.time_passed(at(20)), Seen::Aligned(2));
    assert_eq!(gate.replay(), [Seen::Delivered(1), Seen::Delivered(2)]);
    assert_eq!(gate.overtaken(1, 1, &[]), Seen::Recorded(1, vec![]));
    assert_eq!(gate.overtaken(1, 2, &[9]), Seen::Recorded(2, vec![1, 9]));
}

#[test]
fn an_older_barrier_that_is_passed_goes_and_its_checkpoint_is_declined() {
    let mut queue: VecDeque<_> = [batch(1), barrier(1), batch(2), overtaking(2, Some(at(5)))].into();
    assert!(overtake(&mut queue, at(4)).unwrap().is_none(), "not yet");
    let (passing, copies) = overtake(&mut queue, at(5)).unwrap().unwrap();
    assert_eq!((passing.checkpoint, copies.len(), queue.len()), (CheckpointId(2), 2, 2), "the batches stay");
    assert!(passing.is_due(at(0)), "whatever becomes of the clock");
    let mut gate = unaligned();
    gate.receive(0, barrier(1));
    assert_eq!(gate.overtaken(0, 2, &[]), [Seen::Declined(1), Seen::Aligned(2)]);
}

#[test]
fn what_was_put_back_and_not_handled_yet_is_in_flight_again() {
    let mut gate = unaligned();
    for record in [1, 2] {
        gate.0.put_back(ChannelIndex(0), batch(record));
    }
    assert!(!gate.can_read(1), "it comes before anything else");
    assert_eq!(gate.overtaken(0, 1, &[3]), Seen::Aligned(1));
    assert_eq!(gate.overtaken(1, 1, &[]), Seen::Recorded(1, vec![1, 2, 3]));
    assert_eq!(gate.replay(), [Seen::Delivered(1), Seen::Delivered(2)]);
}

#[test]
fn a_recording_is_given_up_when_a_newer_barrier_comes_first_or_when_it_is_cancelled() {
    let mut gate = unaligned();
    gate.overtaken(0, 1, &[1]);
    assert_eq!(gate.overtaken(1, 2, &[]), [Seen::Declined(1), Seen::Aligned(2)]);
    gate.cancel(2);
    assert_eq!(gate.overtaken(0, 2, &[1]), Seen::Nothing);
    assert_eq!(gate.overtaken(1, 1, &[]), Seen::Nothing);
    assert_eq!(gate.overtaken(0, 3, &[]), Seen::Aligned(3));
}

/// The head of a loop: channel 0 is ordinary, channel 1 comes round.
fn looped() -> Gate {
    let mut gate = Gate::new(2, ExactlyOnce, 4);
    gate.0.set_feedback(ChannelIndex(1));
    gate
}

#[test]
fn a_feedback_channel_is_not_waited_for_and_recorded_until_its_barrier_comes_round() {
    let mut gate = looped();
    assert_eq!(gate.receive(1, batch(10)), Seen::Delivered(10));
    assert_eq!(gate.receive(0, barrier(1)), Seen::Aligned(1));
    assert_eq!(gate.receive(1, batch(11)), Seen::Delivered(11));
    assert_eq!(gate.receive(0, batch(2)), Seen::Delivered(2), "nothing is blocked");
    assert_eq!(gate.receive(1, barrier(1)), Seen::Recorded(1, vec![11]));
    assert_eq!(gate.receive(1, batch(12)), Seen::Delivered(12));
}

#[test]
fn the_head_of_a_loop_is_quiet_only_after_its_input_has_ended_and_with_nothing_in_flight() {
    let quiet = |gate: &mut Gate, n| {
        let mut events = Vec::new();
        gate.0.receive(ChannelIndex(1), barrier(n), at(0), &mut events).unwrap();
        let Some(GateEvent::Recorded(_, recorded)) = events.last() else { panic!("{events:?}") };
        recorded.is_quiet
    };
    let mut gate = looped();
    gate.receive(0, barrier(1));
    assert!(!quiet(&mut gate, 1), "more may come");
    assert_eq!(gate.receive(0, end()), Seen::Time(Watermark::END), "of what comes in, not of what comes round");
    gate.receive(0, barrier(2));
    gate.receive(1, batch(11));
    assert!(!quiet(&mut gate, 2), "a batch came round");
    gate.receive(0, barrier(3));
    assert!(quiet(&mut gate, 3));
    let mut events = Vec::new();
    gate.0.end_loop(&mut events);
    assert!(matches!(events[..], [GateEvent::EndOfInput]), "{events:?}");
    assert_eq!(gate.receive(1, end()), Seen::Nothing, "its own end comes round");
}

/// A gate over two channels that waits, and has heard 5 on channel 0.
fn timed(mode: CheckpointMode) -> Gate {
    let mut gate = Gate::new(2, mode, 4);
    assert_eq!(gate.receive(0, mark(5)), Seen::Nothing, "channel 1 has said nothing");
    gate
}

#[test]
fn a_waiting_gate_hears_watermarks_and_tells_the_least_of_them() {
    for mode in MODES {
        let mut gate = timed(mode);
        assert_eq!(gate.receive(1, mark(3)), Seen::Time(active(3)));
        assert_eq!(gate.receive(0, mark(9)), Seen::Nothing);
        assert_eq!(gate.receive(1, mark(7)), Seen::Time(active(7)));
        assert_eq!(gate.receive(1, mark(7)), Seen::Nothing, "said twice");
        assert_eq!(gate.0.watermark(), active(7));
    }
}

#[test]
fn a_collecting_gate_hears_watermarks_of_channels_whose_barrier_is_out() {
    for mode in MODES {
        let mut gate = timed(mode);
        gate.receive(0, barrier(1));
        assert_eq!(gate.receive(1, mark(3)), Seen::Time(active(3)));
    }
}

#[test]
fn a_watermark_behind_the_barrier_waits_in_exactly_once_mode_only_and_replaces_the_one_before() {
    let mut gate = timed(ExactlyOnce);
    gate.receive(1, barrier(1));
    for time in 1..1000 {
        assert_eq!(gate.receive(1, mark(time)), Seen::Stashed(1));
        assert!(gate.can_read(1), "one element waits, not {time}");
    }
    gate.receive(1, batch(7));
    gate.receive(1, idle_mark(1000));
    assert_eq!(gate.receive(0, barrier(1)), Seen::Aligned(1));
    let expected = [Seen::Time(active(5)), Seen::Delivered(7)];
    assert_eq!(gate.replay(), expected, "1000 is past what channel 0 says");
    let mut gate = timed(AtLeastOnce);
    gate.receive(1, barrier(1));
    assert_eq!(gate.receive(1, mark(3)), Seen::Time(active(3)));
}

#[test]
fn a_batch_wakes_its_idle_channel() {
    for mode in MODES {
        let mut gate = timed(mode);
        assert_eq!(gate.receive(1, idle_mark(2)), Seen::Time(active(5)), "nobody waits for channel 1");
        assert_eq!(gate.receive(0, idle_mark(6)), Seen::Time(idle(6)), "the maximum of the idle");
        assert_eq!(gate.receive(1, batch(7)), [Seen::Time(active(6)), Seen::Delivered(7)], "time does not fall to 2");
        assert_eq!(gate.receive(1, batch(8)), Seen::Delivered(8));
        assert_eq!(gate.receive(0, mark(20)), Seen::Nothing, "channel 1 is awake, at 2");
        assert_eq!(gate.receive(1, mark(9)), Seen::Time(active(9)));
    }
}

#[test]
fn an_ended_channel_holds_nothing_back_and_is_not_compared_with_idle_ones() {
    for mode in MODES {
        let mut gate = Gate::new(3, mode, 4);
        gate.receive(0, mark(5));
        gate.receive(1, mark(6));
        assert_eq!(gate.receive(2, end()), Seen::Time(active(5)));
        assert_eq!(gate.receive(0, idle_mark(5)), Seen::Time(active(6)));
        assert_eq!(gate.receive(1, idle_mark(7)), Seen::Time(idle(7)), "the end of channel 2 does not count");
        assert_eq!(gate.receive(0, end()), Seen::Nothing);
        assert_eq!(gate.receive(1, end()), Seen::Ended);
        assert_eq!(gate.0.watermark(), Watermark::END);
    }
}

#[test]
fn channels_without_time_and_those_that_come_round_do_not_count() {
    for mode in MODES {
        let mut gate = Gate::new(3, mode, 4);
        gate.0.set_untimed(ChannelIndex(1));
        gate.0.set_feedback(ChannelIndex(2));
        assert_eq!(gate.receive(1, idle_mark(9)), Seen::Nothing);
        assert_eq!(gate.receive(2, mark(9)), Seen::Nothing);
        assert_eq!(gate.receive(0, mark(3)), Seen::Time(active(3)));
        assert_eq!(gate.0.times().channels, [active(3), Watermark::NONE, Watermark::NONE]);
    }
}

#[test]
fn a_recording_has_watermarks_in_their_place_among_the_batches() {
    let mut gate = unaligned();
    assert_eq!(gate.receive(1, mark(1)), Seen::Nothing);
    assert_eq!(gate.overtaken(0, 1, &[1, -4, 2]), Seen::Aligned(1));
    assert_eq!(gate.0.times().channels, [Watermark::NONE, active(1)], "what is in flight was not heard");
    gate.receive(1, batch(7));
    (2..1000).for_each(|time| drop(gate.receive(1, mark(time))));
    gate.receive(1, batch(8));
    let recorded = vec![1, -4, 2, 7, -999, 8, -1000, 9];
    assert_eq!(gate.overtaken(1, 1, &[-1000, 9]), Seen::Recorded(1, recorded), "one of many in a row");
}

#[test]
fn a_watermark_in_the_stash_is_copied_when_a_barrier_overtakes_it_there() {
    let mut gate = unaligned();
    gate.receive(0, overtaking(1, Some(at(10))));
    for element in [mark(3), batch(1), mark(4), overtaking(2, Some(at(20)))] {
        assert_eq!(gate.receive(0, element), Seen::Stashed(1));
    }
    assert_eq!(gate.time_passed(at(20)), [Seen::Aligned(1), Seen::Aligned(2)]);
    gate.overtaken(1, 1, &[]);
    assert_eq!(gate.overtaken(1, 2, &[]), Seen::Recorded(2, vec![-3, 1, -4]));
    assert_eq!(gate.replay(), [Seen::Delivered(1)]);
    assert_eq!(gate.0.times().channels[0], active(4), "and it was heard in its turn");
}

#[test]
fn overtaken_watermarks_keep_their_place_among_the_batches() {
    let mut queue: VecDeque<_> = [mark(1), batch(1), mark(2), barrier(1), mark(3), overtaking(2, Some(at(5)))].into();
    let (_, copies) = overtake(&mut queue, at(5)).unwrap().unwrap();
    let mut gate = unaligned();
    let StreamElement::Barrier(barrier, _) = overtaking(2, Some(at(0))) else { unreachable!() };
    let mut events = Vec::new();
    gate.0.overtaken(ChannelIndex(0), barrier, copies, at(0), &mut events).unwrap();
    assert_eq!(gate.overtaken(1, 2, &[]), Seen::Recorded(2, vec![-1, 1, -2, -3]));
    assert_eq!(queue.len(), 4, "they stay where they were");
}

#[test]
fn a_gate_that_goes_on_from_a_snapshot_is_as_it_was_and_what_is_said_again_changes_nothing() {
    let mut gate = Gate::new(3, ExactlyOnce, 4);
    gate.receive(0, mark(5));
    gate.receive(1, idle_mark(3));
    assert_eq!(gate.receive(2, mark(8)), Seen::Time(active(5)));
    gate.receive(0, idle_mark(6));
    let saved = gate.0.times();
    let mut restored = Gate::new(3, ExactlyOnce, 4);
    restored.0.restore_times(&saved);
    assert_eq!((restored.0.watermark(), restored.0.times()), (gate.0.watermark(), saved));
    for (channel, again) in [(0, idle_mark(6)), (1, idle_mark(3)), (2, mark(8)), (2, mark(4))] {
        assert_eq!(restored.receive(channel, again), Seen::Nothing);
    }
    assert_eq!(restored.receive(2, mark(9)), Seen::Time(active(9)));
}

#[test]
fn a_watermark_that_was_put_back_is_heard_behind_the_batches_in_front_of_it() {
    let mut gate = unaligned();
    for element in [batch(1), mark(4), batch(2)] {
        gate.0.put_back(ChannelIndex(0), element);
    }
    gate.0.put_back(ChannelIndex(1), mark(9));
    assert_eq!(gate.overtaken(0, 1, &[3]), Seen::Aligned(1));
    assert_eq!(gate.overtaken(1, 1, &[]), Seen::Recorded(1, vec![1, -4, 2, 3, -9]), "in flight again");
    assert_eq!(gate.replay(), [Seen::Delivered(1), Seen::Delivered(2), Seen::Time(active(4))]);
}
