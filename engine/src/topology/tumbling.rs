//! Windows one behind the other.

use crate::{
    key::Key,
    operator::{keyed::table_place, pane_window::PaneWindow, timed::Timed},
    record::Record,
    state::Aggregate,
    time::Timestamp,
    topology::{keyed_stream::KeyedStream, stream::Stream},
    window::{Tumbling, Windows},
};

impl<K: Key, T: Record> KeyedStream<K, T, Timestamp> {
    /// Gives what `aggregate` makes of each key's records in each window, when the window is complete: a [`Windowed`](crate::window::Windowed), with the last
    /// moment of the window as its time. Ready-made aggregates are in [`window::aggregates`](crate::window::aggregates). The name is the address of the windows in checkpoints.
    ///
    /// A window is complete when the watermark has reached its last moment, and gives each key's row once, whatever fails. At the end of input all of them are. A record whose window is complete
    /// already is late, and is left out: the job's status says how many are (`late_records`).
    ///
    /// ```
    /// use std::time::Duration;
    /// use cofferdam_engine::{Timestamp, TwoPhaseSink, topology::KeyedStream, window::{Tumbling, Windowed, aggregates::MaxBy}};
    ///
    /// fn highest(bids: KeyedStream<u64, u32, Timestamp>, rows: impl TwoPhaseSink<Windowed<u64, Option<u32>>>) {
    ///     let ten_seconds = Tumbling::of(Duration::from_secs(10));
    ///     bids.tumbling("highest", ten_seconds, MaxBy::by(|price| *price)).sink("rows", rows);
    /// }
    /// ```
    pub fn tumbling<A>(
        self,
        name: impl Into<String>,
        windows: Tumbling,
        aggregate: A,
    ) -> Stream<Timed<K, PaneWindow<K, T, A>>>
    where
        A: Aggregate<In = T, Out: Send + 'static>,
    {
        let name = name.into();
        let faults = windows.faults_of(&name);
        let step = self.add("window", name, PaneWindow::<K, T, A>::declared());
        self.stream.graph.lock().faults.extend(faults);
        self.stream.then(step, move |input, context| {
            let place = context.address(step);
            let logic = PaneWindow::new(windows.clone(), aggregate.clone(), &table_place(&place, context));
            Timed::new(step, input, logic, context)
        })
    }
}
