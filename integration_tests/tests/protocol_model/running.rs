//! One attempt: the coordinator that runs in production, the subtasks, and the mail between them. Mail is lost or comes in the order in which it
//! was sent, between any two; that of different pairs in any order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
};

use cofferdam_engine::{
    Attempt, CheckpointId, Error, ProcessingTime,
    checkpoint::{
        coordinator::{Coordinator, CoordinatorEffect, CoordinatorInput, SubtaskReport},
        snapshot::SubtaskSnapshot,
    },
    subtask::Control,
};

use crate::{durable::Stored, job::NodeIndex, model::ProtocolModel, node::Node, shared::Shared};

/// A pending checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// When it is given up.
    pub expires: ProcessingTime,
    /// Whose acknowledgement came.
    pub acknowledged: BTreeSet<NodeIndex>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    pub now: ProcessingTime,
    coordinator: Shared<Coordinator>,
    pub nodes: Vec<Shared<Node>>,
    pub controls: Vec<VecDeque<Control>>,
    pub reports: Vec<VecDeque<SubtaskReport>>,
    /// Checkpoints that are triggered, and neither aborted nor handed to the store: the model's own count.
    pub pending: BTreeMap<CheckpointId, Pending>,
}

impl Running {
    pub fn new(model: &ProtocolModel, attempt: Attempt, next: CheckpointId, restored: &Stored) -> Self {
        let job = &model.job;
        let open = |node| Shared::new(Node::open(model, node, restored));
        let (config, now) = (model.config(), ProcessingTime(0));
        Self {
            now,
            coordinator: Shared::new(Coordinator::new(config, model.layout.clone(), attempt, next, now)),
            nodes: (0..job.nodes()).map(open).collect(),
            controls: vec![VecDeque::new(); job.nodes()],
            reports: vec![VecDeque::new(); job.nodes()],
            pending: BTreeMap::new(),
        }
    }

    pub fn deadline(&self) -> Option<ProcessingTime> {
        self.coordinator.deadline()
    }

    pub fn next_checkpoint(&self) -> CheckpointId {
        self.coordinator.next_checkpoint()
    }

    /// The one place where the coordinator is spoken to.
    pub fn ask_coordinator(&mut self, input: CoordinatorInput) -> Result<Vec<CoordinatorEffect>, Error> {
        let now = self.now;
        self.coordinator.change(|coordinator| coordinator.step(input, now))
    }

    /// Counts an acknowledgement of a pending checkpoint.
    pub fn note(&mut self, node: NodeIndex, report: &SubtaskReport) {
        if let SubtaskReport::Acknowledged(checkpoint, _) = report
            && let Some(pending) = self.pending.get_mut(checkpoint)
        {
            pending.acknowledged.insert(node);
        }
    }

    /// Whether a checkpoint is given up when time next passes.
    pub fn is_expiring(&self) -> bool {
        self.deadline().is_some_and(|deadline| self.pending.values().any(|pending| pending.expires <= deadline))
    }

    pub fn tell(&mut self, nodes: Range<NodeIndex>, control: Control) {
        self.controls[nodes].iter_mut().for_each(|mail| mail.push_back(control));
    }
}

/// What nobody sent.
pub fn forged(checkpoint: CheckpointId, like: &SubtaskSnapshot) -> SubtaskReport {
    let snapshot = SubtaskSnapshot { operators: Vec::new(), ..like.clone() };
    SubtaskReport::Acknowledged(checkpoint, Box::new(snapshot))
}
