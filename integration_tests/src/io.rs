//! What a topology under test reads from and writes to.

use std::{any::Any, fmt::Debug, marker::PhantomData, path::PathBuf, sync::Arc};

use cofferdam::connector::{CollectSink, Collected, Collection};
use cofferdam_engine::{BoxError, Record, Sink, SubtaskIndex};
use parking_lot::Mutex;
use serde::Serialize;
use tempfile::TempDir;

/// A row that was published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Rows with the same key must keep their order; all of them are `None` if order is no matter.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
    /// For people.
    pub text: String,
}

/// Sources and sinks of one run. Every process of the run is given the same ones: the closure that builds the topology must ask for them in the same order each
/// time.
#[derive(Default)]
pub struct Io {
    outputs: Mutex<Outputs>,
    /// Of each source, the most records.
    limit: Option<usize>,
    directory: Mutex<Option<TempDir>>,
}

#[derive(Default)]
struct Outputs {
    all: Vec<Arc<dyn AnyOutput>>,
    next: usize,
}

/// An output with its record type hidden.
trait AnyOutput: Any + Send + Sync {
    fn rows(&self) -> Vec<Row>;
    fn as_any(&self) -> &(dyn Any + Send + Sync);
}

type KeyOf<T> = Arc<dyn Fn(&T) -> Option<Vec<u8>> + Send + Sync>;

struct Collecting<T> {
    sink: CollectSink<T>,
    rows: Collected<T>,
    key_of: KeyOf<T>,
}

impl<T: Record + Clone + Debug> AnyOutput for Collecting<T> {
    fn rows(&self) -> Vec<Row> {
        self.rows.snapshot().iter().map(|row| described(row, &self.key_of)).collect()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

fn described<T: Serialize + Debug>(row: &T, key_of: &KeyOf<T>) -> Row {
    // A row that cannot be encoded is compared as it is printed.
    let text = format!("{row:?}");
    let bytes = postcard::to_stdvec(row).unwrap_or_else(|_| text.clone().into_bytes());
    Row { key: key_of(row), bytes, text }
}

/// Where the effects of a sink of one's own are seen: what is pushed counts as published at that moment. It is also a sink by itself, at least once.
pub struct Output<T> {
    rows: Arc<Mutex<Vec<T>>>,
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone() }
    }
}

impl<T> Output<T> {
    /// Publishes a row.
    pub fn push(&self, row: T) {
        self.rows.lock().push(row);
    }
}

impl<T: Send + Sync + 'static> Sink<T> for Output<T> {
    type Writer = Box<dyn FnMut(T) -> Result<(), BoxError> + Send>;

    fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        let output = self.clone();
        Ok(Box::new(move |row| {
            output.push(row);
            Ok(())
        }))
    }
}

struct Observed<T> {
    output: Output<T>,
    record: PhantomData<fn(T)>,
}

impl<T: Serialize + Debug + Send + 'static> AnyOutput for Observed<T> {
    fn rows(&self) -> Vec<Row> {
        let no_key: KeyOf<T> = Arc::new(|_| None);
        self.output.rows.lock().iter().map(|row| described(row, &no_key)).collect()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

/// Rows that are somewhere else until somebody asks.
struct Elsewhere<T> {
    read: Box<dyn Fn() -> Vec<T> + Send + Sync>,
}

impl<T: Serialize + Debug + 'static> AnyOutput for Elsewhere<T> {
    fn rows(&self) -> Vec<Row> {
        let no_key: KeyOf<T> = Arc::new(|_| None);
        (self.read)().iter().map(|row| described(row, &no_key)).collect()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl Io {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// A process begins to build its topology: outputs are handed out from the first one again. [`Torture`](crate::Torture) says so by itself; whoever runs a
    /// [`Simulation`](crate::Simulation) by hand does it in the closure that builds the topology.
    pub fn begin(&self) {
        self.outputs.lock().next = 0;
    }

    /// What each output has published, in the order in which they were asked for.
    pub(crate) fn published(&self) -> Vec<Vec<Row>> {
        self.outputs.lock().all.iter().map(|output| output.rows()).collect()
    }

    /// A source that ends after these records. A job of several subtasks deals them out in turn.
    pub fn source<T: Clone + Send + Sync + 'static>(&self, mut records: Vec<T>) -> Collection<T> {
        records.truncate(self.limit.unwrap_or(usize::MAX));
        Collection::new(records)
    }

    /// A two-phase sink whose rows are compared as a bag: in any order.
    pub fn sink<T: Record + Clone + Debug>(&self) -> CollectSink<T> {
        self.collecting(Arc::new(|_| None))
    }

    /// A two-phase sink whose rows must also keep their order, among those of the same key.
    pub fn sink_in_order_of<T: Record + Clone + Debug, K: Serialize>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> CollectSink<T> {
        self.collecting(Arc::new(move |row| Some(postcard::to_stdvec(&key(row)).unwrap_or_default())))
    }

    fn collecting<T: Record + Clone + Debug>(&self, key_of: KeyOf<T>) -> CollectSink<T> {
        let output = self.next(|| {
            let (sink, rows) = CollectSink::new();
            Collecting { sink, rows, key_of }
        });
        output.as_any().downcast_ref::<Collecting<T>>().map_or_else(other_order, |output| output.sink.clone())
    }

    /// Where the rows of a sink of one's own are seen. Compared as a bag.
    pub fn output<T: Serialize + Debug + Send + Sync + 'static>(&self) -> Output<T> {
        let output = self.next(|| Observed { output: Output::<T> { rows: Arc::default() }, record: PhantomData });
        output.as_any().downcast_ref::<Observed<T>>().map_or_else(other_order, |output| output.output.clone())
    }

    /// An output of a sink of one's own that publishes elsewhere: `read` gives, when the run is over, the rows that everybody can see there. Compared as a bag.
    pub fn output_elsewhere<T: Serialize + Debug + 'static>(&self, read: impl Fn() -> Vec<T> + Send + Sync + 'static) {
        self.next(|| Elsewhere { read: Box::new(read) });
    }

    /// A directory of the run's, for a sink of one's own that publishes to files: the same for each process of the run, and gone with it.
    pub fn directory(&self) -> PathBuf {
        let mut directory = self.directory.lock();
        match directory.as_ref() {
            Some(directory) => directory.path().to_owned(),
            None => match tempfile::tempdir() {
                Ok(new) => directory.insert(new).path().to_owned(),
                Err(error) => panic!("no temporary directory for a run's output: {error}"),
            },
        }
    }

    /// The output asked for next: that of the processes before, or a new one.
    fn next<O: AnyOutput>(&self, make: impl FnOnce() -> O) -> Arc<dyn AnyOutput> {
        let mut outputs = self.outputs.lock();
        let place = outputs.next;
        outputs.next += 1;
        if place == outputs.all.len() {
            outputs.all.push(Arc::new(make()));
        }
        outputs.all[place].clone()
    }
}

fn other_order<R>() -> R {
    panic!("a topology must ask for its sinks in the same order each time it is built")
}
