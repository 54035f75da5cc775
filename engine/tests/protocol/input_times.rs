//! What the inputs say of time together, whatever the order in which they say it.

use cofferdam_engine::{ChannelIndex, Timestamp, Watermark, checkpoint::input_times::InputTimes};
use proptest::{prelude::*, sample::Index};

#[derive(Clone, Copy, Debug)]
enum Heard {
    Mark(Watermark),
    Batch,
    End,
}

fn hear(times: &mut InputTimes, channel: usize, heard: Heard) -> bool {
    let channel = ChannelIndex(channel as u32);
    match heard {
        Heard::Mark(mark) => times.heard(channel, mark),
        Heard::Batch => times.batch(channel),
        Heard::End => times.ended(channel),
    }
}

fn mark(time: i64, is_idle: bool) -> Watermark {
    Watermark { time: Timestamp(time), is_idle }
}

/// How a channel's watermarks close.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Close {
    Active,
    Idle,
    Ended,
}

/// Growing times, and then perhaps idleness, or the end.
fn channel(last: Close) -> impl Strategy<Value = Vec<Heard>> {
    prop::collection::vec(0..20i64, 1..6).prop_map(move |mut steps| {
        let mut time = 0;
        steps.iter_mut().for_each(|step| {
            time += *step;
            *step = time;
        });
        let mut all: Vec<_> = steps.iter().map(|time| Heard::Mark(mark(*time, false))).collect();
        all.extend(match last {
            Close::Active => None,
            Close::Idle => Some(Heard::Mark(mark(time, true))),
            Close::Ended => Some(Heard::End),
        });
        all
    })
}

/// Channels of which some are idle at last, or some have ended, but not the one kind waiting for the other: which of them came first decides then whether a channel
/// that was alone for a while has moved time, which never falls.
fn channels() -> impl Strategy<Value = Vec<Vec<Heard>>> {
    let close = |quiet: Close| prop::collection::vec(prop_oneof![Just(Close::Active), Just(quiet)], 1..5);
    let closes = prop_oneof![close(Close::Idle), close(Close::Ended)];
    closes.prop_flat_map(|closes| closes.into_iter().map(channel).collect::<Vec<_>>())
}

/// The rule, said of the last of each channel.
fn expected(channels: &[Vec<Heard>]) -> Watermark {
    let (mut active, mut idle) = (Vec::new(), Vec::new());
    for heard in channels.iter().filter_map(|channel| channel.last()) {
        match heard {
            Heard::Mark(mark) if mark.is_idle => idle.push(mark.time),
            Heard::Mark(mark) => active.push(mark.time),
            _ => {}
        }
    }
    match (active.iter().min(), idle.iter().max()) {
        (Some(time), _) => mark(time.0, false),
        (None, Some(time)) => mark(time.0, true),
        (None, None) => Watermark::END,
    }
}

/// Hears all of it, each channel in its order.
fn interleaved(channels: &[Vec<Heard>], order: &[Index]) -> InputTimes {
    let mut times = InputTimes::new(channels.len());
    let mut next = vec![0; channels.len()];
    let mut order = order.iter().cycle();
    loop {
        let open: Vec<_> = (0..channels.len()).filter(|channel| next[*channel] < channels[*channel].len()).collect();
        let (false, Some(index)) = (open.is_empty(), order.next()) else { return times };
        let channel = *index.get(&open);
        hear(&mut times, channel, channels[channel][next[channel]]);
        next[channel] += 1;
    }
}

fn anything() -> impl Strategy<Value = Heard> {
    prop_oneof![
        6 => (0..50i64, any::<bool>()).prop_map(|(time, is_idle)| Heard::Mark(mark(time, is_idle))),
        3 => Just(Heard::Batch),
        1 => Just(Heard::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_combination_does_not_depend_on_the_order_of_the_channels(
        channels in channels(), order in prop::collection::vec(any::<Index>(), 1..40),
    ) {
        prop_assert_eq!(interleaved(&channels, &order).combined(), expected(&channels));
    }

    #[test]
    fn time_never_falls_and_each_change_is_told(
        heard in prop::collection::vec((0..4usize, anything()), 0..60),
    ) {
        let mut times = InputTimes::new(4);
        times.leave_out(ChannelIndex(3));
        for (channel, heard) in heard {
            let before = times.combined();
            let has_changed = hear(&mut times, channel, heard);
            prop_assert_eq!(has_changed, times.combined() != before);
            prop_assert!(times.combined().time >= before.time);
            prop_assert!(channel != 3 || !has_changed, "it does not count");
        }
    }

    #[test]
    fn what_was_saved_comes_back_and_said_again_changes_nothing(
        heard in prop::collection::vec((0..3usize, anything()), 0..60),
    ) {
        let mut times = InputTimes::new(3);
        for (channel, heard) in heard.into_iter().filter(|(_, heard)| !matches!(heard, Heard::End)) {
            hear(&mut times, channel, heard);
        }
        let saved = times.save();
        let mut restored = InputTimes::new(3);
        restored.restore(&saved);
        prop_assert_eq!(restored.combined(), times.combined());
        for (channel, last) in saved.channels.iter().enumerate() {
            prop_assert!(!hear(&mut restored, channel, Heard::Mark(*last)));
        }
        prop_assert_eq!(restored.save(), saved);
    }
}
