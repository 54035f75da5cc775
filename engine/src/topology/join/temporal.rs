//! Each record with the version of a table that was valid at its time.

use crate::{
    error::BoxError,
    key::Key,
    operator::{Operator, process_timed::Context},
    record::Record,
    state::{
        self, MapState,
        descriptor::{Entries, StateDescriptor},
    },
    time::{Stamped, Timestamp},
    topology::{
        connect::{ConnectedStreams, KeyedCoProcess},
        join::waiting::{Waiting, WaitingOf, earliest, first, put, set_timer, take_first},
        process_fn::Fired,
        stream::Stream,
        window::late::Late,
    },
};

/// The function of such a join.
pub struct TemporalJoin<A, V, F> {
    function: F,
    late: (Late<A>, Late<Option<V>>),
}

impl<A, V, F: Clone> Clone for TemporalJoin<A, V, F> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), late: self.late.clone() }
    }
}

/// Versions by the time from which they are valid; `None`: from then on there is none.
type Versions<V> = StateDescriptor<Entries<Timestamp>, Option<V>>;
type VersionsOf<'a, K, V> = MapState<'a, K, Timestamp, Option<V>>;

type States<A, V> = (Waiting<A>, Versions<V>);

/// When the first version is not needed any more: none comes that it is valid for. At its own time, if it is none.
fn first_goes<K: Key, V: Record>(versions: &VersionsOf<'_, K, V>) -> Option<Timestamp> {
    let mut all = versions.range(..);
    let (time, first) = all.next()?;
    if first.is_none() { Some(*time) } else { all.next().map(|(time, _)| *time) }
}

/// When something has to be done.
fn due<K: Key, A: Record, V: Record>(
    (waiting, versions): &(WaitingOf<'_, K, A>, VersionsOf<'_, K, V>),
) -> Option<Timestamp> {
    earliest([first(waiting), first_goes(versions)])
}

impl<K, A, V, I, F> KeyedCoProcess<K, A, Option<V>> for TemporalJoin<A, V, F>
where
    K: Key,
    A: Record,
    V: Record,
    I: IntoIterator<Item: Send + 'static>,
    F: FnMut(&K, A, Option<&V>) -> I + Clone + Send + 'static,
{
    type States = States<A, V>;
    type Timer = ();
    type Out = I::Item;

    fn states(&self) -> States<A, V> {
        (state::map("waiting"), state::map("versions"))
    }

    fn on_left(&mut self, record: A, cx: &mut Context<'_, K, States<A, V>, (), I::Item>) -> Result<(), BoxError> {
        let time = cx.timestamp();
        if time <= cx.event_time() {
            self.late.0.add(record, cx);
            return Ok(());
        }
        let was = due(cx.states());
        put(&mut cx.states().0, time, record);
        set_timer(cx, was, earliest([was, Some(time)]));
        Ok(())
    }

    fn on_right(
        &mut self,
        version: Option<V>,
        cx: &mut Context<'_, K, States<A, V>, (), I::Item>,
    ) -> Result<(), BoxError> {
        let time = cx.timestamp();
        if time <= cx.event_time() {
            self.late.1.add(version, cx);
            return Ok(());
        }
        let was = due(cx.states());
        cx.states().1.insert(time, version);
        let due = due(cx.states());
        set_timer(cx, was, due);
        Ok(())
    }

    fn on_timer(&mut self, _: Fired, cx: &mut Context<'_, K, States<A, V>, (), I::Item>) -> Result<(), BoxError> {
        let (key, clock) = (cx.key(), cx.event_time());
        let ((waiting, versions), out) = cx.states_and_out();
        while let Some((time, record)) = take_first(waiting, |time| time <= clock) {
            let version = versions.range(..=time).next_back().and_then(|(_, version)| version.as_ref());
            let rows = (self.function)(key, record, version);
            out.extend(rows.into_iter().map(|record| Stamped { record, time }));
        }
        while first_goes(versions).is_some_and(|goes| goes <= clock) {
            let Some(first) = versions.first_key().copied() else { break };
            versions.remove(&first);
        }
        let due = due(cx.states());
        set_timer(cx, None, due);
        Ok(())
    }

    fn take_late(&mut self) -> u64 {
        self.late.0.take() + self.late.1.take()
    }
}

impl<K: Key, A: Record, V: Record> ConnectedStreams<K, A, Option<V>, Timestamp> {
    /// Gives `function` each record of the first stream with the version that was valid at the record's time: of those that the second stream has for its key, the newest one that is not
    /// later. `None` in the second stream says that from its time on nothing is valid; the function is given `None` if nothing is, or nothing yet. Of two versions of one time, the one
    /// that came last counts.
    ///
    /// ```text
    ///  second ---v1 (10)-----------------v2 (20)-------------------None (40)---->
    ///  first  ------------a (15)---b (20)----------c (39)-----------d (41)------>
    ///                     v1       v2              v2               None
    /// ```
    ///
    /// A record waits until the watermark has come to its time: then all versions that can matter are there. Its rows have its time, and those of a key are in order of time. What `function` gives
    /// is what the join gives: an [`Option`], with `?` for records that have to have a version, or any number.
    ///
    /// Of each key the version that is valid at the watermark is kept, if there is one, with later ones and the records that wait. A record, or a version, that comes when the watermark has come to its
    /// time is late: it is dropped and counted, or goes [to a side output](Self::late_left_to).
    ///
    /// ```
    /// use cofferdam_engine::{Timestamp, TwoPhaseSink, topology::KeyedStream};
    ///
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Order { id: u64, cents: u64 }
    /// type Rate = f64;
    ///
    /// /// Orders by currency, each at the rate of its moment.
    /// fn in_euros(orders: KeyedStream<String, Order, Timestamp>, rates: KeyedStream<String, Option<Rate>, Timestamp>, rows: impl TwoPhaseSink<(u64, f64)>) {
    ///     orders
    ///         .connect(rates)
    ///         .temporal_join("in euros", |_currency, order, rate| Some((order.id, order.cents as f64 * rate?)))
    ///         .sink("rows", rows);
    /// }
    /// ```
    ///
    /// For a left join, do without `?`: `|_, order, rate| Some((order.id, rate.copied()))`.
    pub fn temporal_join<I, F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<impl Operator<Out = I::Item, Time = Timestamp>>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: FnMut(&K, A, Option<&V>) -> I + Clone + Send + 'static,
    {
        self.joined(name.into(), move |late| TemporalJoin { function, late })
    }
}
