//! The job that is checked: sources, operators and sinks, each connected with all of the next kind; between operators and sinks there may be bodies, and
//! then the operators are the heads of a loop: a body sends a record back to them until it has gone round as often as it is to.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use cofferdam_engine::{
    BoxError, ChannelIndex, InFlight, JobId, SubtaskIndex,
    checkpoint::{
        layout::{EdgeLayout, JobLayout, OperatorLayout},
        snapshot::{OperatorKind, SubtaskId},
    },
    fail_point::FailPoints,
};

/// A record: the number of its source, and its place there. In a loop, [`ROUND`] more for each time that it has come round.
pub type Record = u8;

/// More than there are records.
const ROUND: Record = 16;

/// The record, however often it has come round.
pub fn plain(record: Record) -> Record {
    record % ROUND
}

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
    Body,
    Sink,
}

impl Role {
    const ALL: [Self; 4] = [Self::Source, Self::Operator, Self::Body, Self::Sink];

    pub fn uid(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Operator => "operator",
            Self::Body => "body",
            Self::Sink => "sink",
        }
    }

    fn kind(self) -> OperatorKind {
        match self {
            Self::Source => OperatorKind::Source,
            Self::Operator | Self::Body => OperatorKind::Keyed,
            Self::Sink => OperatorKind::TwoPhaseSink,
        }
    }
}

/// How many of each, and how many records each source has.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub sources: usize,
    pub operators: usize,
    /// None, where there is no loop.
    pub bodies: usize,
    pub sinks: usize,
    pub records: u8,
}

impl Job {
    pub fn nodes(&self) -> usize {
        self.range(Role::Sink).end
    }

    fn count(&self, role: Role) -> usize {
        match role {
            Role::Source => self.sources,
            Role::Operator => self.operators,
            Role::Body => self.bodies,
            Role::Sink => self.sinks,
        }
    }

    pub fn range(&self, role: Role) -> Range<NodeIndex> {
        let before = Role::ALL.into_iter().take_while(|other| *other != role);
        let start = before.map(|other| self.count(other)).sum();
        start..start + self.count(role)
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

    pub fn has_loop(&self) -> bool {
        self.bodies > 0
    }

    /// Which roles' output a role takes, in the order of its channels.
    fn upstream(&self, role: Role) -> &'static [Role] {
        match role {
            Role::Source => &[],
            Role::Operator => &[Role::Source, Role::Body],
            Role::Body => &[Role::Operator],
            Role::Sink if self.has_loop() => &[Role::Body],
            Role::Sink => &[Role::Operator],
        }
    }

    pub fn inputs(&self, node: NodeIndex) -> usize {
        self.upstream(self.role(node)).iter().map(|role| self.count(*role)).sum()
    }

    /// The channel that comes from a node.
    pub fn channel(&self, from: NodeIndex, to: NodeIndex) -> usize {
        let first = self.upstream(self.role(to)).iter().take_while(|role| **role != self.role(from));
        first.map(|role| self.count(*role)).sum::<usize>() + self.index(from)
    }

    /// The channels that come round from the node itself.
    pub fn feedback(&self, node: NodeIndex) -> Range<usize> {
        let is_head = self.role(node) == Role::Operator && self.has_loop();
        if is_head { self.sources..self.inputs(node) } else { 0..0 }
    }

    /// Where the node's output goes.
    pub fn downstream(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        let from = self.role(node);
        Role::ALL.into_iter().filter(move |role| self.upstream(*role).contains(&from)).flat_map(|role| self.range(role))
    }

    pub fn record(&self, source: NodeIndex, position: u8) -> Record {
        source as u8 * self.records + position
    }

    /// The source of a record, and its place there.
    pub fn origin(&self, record: Record) -> (usize, u8) {
        (usize::from(plain(record) / self.records), plain(record) % self.records)
    }

    pub fn all_records(&self) -> Range<Record> {
        0..self.sources as u8 * self.records
    }

    /// Which of the nodes downstream a record goes to, and as what: from different sources at one place to different operators, and from there to one sink.
    /// Every other record goes round once, the rest twice.
    pub fn route(&self, from: NodeIndex, record: Record) -> (NodeIndex, Record) {
        let (source, position) = self.origin(record);
        let from = self.role(from);
        let comes_round = record < ROUND * (1 + position % 2);
        let to = match from {
            Role::Source => Role::Operator,
            Role::Operator if self.has_loop() => Role::Body,
            Role::Body if comes_round => Role::Operator,
            _ => Role::Sink,
        };
        let key = usize::from(position) + if from == Role::Source { source } else { 0 };
        let record = if (from, to) == (Role::Body, Role::Operator) { record + ROUND } else { record };
        (self.range(to).start + key % self.count(to), record)
    }

    /// Where a record goes from its source, as what, up to its sink.
    pub fn way(&self, record: Record) -> Vec<(NodeIndex, Record)> {
        let first = self.route(self.origin(record).0, record);
        let next =
            |(node, record): &(NodeIndex, Record)| (self.role(*node) != Role::Sink).then(|| self.route(*node, *record));
        std::iter::successors(Some(first), next).collect()
    }

    /// Every edge, and the nodes that it leads to.
    pub fn edges(&self) -> Vec<(EdgeLayout, Range<NodeIndex>)> {
        let mut edges = Vec::new();
        for to in Role::ALL.into_iter().filter(|to| self.count(*to) > 0) {
            let mut first = 0;
            for from in self.upstream(to).iter().filter(|from| self.count(**from) > 0) {
                let channels = self.count(*from) as u32;
                let name = format!("{} to {}", from.uid(), to.uid());
                edges.push((
                    EdgeLayout { name, chain: to as u32, first: ChannelIndex(first), channels },
                    self.range(to),
                ));
                first += channels;
            }
        }
        edges
    }

    pub fn layout(&self) -> Arc<JobLayout> {
        let operator = |role: Role| OperatorLayout {
            uid: role.uid().to_string(),
            kind: role.kind(),
            states: Vec::new(),
            chain: role as u32,
        };
        let subtasks: BTreeMap<_, _> = (0..self.nodes()).map(|node| (self.id(node), "".into())).collect();
        let head = self.has_loop().then(|| (Role::Operator as u32, [Role::Source as u32].into()));
        Arc::new(JobLayout {
            job: JobId(1),
            job_name: String::new(),
            max_parallelism: 2,
            subtasks,
            operators: Role::ALL.into_iter().filter(|role| self.count(*role) > 0).map(operator).collect(),
            edges: self.edges().into_iter().map(|(edge, _)| edge).collect(),
            sources: [Role::Source as u32].into(),
            loops: head.into_iter().collect(),
            alignment: Vec::new(),
            fail_points: FailPoints::default(),
        })
    }
}
