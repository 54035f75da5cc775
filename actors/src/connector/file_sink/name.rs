//! The names of published and pending files.

use cofferdam_engine::{Attempt, CheckpointId, SinkContext, SubtaskIndex};

use crate::connector::file_name;

const PENDING: &str = "pending";

/// What the names of one sink's files begin with.
pub(super) struct OperatorNames {
    final_prefix: String,
    pending_prefix: String,
}

impl OperatorNames {
    pub(super) fn new(context: &SinkContext) -> Self {
        let operator = file_name::part(&context.operator);
        Self {
            final_prefix: format!("part-{}-{operator}-", file_name::part(&context.job_name)),
            // With the id and not the name: a job can be renamed, its leftovers are still its own.
            pending_prefix: format!("{}-{operator}-", context.job),
        }
    }

    /// The checkpoint of a published file, if it is one of this sink's.
    pub(super) fn checkpoint_of(&self, final_name: &str) -> Option<CheckpointId> {
        let (numbers, _extension) = final_name.strip_prefix(&self.final_prefix)?.split_once('.')?;
        match *self::numbers(numbers)?.as_slice() {
            [_subtask, checkpoint] | [_subtask, checkpoint, _] => Some(CheckpointId(checkpoint)),
            _ => None,
        }
    }

    /// Whether a pending file is one of this sink's.
    pub(super) fn owns_pending(&self, pending_name: &str) -> bool {
        let Some(rest) = pending_name.strip_prefix(&self.pending_prefix) else { return false };
        // Another operator's name may begin with this one's, but then what follows are not three numbers.
        let numbers = rest.split_once('.').filter(|(_, extension)| *extension == PENDING).and_then(|(n, _)| numbers(n));
        numbers.is_some_and(|numbers| numbers.len() == 3)
    }

    pub(super) fn of_writer(self, attempt: Attempt, subtask: SubtaskIndex, extension: &'static str) -> WriterNames {
        WriterNames {
            final_prefix: format!("{}{subtask}-", self.final_prefix),
            pending_prefix: format!("{}{attempt}-{subtask}-", self.pending_prefix),
            extension,
            sequence: 0,
        }
    }
}

/// Numbers joined by dashes, and nothing else.
fn numbers(text: &str) -> Option<Vec<u64>> {
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    text.split('-').map(number).collect()
}

/// Names the files of one writer.
pub(super) struct WriterNames {
    final_prefix: String,
    pending_prefix: String,
    extension: &'static str,
    sequence: u64,
}

impl WriterNames {
    /// Never the same one again: attempts differ between writers of a subtask, the sequence within one.
    pub(super) fn next_pending(&mut self) -> String {
        self.sequence += 1;
        format!("{}{}.{PENDING}", self.pending_prefix, self.sequence)
    }

    /// The name of the `nth` file (from 0) that `checkpoint` publishes.
    pub(super) fn of_final(&self, checkpoint: CheckpointId, nth: usize) -> String {
        let Self { final_prefix, extension, .. } = self;
        match nth {
            0 => format!("{final_prefix}{checkpoint}.{extension}"),
            _ => format!("{final_prefix}{checkpoint}-{nth}.{extension}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::JobId;

    use super::*;

    fn names(operator: &str) -> OperatorNames {
        let (job, attempt, restored) = (JobId(7), Attempt(3), CheckpointId(0));
        let (job_name, operator, state_place) = ("word-count".into(), operator.into(), "state".into());
        OperatorNames::new(&SinkContext { job, job_name, operator, attempt, restored, state_place })
    }

    #[test]
    fn a_sink_knows_its_own_files_and_no_other_operators() {
        let operators = ["counts", "counts-0", "counts-0-1", "", "0", "a b/ü"];
        for own in operators {
            let mut writer = names(own).of_writer(Attempt(3), SubtaskIndex(1), "jsonl");
            let pending = writer.next_pending();
            let finals = [writer.of_final(CheckpointId(17), 0), writer.of_final(CheckpointId(17), 2)];
            for other in operators {
                assert_eq!(names(other).owns_pending(&pending), own == other, "{pending} and {other}");
                for name in &finals {
                    let checkpoint = names(other).checkpoint_of(name);
                    assert_eq!(checkpoint, (own == other).then_some(CheckpointId(17)), "{name} and {other}");
                }
            }
        }
    }

    #[test]
    fn a_published_file_is_named_for_job_operator_subtask_and_checkpoint() {
        let writer = names("counts").of_writer(Attempt(3), SubtaskIndex(1), "jsonl");
        assert_eq!(writer.of_final(CheckpointId(17), 0), "part-word--count-counts-1-17.jsonl");
        assert_eq!(writer.of_final(CheckpointId(17), 1), "part-word--count-counts-1-17-1.jsonl");
    }
}
