//! Pairs of records whose times are near each other.

use std::ops::RangeInclusive;

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        Operator,
        process_timed::{Context, TimeRule},
    },
    record::Record,
    state,
    time::{Offset, Stamped, Timestamp},
    topology::{
        connect::{ConnectedStreams, KeyedCoProcess},
        fault::TopologyFault,
        join::waiting::{Waiting, WaitingOf, earliest, first, put, set_timer, take_first},
        process_fn::Fired,
        stream::Stream,
        window::late::Late,
    },
};

/// How many milliseconds later than a left record its right partners may be.
#[derive(Clone, Copy)]
struct Within {
    lower: i64,
    upper: i64,
}

impl Within {
    /// What comes later than this finds no left record of `time` any more, and so it can go when time has come there: at the last moment, if not before.
    fn left_until(self, time: Timestamp) -> Timestamp {
        from(time, self.upper).min(Timestamp::LAST)
    }

    fn right_until(self, time: Timestamp) -> Timestamp {
        from(time, -self.lower).min(Timestamp::LAST)
    }

    /// The times at which partners of a left record may be.
    fn of_left(self, time: Timestamp) -> RangeInclusive<Timestamp> {
        from(time, self.lower)..=from(time, self.upper)
    }

    fn of_right(self, time: Timestamp) -> RangeInclusive<Timestamp> {
        from(time, -self.upper)..=from(time, -self.lower)
    }
}

/// The moment so much later; one that no record has if there is none.
fn from(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp(time.0.saturating_add(millis))
}

/// The function of such a join.
pub struct IntervalJoin<A, B, F> {
    within: Within,
    function: F,
    late: (Late<A>, Late<B>),
}

impl<A, B, F: Clone> Clone for IntervalJoin<A, B, F> {
    fn clone(&self) -> Self {
        Self { within: self.within, function: self.function.clone(), late: self.late.clone() }
    }
}

/// Left records, and right ones.
type Sides<A, B> = (Waiting<A>, Waiting<B>);

impl<A: Record, B: Record, F> IntervalJoin<A, B, F> {
    /// When the next record can go.
    fn due<K: Key>(&self, (left, right): &(WaitingOf<'_, K, A>, WaitingOf<'_, K, B>)) -> Option<Timestamp> {
        let left = first(left).map(|time| self.within.left_until(time));
        let right = first(right).map(|time| self.within.right_until(time));
        earliest([left, right])
    }
}

/// Those of a side that lie within some times.
fn near<'a, K: Key, T: Record>(
    side: &'a WaitingOf<'_, K, T>,
    times: RangeInclusive<Timestamp>,
) -> impl Iterator<Item = (Timestamp, &'a T)> {
    let (from, to) = times.into_inner();
    side.range((from, 0)..=(to, u32::MAX)).map(|((time, _), record)| (*time, record))
}

impl<K, A, B, R, F> KeyedCoProcess<K, A, B> for IntervalJoin<A, B, F>
where
    K: Key,
    A: Record,
    B: Record,
    R: Send + 'static,
    F: FnMut(&K, &A, &B) -> R + Clone + Send + 'static,
{
    type States = Sides<A, B>;
    type Timer = ();
    type Out = R;

    fn states(&self) -> Sides<A, B> {
        (state::map("left"), state::map("right"))
    }

    fn on_left(&mut self, record: A, cx: &mut Context<'_, K, Sides<A, B>, (), R>) -> Result<(), BoxError> {
        let (key, time, clock) = (cx.key(), cx.timestamp(), cx.event_time());
        if time <= clock {
            self.late.0.add(record, cx);
            return Ok(());
        }
        let ((_, right), out) = cx.states_and_out();
        for (other, partner) in near(right, self.within.of_left(time)) {
            out.push_back(Stamped { record: (self.function)(key, &record, partner), time: time.max(other) });
        }
        let until = self.within.left_until(time);
        if until > clock {
            let was = self.due(cx.states());
            put(&mut cx.states().0, time, record);
            set_timer(cx, was, earliest([was, Some(until)]));
        }
        Ok(())
    }

    fn on_right(&mut self, record: B, cx: &mut Context<'_, K, Sides<A, B>, (), R>) -> Result<(), BoxError> {
        let (key, time, clock) = (cx.key(), cx.timestamp(), cx.event_time());
        if time <= clock {
            self.late.1.add(record, cx);
            return Ok(());
        }
        let ((left, _), out) = cx.states_and_out();
        for (other, partner) in near(left, self.within.of_right(time)) {
            out.push_back(Stamped { record: (self.function)(key, partner, &record), time: time.max(other) });
        }
        let until = self.within.right_until(time);
        if until > clock {
            let was = self.due(cx.states());
            put(&mut cx.states().1, time, record);
            set_timer(cx, was, earliest([was, Some(until)]));
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Fired, cx: &mut Context<'_, K, Sides<A, B>, (), R>) -> Result<(), BoxError> {
        let (within, clock) = (self.within, cx.event_time());
        let (left, right) = cx.states();
        while take_first(left, |time| within.left_until(time) <= clock).is_some() {}
        while take_first(right, |time| within.right_until(time) <= clock).is_some() {}
        let due = self.due(cx.states());
        set_timer(cx, None, due);
        Ok(())
    }

    /// With other bounds the timers that are set would be at the wrong moments, and what is gone could have matched.
    fn rule(&self) -> TimeRule {
        let Within { lower, upper } = self.within;
        TimeRule { of: format!("interval join from {lower} ms to {upper} ms"), ..TimeRule::default() }
    }

    fn take_late(&mut self) -> u64 {
        self.late.0.take() + self.late.1.take()
    }
}

impl<K: Key, A: Record, B: Record> ConnectedStreams<K, A, B, Timestamp> {
    /// Gives `function` each pair of a record of the first stream and one of the second with the same key, whose times are near each other: the second one's is `within` so much of
    /// the first one's, bounds included. What it gives has the later one's time, and leaves as soon as both are there.
    ///
    /// ```text
    /// within  Offset::before(2 s)..=Offset::after(3 s)
    ///
    ///  first  -----------------a---------------------->
    ///                      |<--+---->|
    ///  second --b1----------b2--------b3----b4-------->      (a, b2) and (a, b3)
    /// ```
    ///
    /// A record is kept until the watermark says that none of its partners can come any more: one of the first stream for `within`'s end, one of the second for as much as
    /// `within` begins earlier. One that comes when the watermark has come to its time is late: it is dropped and counted, or goes [to a side output](Self::late_left_to).
    ///
    /// ```
    /// use std::time::Duration;
    /// use cofferdam_engine::{Timestamp, TwoPhaseSink, time::Offset, topology::KeyedStream};
    ///
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Order { id: u64 }
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Payment { cents: u64 }
    /// /// Payments within an hour of their order; a clock may be wrong by a second.
    /// fn paid(orders: KeyedStream<u64, Order, Timestamp>, payments: KeyedStream<u64, Payment, Timestamp>, rows: impl TwoPhaseSink<(u64, u64)>) {
    ///     let within = Offset::before(Duration::from_secs(1))..=Offset::after(Duration::from_secs(3600));
    ///     orders.connect(payments).interval_join("paid", within, |_, order, payment| (order.id, payment.cents)).sink("rows", rows);
    /// }
    /// ```
    ///
    /// Bounds that are not negative may be durations: `Duration::ZERO..=Duration::from_secs(60)`. They are whole milliseconds, as times are. A start with other bounds over the
    /// state of this step is refused.
    pub fn interval_join<R, D, F>(
        self,
        name: impl Into<String>,
        within: RangeInclusive<D>,
        function: F,
    ) -> Stream<impl Operator<Out = R, Time = Timestamp>>
    where
        R: Send + 'static,
        D: Into<Offset>,
        F: FnMut(&K, &A, &B) -> R + Clone + Send + 'static,
    {
        let (name, (lower, upper)) = (name.into(), within.into_inner());
        let (lower, upper): (Offset, Offset) = (lower.into(), upper.into());
        let within = Within { lower: lower.as_millis(), upper: upper.as_millis() };
        let nothing = (lower > upper).then(|| {
            let Within { lower, upper } = within;
            format!("it is of records within {lower} ms and {upper} ms, and nothing is: the first bound must not be above the second")
        });
        let faults = [lower.fault("first bound"), upper.fault("second bound"), nothing].into_iter().flatten();
        let faults = faults.map(|message| TopologyFault::Setting { message: format!("join '{name}': {message}") });
        self.either.stream.graph.lock().faults.extend(faults);
        self.joined(name, move |late| IntervalJoin { within, function, late })
    }
}
