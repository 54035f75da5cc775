//! Each record with what a table holds when it comes.

use crate::{
    error::BoxError,
    key::Key,
    operator::{Operator, process_timed::Context},
    record::Record,
    state::{
        descriptor::{OneValue, StateDescriptor},
        ttl::Lifetime,
    },
    time::Stamp,
    topology::{
        connect::{ConnectedStreams, KeyedCoProcess},
        stream::Stream,
    },
};

/// The function of such a join.
#[derive(Clone)]
pub struct LookupJoin<T, F> {
    table: T,
    function: F,
}

impl<K, A, V, S, L, I, F> KeyedCoProcess<K, A, Option<V>, S> for LookupJoin<StateDescriptor<OneValue, V, L>, F>
where
    K: Key,
    A: Record,
    V: Record,
    S: Stamp,
    L: Lifetime,
    I: IntoIterator<Item: Send + 'static>,
    F: FnMut(&K, A, Option<&V>) -> I + Clone + Send + 'static,
{
    type States = StateDescriptor<OneValue, V, L>;
    type Timer = ();
    type Out = I::Item;

    fn states(&self) -> Self::States {
        self.table.clone()
    }

    #[inline]
    fn on_left(&mut self, record: A, cx: &mut Context<'_, K, Self::States, (), I::Item, S>) -> Result<(), BoxError> {
        let key = cx.key();
        let rows = (self.function)(key, record, cx.states().get());
        rows.into_iter().for_each(|row| cx.emit(row));
        Ok(())
    }

    #[inline]
    fn on_right(
        &mut self,
        row: Option<V>,
        cx: &mut Context<'_, K, Self::States, (), I::Item, S>,
    ) -> Result<(), BoxError> {
        match row {
            Some(row) => cx.states().set(row),
            None => cx.states().clear(),
        }
        Ok(())
    }
}

impl<K: Key, A: Record, V: Record, S: Stamp> ConnectedStreams<K, A, Option<V>, S> {
    /// Gives `function` each record of the first stream with the row that the second stream, a changing table, has for its key at that moment: the last one that came, or `None` if none has,
    /// or the last that came was `None`, which deletes it. What `function` gives is what the join gives, at once and with the record's time: an [`Option`], with `?` for records that have to
    /// have a row, or any number.
    ///
    /// At that moment means as the records of the two streams happen to come by: when a job is restarted, and they are read again, they may come by in another order, and a record may find another row. (What the sinks
    /// have published stays as it is.) Where that matters and there is event time, there is [`temporal_join`](ConnectedStreams::temporal_join).
    ///
    /// `table` says how the rows are kept, one for each key and for ever, unless it is given a [time to live](crate::state::Ttl) or a row is deleted.
    ///
    /// ```
    /// use cofferdam_engine::{TwoPhaseSink, state, topology::KeyedStream};
    ///
    /// /// Orders by customer, with the customer's name as far as it is known.
    /// fn named(orders: KeyedStream<u64, u32>, names: KeyedStream<u64, Option<String>>, rows: impl TwoPhaseSink<(u64, u32, Option<String>)>) {
    ///     orders
    ///         .connect(names)
    ///         .lookup_join("named", state::value("names"), |customer, cents, name| Some((*customer, cents, name.cloned())))
    ///         .sink("rows", rows);
    /// }
    /// ```
    pub fn lookup_join<L, I, F>(
        self,
        name: impl Into<String>,
        table: StateDescriptor<OneValue, V, L>,
        function: F,
    ) -> Stream<impl Operator<Out = I::Item, Time = S>>
    where
        L: Lifetime,
        I: IntoIterator<Item: Send + 'static>,
        F: FnMut(&K, A, Option<&V>) -> I + Clone + Send + 'static,
    {
        self.process_fn(name, LookupJoin { table, function })
    }
}
