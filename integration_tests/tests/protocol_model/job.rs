//! The job that is checked: sources, operators and sinks, each connected with all of the next kind.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use cofferdam_engine::{
    BoxError, InFlight, JobId, SubtaskIndex,
    checkpoint::{
        coordinator::{JobLayout, OperatorLayout},
        snapshot::{OperatorKind, SubtaskId},
    },
    fail_point::FailPoints,
};

/// A record: the number of its source, and its place there.
pub type Record = u8;

/// A record in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Travelling(pub Record);

impl InFlight for Travelling {
    type Copy = Record;

    fn copy(&self) -> Result<Record, BoxError> {
        Ok(self.0)
    }

    fn records(&self) -> u64 {
        1
    }
}

/// A subtask, counted from the first source to the last sink.
pub type NodeIndex = usize;

/// What the subtask does with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Source,
    Operator,
    Sink,
}

impl Role {
    const ALL: [Self; 3] = [Self::Source, Self::Operator, Self::Sink];

    pub fn uid(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Operator => "operator",
            Self::Sink => "sink",
        }
    }

    fn kind(self) -> OperatorKind {
        match self {
            Self::Source => OperatorKind::Source,
            Self::Operator => OperatorKind::Keyed,
            Self::Sink => OperatorKind::TwoPhaseSink,
        }
    }
}

/// How many of each, and how many records each source has.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub sources: usize,
    pub operators: usize,
    pub sinks: usize,
    pub records: u8,
}

impl Job {
    pub fn nodes(&self) -> usize {
        self.sources + self.operators + self.sinks
    }

    pub fn range(&self, role: Role) -> Range<NodeIndex> {
        let operators = self.sources..self.sources + self.operators;
        match role {
            Role::Source => 0..self.sources,
            Role::Operator => operators,
            Role::Sink => operators.end..self.nodes(),
        }
    }

    pub fn role(&self, node: NodeIndex) -> Role {
        Role::ALL.into_iter().find(|role| self.range(*role).contains(&node)).unwrap_or(Role::Sink)
    }

    /// The number of the node among those of its role.
    pub fn index(&self, node: NodeIndex) -> usize {
        node - self.range(self.role(node)).start
    }

    pub fn id(&self, node: NodeIndex) -> SubtaskId {
        SubtaskId { chain: self.role(node) as u32, index: SubtaskIndex(self.index(node) as u32) }
    }

    pub fn inputs(&self, node: NodeIndex) -> usize {
        match self.role(node) {
            Role::Source => 0,
            Role::Operator => self.sources,
            Role::Sink => self.operators,
        }
    }

    /// Where the node's output goes.
    pub fn downstream(&self, node: NodeIndex) -> Range<NodeIndex> {
        match self.role(node) {
            Role::Source => self.range(Role::Operator),
            Role::Operator => self.range(Role::Sink),
            Role::Sink => 0..0,
        }
    }

    pub fn record(&self, source: NodeIndex, position: u8) -> Record {
        source as u8 * self.records + position
    }

    /// The source of a record, and its place there.
    pub fn origin(&self, record: Record) -> (usize, u8) {
        ((record / self.records) as usize, record % self.records)
    }

    pub fn all_records(&self) -> Range<Record> {
        0..self.sources as u8 * self.records
    }

    /// Which of the nodes downstream a record goes to: from different sources at one place to different operators, and from there to one sink.
    pub fn route(&self, from: NodeIndex, record: Record) -> NodeIndex {
        let (source, position) = self.origin(record);
        let downstream = self.downstream(from);
        let key = position as usize + if self.role(from) == Role::Source { source } else { 0 };
        downstream.start + key % downstream.len()
    }

    pub fn layout(&self) -> Arc<JobLayout> {
        let operator = |role: Role| OperatorLayout {
            uid: role.uid().to_string(),
            kind: role.kind(),
            states: Vec::new(),
            chain: role as u32,
        };
        let subtasks: BTreeMap<_, _> = (0..self.nodes()).map(|node| (self.id(node), "".into())).collect();
        Arc::new(JobLayout {
            job: JobId(1),
            job_name: String::new(),
            max_parallelism: 2,
            subtasks,
            operators: Role::ALL.into_iter().map(operator).collect(),
            edges: Vec::new(),
            sources: [Role::Source as u32].into(),
            loops: Default::default(),
            fail_points: FailPoints::default(),
        })
    }
}
