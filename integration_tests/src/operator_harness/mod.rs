//! Steps by themselves: fed by hand, and read by hand.
//!
//! | file | holds |
//! |---|---|
//! | here | what a test calls |
//! | `surroundings` | the topology around the steps |
//! | `driver` | the subtasks, and what runs them |
//! | `snapshot` | state taken out, and the store it goes through |

mod driver;
mod snapshot;
mod surroundings;

use std::{rc::Rc, time::Duration};

use cofferdam_engine::{
    CheckpointBarrier, CheckpointId, Clock as _, Error, NoTime, Record, RestartStrategy, Stamp, Stamped, StreamElement,
    Timestamp, Watermark,
    operator::{Input, Operator},
    topology::{
        Stream, Topology,
        plan::{Plan, Settings},
    },
};

pub use self::snapshot::Snapshot;
use self::{
    driver::{Driver, Unpack, unpack},
    snapshot::Restored,
};

/// One thing that came out of the steps in an [`OperatorHarness`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emitted<T> {
    /// A record.
    Record(T),
    /// What all subtasks together say of time, when it has changed: no record behind it is earlier, but for late ones. From timed steps alone.
    Watermark(Watermark),
    /// A barrier, once it has left every subtask: what is before it belongs to the checkpoint, what is behind it does not.
    Barrier(CheckpointId),
    /// No record will follow.
    End,
}

/// How the steps in an [`OperatorHarness`] are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Channels that every subtask of the first chain reads, at least 1. A barrier is aligned over all of them.
    pub inputs: u32,
    /// Subtasks of each chain that does not say.
    pub parallelism: u32,
    /// Key groups. A snapshot can be restored only with as many as it was taken with.
    pub max_parallelism: u16,
}

impl Default for Shape {
    /// One input, one subtask, 128 key groups.
    fn default() -> Self {
        Self { inputs: 1, parallelism: 1, max_parallelism: 128 }
    }
}

/// Runs one step, or several with the exchanges between them, without a job: feeds records and barriers, moves time, takes snapshots and
/// restores them, also at another parallelism, and shows what came out.
///
/// The steps run in the engine's own subtasks and exchanges, and a snapshot goes through a store, encoded. Everything happens within the
/// call that causes it, in an order that is always the same: after [`push`](Self::push) what the record led to is in the output, at any
/// parallelism in the order of the pushes. So an iterator without an end, which a job can take its time with, would never return here.
///
/// `I` is the type of the records fed, `O` of those that come out.
///
/// Steps on a stream with time are fed by a harness made with [`timed`](OperatorHarness::timed): records with their times, and watermarks.
///
/// ```
/// use cofferdam_testkit::{OperatorHarness, Emitted};
///
/// # fn main() -> Result<(), cofferdam_engine::Error> {
/// let mut counts = OperatorHarness::<String, _>::new(|words| {
///     words.key_by(|word| word.clone()).fold("count", 0u64, |count, _word| *count += 1)
/// })?;
/// counts.push("to".to_string())?;
/// let snapshot = counts.snapshot()?;
/// counts.push("to".to_string())?;
///
/// let count = |word: &str, count| Emitted::Record((word.to_string(), count));
/// let barrier = Emitted::Barrier(snapshot.checkpoint());
/// assert_eq!(counts.take_output(), [count("to", 1), barrier, count("to", 2)]);
///
/// // Three subtasks go on from the snapshot: what came after it has not happened.
/// let mut restored = counts.restore(&snapshot, 3)?;
/// restored.push("to".to_string())?;
/// restored.push("be".to_string())?;
/// assert_eq!(restored.take_output(), [count("to", 2), count("be", 1)]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Every call gives the error that a step failed or panicked with, and from then on that error again. A snapshot from before can still
/// be restored.
pub struct OperatorHarness<I, O, S = NoTime> {
    shape: Shape,
    topology: Rc<dyn Fn() -> Topology>,
    driver: Driver<O>,
    unpack: Unpack<O>,
    /// What the subtasks went on from.
    restored: Restored,
    /// The newest snapshot.
    snapshot: Snapshot,
    inputs: Vec<InputState>,
    /// Batches pushed so far.
    pushed: usize,
    failed: Option<Error>,
    record: std::marker::PhantomData<fn(I, S)>,
}

#[derive(Clone)]
struct InputState {
    barrier: CheckpointId,
    ended: bool,
}

/// What is fed, and when it happened.
type Batched<I, S> = Vec<Stamped<I, S>>;

impl<I: Record, O: Record> OperatorHarness<I, O> {
    /// The steps that `steps` adds to a stream of `I`, without state, on one subtask with one input.
    pub fn new<P>(steps: impl Fn(Stream<Input<I>>) -> Stream<P> + 'static) -> Result<Self, Error>
    where
        P: Operator<Out = O>,
    {
        Self::with_shape(Shape::default(), steps)
    }

    /// As [`new`](Self::new), laid out otherwise. An error if the steps cannot run so.
    pub fn with_shape<P>(shape: Shape, steps: impl Fn(Stream<Input<I>>) -> Stream<P> + 'static) -> Result<Self, Error>
    where
        P: Operator<Out = O>,
    {
        let topology: Rc<dyn Fn() -> Topology> = Rc::new(move || surroundings::around(&steps, shape.inputs));
        let snapshot = Snapshot::genesis(&plan(&topology, shape)?)?;
        Self::open(shape, topology, snapshot, unpack::<O, P::Time>)
    }

    /// Steps that go on from a snapshot of others, as after a new version of a program was deployed. An error if their state is not that
    /// of the snapshot: another name, another kind of step, another number of key groups, a value that cannot be decoded.
    pub fn from_snapshot<P>(
        shape: Shape,
        snapshot: &Snapshot,
        steps: impl Fn(Stream<Input<I>>) -> Stream<P> + 'static,
    ) -> Result<Self, Error>
    where
        P: Operator<Out = O>,
    {
        let topology = Rc::new(move || surroundings::around(&steps, shape.inputs));
        Self::open(shape, topology, snapshot.clone(), unpack::<O, P::Time>)
    }

    /// Feeds a record on input 0.
    pub fn push(&mut self, record: I) -> Result<(), Error> {
        self.push_to(0, vec![record])
    }

    /// Feeds a batch of records on an input, to the subtasks of the first chain in turn. If a barrier has come on this input and not yet on
    /// all, the records wait for it. Where a batch leads to several subtasks, only the order of what each of them gives is that of the batch.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn push_to(&mut self, input: usize, records: Vec<I>) -> Result<(), Error> {
        self.send(input, records.into_iter().map(Stamped::from).collect())
    }
}

/// With time.
impl<I: Record, O: Record> OperatorHarness<I, O, Timestamp> {
    /// As [`with_shape`](OperatorHarness::with_shape), for steps on a stream whose records have times.
    ///
    /// ```
    /// use cofferdam_engine::Timestamp;
    /// use cofferdam_testkit::{Emitted, OperatorHarness, Shape};
    ///
    /// # fn main() -> Result<(), cofferdam_engine::Error> {
    /// let mut doubled = OperatorHarness::<u64, _, _>::timed(Shape::default(), |numbers| numbers.map(|n| 2 * n))?;
    /// doubled.push_at(Timestamp(5), 21)?;
    /// doubled.watermark(Timestamp(4))?;
    /// assert_eq!(doubled.take_records(), [42]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn timed<P>(
        shape: Shape,
        steps: impl Fn(Stream<Input<I, Timestamp>>) -> Stream<P> + 'static,
    ) -> Result<Self, Error>
    where
        P: Operator<Out = O>,
    {
        let topology: Rc<dyn Fn() -> Topology> = Rc::new(move || surroundings::timed(&steps, shape.inputs));
        let snapshot = Snapshot::genesis(&plan(&topology, shape)?)?;
        Self::open(shape, topology, snapshot, unpack::<O, P::Time>)
    }

    /// Feeds a record on input 0.
    pub fn push_at(&mut self, time: Timestamp, record: I) -> Result<(), Error> {
        self.push_to_at(0, vec![(time, record)])
    }

    /// Feeds a batch of records on an input, as [`push_to`](OperatorHarness::push_to) does.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn push_to_at(&mut self, input: usize, records: Vec<(Timestamp, I)>) -> Result<(), Error> {
        self.send(input, records.into_iter().map(|(time, record)| Stamped { record, time }).collect())
    }

    /// Says on every input how far time has come.
    pub fn watermark(&mut self, time: Timestamp) -> Result<(), Error> {
        (0..self.inputs.len()).try_for_each(|input| self.watermark_to(input, Watermark { time, is_idle: false }))
    }

    /// Says on one input how far time has come, or that it is idle.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn watermark_to(&mut self, input: usize, watermark: Watermark) -> Result<(), Error> {
        self.check_open(input)?;
        self.run(|driver| driver.send_all(input, || StreamElement::Watermark(watermark)))
    }
}

impl<I: Record, O: Record, S: Stamp> OperatorHarness<I, O, S> {
    /// The same steps, built anew on `parallelism` subtasks, with the state of `snapshot`, at its time, an open input and no output. This harness is left
    /// as it is. An error if the snapshot was taken behind the end of the input.
    pub fn restore(&self, snapshot: &Snapshot, parallelism: u32) -> Result<Self, Error> {
        Self::open(Shape { parallelism, ..self.shape }, self.topology.clone(), snapshot.clone(), self.unpack)
    }

    fn open(
        shape: Shape,
        topology: Rc<dyn Fn() -> Topology>,
        snapshot: Snapshot,
        unpack: Unpack<O>,
    ) -> Result<Self, Error> {
        let restored = snapshot.restore()?;
        let driver = Driver::open(&plan(&topology, shape)?, &restored, unpack)?;
        let input = InputState { barrier: snapshot.checkpoint(), ended: false };
        let inputs = vec![input; driver.inputs()];
        let record = std::marker::PhantomData;
        Ok(Self { shape, topology, driver, unpack, restored, snapshot, inputs, pushed: 0, failed: None, record })
    }

    fn send(&mut self, input: usize, batch: Batched<I, S>) -> Result<(), Error> {
        self.check_open(input)?;
        if batch.is_empty() {
            return Ok(());
        }
        let turn = self.pushed;
        self.pushed += 1;
        self.run(|driver| driver.send(input, turn, Box::new(batch)))
    }

    /// Feeds a barrier on every input, and those before it that an input has not had. Nothing is stored: the checkpoint might as well have been
    /// aborted, and what it would have stored goes into the next one. Gives its number.
    pub fn barrier(&mut self) -> Result<CheckpointId, Error> {
        let highest = self.inputs.iter().map(|input| input.barrier).max().unwrap_or_default();
        let checkpoint = highest.next();
        for input in 0..self.inputs.len() {
            while self.inputs[input].barrier < checkpoint {
                self.barrier_to(input)?;
            }
        }
        Ok(checkpoint)
    }

    /// Feeds the next barrier on one input, and gives its number. It leaves when it has come on all of them.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn barrier_to(&mut self, input: usize) -> Result<CheckpointId, Error> {
        let checkpoint = self.inputs[input].barrier.next();
        let barrier = CheckpointBarrier {
            checkpoint,
            attempt: self.restored.attempt,
            triggered: Default::default(),
            overtakes: None,
            halt: false,
        };
        self.run(|driver| driver.send_all(input, || StreamElement::barrier(barrier)))?;
        self.inputs[input].barrier = checkpoint;
        Ok(checkpoint)
    }

    /// Feeds a barrier as [`barrier`](Self::barrier) does, and [completes](Self::complete) its checkpoint.
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let checkpoint = self.barrier()?;
        self.complete(checkpoint)
    }

    /// Completes the checkpoint of a barrier that has left: gives the state that every subtask had at the barrier, and tells it that this is
    /// stored. An error if the barrier has not left, or this checkpoint or a later one is complete already.
    pub fn complete(&mut self, checkpoint: CheckpointId) -> Result<Snapshot, Error> {
        self.run(|_| Ok(()))?;
        let missing = || Error::refused(format!("there is no checkpoint {checkpoint} to complete"));
        let subtasks = self.driver.take_acknowledged(checkpoint).ok_or_else(missing)?;
        let time = self.driver.clock.now();
        let edges = plan(&self.topology, self.shape)?.layout(self.restored.metadata.job).edges;
        self.snapshot = self.snapshot.then(checkpoint, &self.restored, &edges, subtasks, time);
        self.run(|driver| driver.complete(checkpoint))?;
        Ok(self.snapshot.clone())
    }

    /// Ends every input. Barriers may follow, records may not.
    pub fn end(&mut self) -> Result<(), Error> {
        for input in 0..self.inputs.len() {
            self.check_open(input)?;
            self.inputs[input].ended = true;
            self.run(|driver| driver.send_all(input, || StreamElement::EndOfInput))?;
        }
        Ok(())
    }

    /// Lets time pass, the wall clock's too, which otherwise stands still.
    pub fn advance(&mut self, by: Duration) -> Result<(), Error> {
        self.driver.clock.advance(by);
        self.run(Driver::settle)
    }

    /// What came out since the last time.
    pub fn take_output(&mut self) -> Vec<Emitted<O>> {
        std::mem::take(&mut self.driver.output)
    }

    /// The records among what came out since the last time.
    pub fn take_records(&mut self) -> Vec<O> {
        let record = |output| match output {
            Emitted::Record(record) => Some(record),
            Emitted::Watermark(_) | Emitted::Barrier(_) | Emitted::End => None,
        };
        self.take_output().into_iter().filter_map(record).collect()
    }

    fn check_open(&self, input: usize) -> Result<(), Error> {
        if self.inputs[input].ended {
            return Err(Error::refused(format!("input {input} has ended: nothing but barriers may follow")));
        }
        Ok(())
    }

    fn run(&mut self, call: impl FnOnce(&mut Driver<O>) -> Result<(), Error>) -> Result<(), Error> {
        if self.failed.is_none() {
            self.failed = call(&mut self.driver).err();
        }
        self.failed.clone().map_or(Ok(()), Err)
    }
}

fn plan(topology: &Rc<dyn Fn() -> Topology>, shape: Shape) -> Result<Plan, Error> {
    let Shape { parallelism, max_parallelism, .. } = shape;
    // Small batches, so that outputs fill up within a turn.
    let checkpoints = Default::default();
    let settings = Settings {
        parallelism,
        max_parallelism,
        batch_size: 2,
        checkpoints,
        restart: RestartStrategy::None,
        is_durable: false,
        heap_limit: None,
        fail_points: Default::default(),
    };
    Ok(Plan::new(topology(), settings)?)
}
