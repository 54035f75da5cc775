//! Streams cut in several, each record going to one of them.

use crate::{
    key::Key,
    operator::{
        Input, Operator,
        part::{Part, Parted},
    },
    output::exchange::{Exchange, InTurn, ToOne},
    record::Record,
    topology::{
        graph::EdgeKind,
        keyed_stream::KeyedStream,
        side_output::SideOutput,
        stream::{Stream, received},
    },
};

impl<O: Operator> Stream<O> {
    /// Cuts the stream in two: `function` says of each record what goes on in this stream, or what goes to a side output, the second stream; their types may differ. The first goes
    /// on in the same chain, so let it be the one that has more. No record is cloned.
    ///
    /// The name is that of the second stream.
    ///
    /// ```
    /// use cofferdam_engine::{Source, TwoPhaseSink, topology::{Part, Topology}};
    ///
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Bid;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Auction;
    /// enum Event {
    ///     Bid(Bid),
    ///     Auction(Auction),
    /// }
    ///
    /// fn parted(events: impl Source<Record = Event>, bids_out: impl TwoPhaseSink<Bid>, auctions_out: impl TwoPhaseSink<Auction>) {
    ///     let topology = Topology::new("parted");
    ///     let (bids, auctions) = topology.source("events", events).part("auctions", |event| match event {
    ///         Event::Bid(bid) => Part::Main(bid),
    ///         Event::Auction(auction) => Part::Side(auction),
    ///     });
    ///     bids.sink("bids-out", bids_out);
    ///     auctions.sink("auctions-out", auctions_out);
    /// }
    /// ```
    pub fn part<M, X, F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> (Stream<Parted<O, F, X>>, Stream<Input<X, O::Time>>)
    where
        M: 'static,
        X: Record,
        F: FnMut(O::Out) -> Part<M, X> + Clone + Send + 'static,
    {
        let (parted, side) = self.parted(name.into(), function);
        (parted, side.stream())
    }

    /// As [`part`](Self::part), for a second stream whose records are keys and values: each value goes straight to the subtask that owns its key.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::{Part, Topology}};
    /// # fn sold(events: impl Source<Record = Result<(u64, u32), (u64, String)>>, sink: impl TwoPhaseSink<(String, u32)>) {
    /// // Bids as (auction, cents), and auctions as (auction, title).
    /// let topology = Topology::new("titled");
    /// let (bids, titles) = topology.source("events", events).part_keyed("titles", |event| match event {
    ///     Ok(bid) => Part::Main(bid),
    ///     Err(title) => Part::Side(title),
    /// });
    /// bids.keyed(|bid| bid)
    ///     .connect(titles)
    ///     .process_with(
    ///         "titled",
    ///         state::value::<String>("title"),
    ///         |_, cents, title, out| title.get().into_iter().for_each(|title| out.emit((title.clone(), cents))),
    ///         |_, new, title, _| title.set(new),
    ///     )
    ///     .sink("titled-out", sink);
    /// # }
    /// ```
    pub fn part_keyed<M, K, V, F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> (Stream<Parted<O, F, (K, V)>>, KeyedStream<K, V, O::Time>)
    where
        M: 'static,
        K: Key,
        V: Record,
        F: FnMut(O::Out) -> Part<M, (K, V)> + Clone + Send + 'static,
    {
        let (parted, side) = self.parted(name.into(), function);
        (parted, side.keyed_stream())
    }

    fn parted<M, X, F>(self, name: String, function: F) -> (Stream<Parted<O, F, X>>, SideOutput<X, O::Time>)
    where
        M: 'static,
        X: Record,
        F: FnMut(O::Out) -> Part<M, X> + Clone + Send + 'static,
    {
        let step = self.graph.lock().add_step("part", None, None);
        let side = self.side_output(name);
        let tag = side.tag();
        let parted = self.then(step, move |upstream, _| Parted {
            step,
            upstream,
            function: function.clone(),
            side: tag.clone(),
        });
        (parted.with_side(&side), side)
    }

    /// Cuts the stream in `N`: `function` says for each record to which of them it goes, from 0 on. No record is cloned; for streams that all get every record, there is
    /// [`share`](Stream::share). A number that is none of theirs fails the attempt.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
    /// # fn example(numbers: impl Source<Record = i64>, even: impl TwoPhaseSink<i64>, odd: impl TwoPhaseSink<i64>) {
    /// let topology = Topology::new("parity");
    /// let [evens, odds] = topology.source("numbers", numbers).split(|n| (n % 2 != 0) as usize);
    /// evens.sink("even", even);
    /// odds.sink("odd", odd);
    /// # }
    /// ```
    pub fn split<const N: usize, F>(mut self, function: F) -> [Stream<Input<O::Out, O::Time>>; N]
    where
        O::Out: Record,
        F: FnMut(&O::Out) -> usize + Clone + Send + 'static,
    {
        let step = self.graph.lock().add_step("split", None, None);
        self.consume_last();
        self.steps.push(step);
        self.last = step;
        let (graph, edges, _) = self.close(&[EdgeKind::Forward; N], None, move |context, edges| {
            let mut lanes = 0;
            let parts = edges.iter().map(|edge| {
                let first = lanes;
                lanes += context.lanes(*edge);
                (first..lanes, InTurn::starting_at(context.subtask.index()))
            });
            let parts = parts.collect();
            Exchange::new(lanes, context.batch_size, ToOne { step, function: function.clone(), parts })
        });
        std::array::from_fn(|part| {
            let first = graph.lock().add_step("part of split", None, None);
            received(graph.clone(), first, vec![edges[part]])
        })
    }
}
