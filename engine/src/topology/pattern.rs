//! Patterns of the records of a key, as a process function.
//!
//! ```text
//! a record    --> waits by its time, with a timer for that time | is late: dropped, or to the side output
//! that timer  --> the records of that time, as they came --> Pattern::advance --> rows
//!             --> the next timer: when the first match that has begun is out of time
//! ```

use std::marker::PhantomData;

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        process_timed::{ProcessTimed, TimeRule},
        timed::Timed,
    },
    pattern::{Conditions, Match, Partial, Pattern},
    record::Record,
    state::{
        self,
        descriptor::{Entries, OneValue, StateDescriptor},
        keyed_states::KeyedStates,
    },
    time::Timestamp,
    topology::{
        fault::TopologyFault,
        keyed_stream::KeyedStream,
        process_fn::{Context, Fired, HasEventTime, KeyedProcess},
        side_output::SideOutput,
        stream::Stream,
        window::late::Late,
    },
};

/// A [`Pattern`], and what is made of its matches.
pub struct Patterns<T, S, C, F, R> {
    pattern: Pattern<T, C>,
    row: F,
    late: Late<T, S>,
    _out: PhantomData<fn() -> R>,
}

impl<T, S, C: Clone, F: Clone, R> Clone for Patterns<T, S, C, F, R> {
    fn clone(&self) -> Self {
        Self { pattern: self.pattern.clone(), row: self.row.clone(), late: self.late.clone(), _out: PhantomData }
    }
}

/// Records whose time has not come, by time; and matches that have begun.
type States<T> = (StateDescriptor<Entries<Timestamp>, Vec<T>>, StateDescriptor<OneValue, Vec<Partial<T>>>);

fn states<T: Record>() -> States<T> {
    (state::map("waiting"), state::value("begun"))
}

impl<K, T, S, C, F, R> KeyedProcess<K, T, S> for Patterns<T, S, C, F, R>
where
    K: Key,
    T: Record + Clone,
    S: HasEventTime,
    C: Conditions<T>,
    F: FnMut(Match<'_, K, T>) -> R + Clone + Send + 'static,
    R: Send + 'static,
{
    type States = States<T>;
    type Timer = ();
    type Out = R;

    fn states(&self) -> States<T> {
        states()
    }

    fn on_record(&mut self, record: T, cx: &mut Context<'_, K, States<T>, (), R, S>) -> Result<(), BoxError> {
        let time = cx.timestamp();
        // What came later than this was looked at already.
        if time <= cx.event_time() {
            self.late.add(record, cx);
            return Ok(());
        }
        cx.states().0.update(time, Vec::new, |waiting| waiting.push(record));
        cx.set_timer(time);
        Ok(())
    }

    fn on_timer(&mut self, timer: Fired, cx: &mut Context<'_, K, States<T>, (), R, S>) -> Result<(), BoxError> {
        let Self { pattern, row, .. } = self;
        let (key, time) = (cx.key(), timer.time);
        let (waiting, begun) = cx.states();
        let records = waiting.remove(&time).unwrap_or_default();
        let mut partials = begun.get_mut().map(std::mem::take).unwrap_or_default();
        let deadline = |partials: &[Partial<T>]| pattern.shape().deadline(partials.first()?.began);
        let was = deadline(&partials);
        let mut rows = Vec::new();
        for record in &records {
            let found = pattern.advance(&mut partials, time, record);
            rows.extend(
                found.iter().map(|(began, taken)| row(Match::new(key, pattern.shape(), (*began, time), taken))),
            );
        }
        pattern.expire(&mut partials, time);
        let due = deadline(&partials);
        // What waits for that moment has the same timer.
        let stale = was.filter(|was| due != Some(*was) && !waiting.contains(was));
        if partials.is_empty() {
            begun.clear()
        } else {
            begun.set(partials)
        }
        rows.into_iter().for_each(|row| cx.emit(row));
        if let Some(stale) = stale {
            cx.cancel_timer(stale);
        }
        if let Some(due) = due {
            cx.set_timer(due);
        }
        Ok(())
    }

    fn rule(&self) -> TimeRule {
        TimeRule { of: self.pattern.shape().describe(), ..TimeRule::default() }
    }

    fn take_late(&mut self) -> u64 {
        self.late.take()
    }
}

impl<K: Key, T: Record + Clone, S: HasEventTime> KeyedStream<K, T, S> {
    /// Finds the records of each key that are what a [`Pattern`] says, and gives what `row` makes of each match, at the time of its last record.
    ///
    /// Records are looked at in order of time once the watermark has come to them, those of one time in the order in which they came. So the rows do not depend on how the records were
    /// mixed up on their way. A record behind the watermark comes too late to be looked at: it is dropped and counted, or goes [to a side output](Self::late_to).
    ///
    /// Without [`overlapping`](Pattern::overlapping), the match that is complete first counts; of several that one record completes, the one that began first, and of those the one whose other
    /// records are the earliest. Then all that has begun is forgotten, and the next match begins behind that record.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use cofferdam_engine::{Timestamp, pattern::{Match, Pattern}, topology::KeyedStream};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Login {
    ///     succeeded: bool,
    ///     address: String,
    /// }
    ///
    /// /// Who logs in within ten minutes of three failures in a row, and from where.
    /// fn guessed(logins: KeyedStream<String, Login, Timestamp>) {
    ///     let pattern = Pattern::begin("failed", |login: &Login| !login.succeeded)
    ///         .times(3)
    ///         .next("succeeded", |login| login.succeeded)
    ///         .within(Duration::from_secs(600));
    ///     let guessed = logins.pattern("guessed", pattern, |found: Match<'_, String, Login>| {
    ///         let address = found.first("succeeded").map(|login| login.address.clone());
    ///         (found.key().clone(), address, found.all("failed").len(), found.began())
    ///     });
    ///     # let _ = guessed;
    /// }
    /// ```
    ///
    /// A checkpoint is gone on with by the same pattern only, as far as its words go: conditions may change, and hold for the records to come.
    ///
    /// `docs/time/patterns.md` says exactly what each word of a pattern means, and what is kept.
    ///
    /// A stream without event time has no order that patterns could be of:
    ///
    /// ```compile_fail
    /// # use cofferdam_engine::{pattern::Pattern, topology::KeyedStream};
    /// # fn refused(numbers: KeyedStream<String, u64>) {
    /// let refused = numbers.pattern("refused", Pattern::begin("zero", |n: &u64| *n == 0), |found| found.ended());
    /// # let _ = refused;
    /// # }
    /// ```
    pub fn pattern<C, F, R>(
        self,
        name: impl Into<String>,
        pattern: Pattern<T, C>,
        row: F,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, Patterns<T, S, C, F, R>>>>
    where
        C: Conditions<T>,
        F: FnMut(Match<'_, K, T>) -> R + Clone + Send + 'static,
        R: Send + 'static,
    {
        PatternStream { stream: self, late_to: None }.pattern(name, pattern, row)
    }

    /// Gives those records to a side output that come too late for the pattern that follows. Otherwise they are dropped, and the job's status says how many (`late_records`).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, TwoPhaseSink, pattern::Pattern, topology::{KeyedStream, Topology}};
    /// # fn example(topology: &Topology, readings: KeyedStream<u64, u32, Timestamp>, rises: impl TwoPhaseSink<u64>, too_late: impl TwoPhaseSink<u32>) {
    /// let late = topology.side_output::<u32>("late readings");
    /// let pattern = Pattern::begin("high", |degrees: &u32| *degrees > 80).times(3).within(Duration::from_secs(60));
    /// readings.late_to(&late).pattern("hot", pattern, |found| *found.key()).sink("alarms", rises);
    /// late.stream().sink("too late", too_late);
    /// # }
    /// ```
    ///
    /// # Panics
    /// The step that follows, if the side output is one of another topology.
    pub fn late_to(self, side: &SideOutput<T, S>) -> PatternStream<K, T, S> {
        PatternStream { stream: self, late_to: Some(side.clone()) }
    }
}

/// A stream cut by key, and where those of its records go that come too late for a pattern. Made by [`late_to`](KeyedStream::late_to).
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct PatternStream<K, T, S> {
    stream: KeyedStream<K, T, S>,
    late_to: Option<SideOutput<T, S>>,
}

impl<K: Key, T: Record + Clone, S: HasEventTime> PatternStream<K, T, S> {
    /// Finds the records of each key that are what a [`Pattern`] says: see [`KeyedStream::pattern`].
    pub fn pattern<C, F, R>(
        self,
        name: impl Into<String>,
        pattern: Pattern<T, C>,
        row: F,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, Patterns<T, S, C, F, R>>>>
    where
        C: Conditions<T>,
        F: FnMut(Match<'_, K, T>) -> R + Clone + Send + 'static,
        R: Send + 'static,
    {
        let (Self { stream, late_to }, name) = (self, name.into());
        let faults = pattern.shape().faults().into_iter();
        let faults = faults.map(|message| TopologyFault::Pattern { step: name.clone(), message });
        stream.stream.graph.lock().faults.extend(faults);
        let late = Late::to(late_to.as_ref().map(SideOutput::tag));
        let patterns = Patterns { pattern, row, late, _out: PhantomData };
        let states = KeyedStates::<K>::declared(&states::<T>());
        let found = stream.process_as("pattern", name, states, move |_| patterns.clone());
        late_to.iter().fold(found, |found, side| found.with_side(side))
    }
}

#[cfg(test)]
mod tests;
