//! Windows of so many records of a key.

use std::{
    collections::{HashMap, VecDeque},
    marker::PhantomData,
    ops::Range,
};

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        process::Collector,
        process_timed::{Context, TimeRule},
    },
    record::Record,
    state::{
        self, Aggregate, Merge,
        descriptor::{Entries, OneValue, StateDescriptor},
    },
    time::{Stamp, Timestamp},
    topology::process_fn::KeyedProcess,
    window::{Count, Stacks, Window, Windowed, Windows},
};

/// What is kept, by the number of a record, and how many records there were.
type States<V> = (StateDescriptor<Entries<u64>, V>, StateDescriptor<OneValue, u64>);
type Cx<'a, K, V, O, S> = Context<'a, K, States<V>, (), O, S>;

fn states<V: Record>(kept: &str) -> States<V> {
    (state::map(kept), state::value("count"))
}

/// Counts one more record: its number.
fn next<K: Key, V: Record, O, S: Stamp>(cx: &mut Cx<'_, K, V, O, S>) -> u64 {
    let count = |count: &mut u64| {
        *count += 1;
        *count - 1
    };
    cx.states().1.update(|| 0, count)
}

/// Forgets what no window has that is to come, when `came` records have and a window was complete. Whether that is all of it: then the key begins anew, with the number 0.
fn forget<K: Key, V: Record, O, S: Stamp>(windows: Count, came: u64, cx: &mut Cx<'_, K, V, O, S>) -> bool {
    let (kept, count) = cx.states();
    let gone: Vec<_> = kept.range(..windows.first_kept(came)).map(|(number, _)| *number).collect();
    gone.iter().for_each(|number| drop(kept.remove(number)));
    if kept.is_empty() {
        count.clear();
    }
    kept.is_empty()
}

fn rule(windows: Count) -> TimeRule {
    TimeRule { of: windows.describe(), ..TimeRule::default() }
}

/// The step of such windows that are aggregated: of panes, as [`Panes`](super::panes::Panes).
pub struct Counts<K, A: Aggregate> {
    windows: Count,
    aggregate: A,
    stacks: HashMap<K, Stacks<A::Accumulator>>,
}

impl<K, A: Aggregate> Counts<K, A> {
    pub(super) fn new(windows: Count, aggregate: A) -> Self {
        Self { windows, aggregate, stacks: HashMap::new() }
    }
}

impl<K, A: Aggregate> Clone for Counts<K, A> {
    fn clone(&self) -> Self {
        Self::new(self.windows, self.aggregate.clone())
    }
}

/// Records are numbered as moments are.
fn moment(number: u64) -> Timestamp {
    Timestamp(i64::try_from(number).unwrap_or(i64::MAX))
}

fn number(moment: Timestamp) -> u64 {
    u64::try_from(moment.0).unwrap_or(0)
}

impl<K, S, A> KeyedProcess<K, A::In, S> for Counts<K, A>
where
    K: Key,
    S: Stamp,
    A: Merge<In: 'static, Accumulator: Clone, Out: Send + 'static>,
{
    type States = States<A::Accumulator>;
    type Timer = ();
    type Out = Windowed<K, A::Out>;

    fn states(&self) -> Self::States {
        states("panes")
    }

    fn on_record(&mut self, record: A::In, cx: &mut Cx<'_, K, A::Accumulator, Self::Out, S>) -> Result<(), BoxError> {
        let number_of = next(cx);
        let Self { windows, aggregate, stacks } = self;
        if windows.has(number_of) {
            let pane = windows.pane(number_of).start;
            cx.states().0.update(pane, || aggregate.create(), |accumulator| aggregate.add(accumulator, record));
        }
        let Some(Range { start, end }) = windows.complete(number_of + 1) else { return Ok(()) };
        let (key, kept) = (cx.key(), &cx.states().0);
        let panes = |moments: Range<Timestamp>| {
            let panes = kept.range(number(moments.start)..number(moments.end));
            panes.map(|(number, pane)| (moment(*number), pane))
        };
        let stacks = stacks.entry(key.clone()).or_default();
        let all = stacks.slide(aggregate, Window::new(moment(start), moment(end)), panes);
        if let Some(all) = all {
            cx.emit(Windowed { key: key.clone(), window: Window::ALL, value: aggregate.get(&all) });
        }
        if forget(*windows, end, cx) {
            self.stacks.remove(key);
        }
        Ok(())
    }

    fn rule(&self) -> TimeRule {
        rule(self.windows)
    }
}

/// The step of such windows whose records are given to a function.
pub struct CountLists<T, R, F> {
    windows: Count,
    function: F,
    _of: PhantomData<fn(T) -> R>,
}

impl<T, R, F> CountLists<T, R, F> {
    pub(super) fn new(windows: Count, function: F) -> Self {
        Self { windows, function, _of: PhantomData }
    }
}

impl<T, R, F: Clone> Clone for CountLists<T, R, F> {
    fn clone(&self) -> Self {
        Self::new(self.windows, self.function.clone())
    }
}

impl<K, T, S, R, F> KeyedProcess<K, T, S> for CountLists<T, R, F>
where
    K: Key,
    T: Record,
    S: Stamp,
    R: Send + 'static,
    F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
{
    type States = States<T>;
    type Timer = ();
    type Out = R;

    fn states(&self) -> Self::States {
        states("records")
    }

    fn on_record(&mut self, record: T, cx: &mut Cx<'_, K, T, R, S>) -> Result<(), BoxError> {
        let number = next(cx);
        if self.windows.has(number) {
            cx.states().0.insert(number, record);
        }
        let Some(window) = self.windows.complete(number + 1) else { return Ok(()) };
        let (key, mut rows) = (cx.key(), VecDeque::new());
        let records: Vec<&T> = cx.states().0.range(window.clone()).map(|(_, record)| record).collect();
        (self.function)(key, Window::ALL, &records, &mut Collector::of(&mut rows));
        rows.into_iter().for_each(|row| cx.emit(row));
        forget(self.windows, window.end, cx);
        Ok(())
    }

    fn rule(&self) -> TimeRule {
        rule(self.windows)
    }
}
