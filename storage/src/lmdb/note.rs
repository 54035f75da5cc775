//! `NOTE`: what was committed last, written down beside LMDB.
//!
//! ```text
//! 0                4096              8192
//! | slot 0 | zeros | slot 1 | zeros |       slot = sequence mod 2, so that the older one outlives a torn write
//! slot: magic | version | page size | sequence | attempt | checkpoint | highest | job | transaction | file length | 2 hashes | checksum
//! ```
//! Written and synced after each commit. LMDB's pages bear no checksum: one flipped bit in a meta page can bring back the commit before.
//! The note tells that apart from a crash between a commit and its note, which leaves LMDB exactly one transaction ahead.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::RangeInclusive,
    path::Path,
};

use cofferdam_engine::{Attempt, CheckpointId, JobId, checkpoint::store::StoreError, fail_point::Passage};
use xxhash_rust::xxh3::xxh3_64;

use super::{directory, fault};

const MAGIC: [u8; 8] = *b"COFFNOTE";
const VERSION: u32 = 2;

/// Formats that are read.
const KNOWN: RangeInclusive<u64> = VERSION as u64..=VERSION as u64;
/// No disk tears what one slot's page holds together with the other's.
const SLOT_STRIDE: u64 = 4096;
const SLOT: usize = 128;
const CHECKED: usize = SLOT - 8;

/// What was true after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) attempt: Attempt,
    /// Job and number of the newest checkpoint.
    pub(super) newest: Option<(JobId, CheckpointId)>,
    /// The highest number that there ever was.
    pub(super) highest: Option<CheckpointId>,
    /// LMDB's number of the commit.
    pub(super) transaction: u64,
    pub(super) page_size: u32,
    /// Of `data.mdb`; it never shrinks.
    pub(super) file_length: u64,
    /// Of both meta pages.
    pub(super) hashes: [u64; 2],
}

/// The open file.
#[derive(Debug)]
pub(super) struct NoteFile {
    file: File,
    sequence: u64,
    note: Note,
}

enum Slot {
    Valid(u64, Note),
    Invalid,
    Other(u32),
}

impl NoteFile {
    /// Reads the note; `None` if there is no such file.
    pub(super) fn open(directory: &Path) -> Result<Option<Self>, StoreError> {
        let file = match OpenOptions::new().read(true).write(true).open(directory.join(directory::NOTE)) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(fault::io(directory, "open NOTE", cause)),
        };
        let (sequence, note) = newest_slot(directory, &slots_of(directory, &file)?)?;
        Ok(Some(Self { file, sequence, note }))
    }

    /// Makes the file with its first note, whole or not at all.
    pub(super) fn create(directory: &Path, note: Note) -> Result<Self, StoreError> {
        let failed = |cause| fault::io(directory, "create NOTE", cause);
        let path = directory.join(directory::NOTE_NEW);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(failed)?;
        let mut content = vec![0; 2 * SLOT_STRIDE as usize];
        content[..SLOT].copy_from_slice(&encode(0, &note));
        file.write_all(&content).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&path, directory.join(directory::NOTE)).map_err(failed)?;
        directory::sync(directory)?;
        Ok(Self { file, sequence: 0, note })
    }

    /// What was noted last.
    pub(super) fn note(&self) -> &Note {
        &self.note
    }

    /// Writes `note` over the older slot, durable on return; half of it if it is to be torn, and that is an error.
    pub(super) fn write(&mut self, note: Note, passage: Passage) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.file.seek(SeekFrom::Start(sequence % 2 * SLOT_STRIDE))?;
        let slot = encode(sequence, &note);
        let is_torn = passage == Passage::Torn;
        self.file.write_all(if is_torn { &slot[..SLOT / 2] } else { &slot })?;
        self.file.sync_data()?;
        if is_torn {
            return Err(io::Error::other("injected: a torn write"));
        }
        (self.sequence, self.note) = (sequence, note);
        Ok(())
    }
}

/// What the directory's note says, without opening it for writing; `None` if there is no such file. A job may write to it meanwhile: slots that do not fit are read again for as long as
/// they change.
pub(super) fn read(directory: &Path) -> Result<Option<Note>, StoreError> {
    let file = match File::open(directory.join(directory::NOTE)) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(fault::io(directory, "open NOTE", cause)),
    };
    let mut slots = slots_of(directory, &file)?;
    loop {
        match newest_slot(directory, &slots) {
            Ok((_, note)) => return Ok(Some(note)),
            Err(damage) => {
                let before = std::mem::replace(&mut slots, slots_of(directory, &file)?);
                if before == slots {
                    return Err(damage);
                }
            }
        }
    }
}

/// Whether there is a file of that name with a slot of ours, whole or not.
pub(super) fn bears_mark(directory: &Path, name: &str) -> Result<bool, StoreError> {
    let slots = match File::open(directory.join(name)) {
        Ok(file) => read_slots(&file),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => Err(cause),
    };
    let slots = slots.map_err(|cause| fault::io(directory, format!("read {name}"), cause))?;
    Ok(slots.iter().any(|slot| slot.starts_with(&MAGIC)))
}

/// The newest valid slot, and its number.
fn newest_slot(directory: &Path, slots: &[Vec<u8>; 2]) -> Result<(u64, Note), StoreError> {
    let mut newest = None;
    for (index, slot) in slots.iter().enumerate() {
        match decode(slot, index as u64) {
            Slot::Other(version) => fault::check_format(directory, "NOTE", version.into(), KNOWN)?,
            Slot::Valid(sequence, note) if newest.is_none_or(|(other, _)| sequence > other) => {
                newest = Some((sequence, note));
            }
            _ => {}
        }
    }
    newest.ok_or_else(|| fault::ruined(directory, "NOTE has no valid slot"))
}

fn slots_of(directory: &Path, file: &File) -> Result<[Vec<u8>; 2], StoreError> {
    read_slots(file).map_err(|cause| fault::io(directory, "read NOTE", cause))
}

/// The bytes of both slots; short where the file is.
fn read_slots(mut file: &File) -> io::Result<[Vec<u8>; 2]> {
    let mut slots = [Vec::new(), Vec::new()];
    for (index, slot) in slots.iter_mut().enumerate() {
        file.seek(SeekFrom::Start(index as u64 * SLOT_STRIDE))?;
        file.take(SLOT as u64).read_to_end(slot)?;
    }
    Ok(slots)
}

fn encode(sequence: u64, note: &Note) -> [u8; SLOT] {
    let (job, checkpoint) = note.newest.map_or((0, 0), |(job, checkpoint)| (job.0, checkpoint.0));
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&VERSION.to_le_bytes());
    slot.extend_from_slice(&note.page_size.to_le_bytes());
    let highest = note.highest.unwrap_or_default().0;
    for number in [sequence, note.attempt.0, u64::from(note.newest.is_some()), checkpoint, highest] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.extend_from_slice(&job.to_le_bytes());
    for number in [note.transaction, note.file_length, note.hashes[0], note.hashes[1]] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.resize(CHECKED, 0);
    let checksum = xxh3_64(&slot);
    slot.extend_from_slice(&checksum.to_le_bytes());
    let mut bytes = [0; SLOT];
    bytes.copy_from_slice(&slot);
    bytes
}

fn decode(bytes: &[u8], index: u64) -> Slot {
    match try_decode(bytes) {
        // A slot at the other's place was copied there.
        Some(Slot::Valid(sequence, _)) if sequence % 2 != index => Slot::Invalid,
        Some(slot) => slot,
        None => Slot::Invalid,
    }
}

fn try_decode(bytes: &[u8]) -> Option<Slot> {
    let (checked, checksum) = bytes.split_last_chunk()?;
    let mut rest = checked.strip_prefix(&MAGIC)?;
    if checked.len() != CHECKED || xxh3_64(checked) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let version = u32::from_le_bytes(take(&mut rest)?);
    if version != VERSION {
        return Some(Slot::Other(version));
    }
    let page_size = u32::from_le_bytes(take(&mut rest)?);
    let sequence = number(&mut rest)?;
    let attempt = Attempt(number(&mut rest)?);
    let has_checkpoint = number(&mut rest)? != 0;
    let checkpoint = CheckpointId(number(&mut rest)?);
    let highest = has_checkpoint.then_some(CheckpointId(number(&mut rest)?));
    let job = JobId(u128::from_le_bytes(take(&mut rest)?));
    let transaction = number(&mut rest)?;
    let file_length = number(&mut rest)?;
    let hashes = [number(&mut rest)?, number(&mut rest)?];
    let newest = has_checkpoint.then_some((job, checkpoint));
    Some(Slot::Valid(sequence, Note { attempt, newest, highest, transaction, page_size, file_length, hashes }))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            attempt: Attempt(3),
            newest: Some((JobId(7), CheckpointId(0))),
            highest: Some(CheckpointId(4)),
            transaction: 9,
            page_size: 4096,
            file_length: 1 << 20,
            hashes: [1, u64::MAX],
        }
    }

    #[test]
    fn a_slot_reads_back_and_no_flipped_bit_goes_unnoticed() {
        let slot = encode(5, &note());
        assert!(matches!(decode(&slot, 1), Slot::Valid(5, read) if read == note()));
        assert!(matches!(decode(&slot, 0), Slot::Invalid));
        for bit in 0..8 * SLOT {
            let mut flipped = slot;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&flipped, 1), Slot::Invalid), "bit {bit}");
        }
        assert!(matches!(decode(&slot[..SLOT - 1], 1), Slot::Invalid));
    }
}
