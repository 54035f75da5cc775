//! What only the inside can bring about: files of other versions, files whose parts do not fit, and disks that fill up.
#![allow(clippy::unwrap_used)]

use std::{
    io::{self, Cursor, Write},
    sync::Arc,
    time::UNIX_EPOCH,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    build::SavepointWriter,
    export::{Pinned, Stamp},
    format::{FOOTER, Footer, Header, PREAMBLE, Preamble},
    reader::Savepoint,
    writer::Writer,
};
use crate::{
    checkpoint::{
        snapshot::{
            BlockKind, CheckpointMetadata, EdgeTime, InFlightRecord, OperatorKind, OperatorRecord, StateAddress,
            StateKind, StateRecord,
        },
        store::{StateReader, StoreError, StoreErrorKind},
    },
    element::Watermark,
    error::BoxError,
    id::{Attempt, ChannelIndex, CheckpointId, JobId, SavepointId, SubtaskIndex},
    key_format::KeyFormat,
    key_group::{KeyGroup, KeyGroupRange},
    state::StoredCheckpoint,
    time::Timestamp,
};

const GROUPS: u16 = 4;

fn address() -> StateAddress {
    StateAddress { operator: "count".to_string(), state: "state".to_string() }
}

fn metadata() -> CheckpointMetadata {
    let operator = OperatorRecord {
        uid: "count".to_string(),
        kind: OperatorKind::Keyed,
        states: vec![StateRecord {
            name: "state".to_string(),
            kind: StateKind::Value,
            key: KeyFormat::Unsigned(8),
            version: 0,
        }],
        subtasks: Vec::new(),
    };
    CheckpointMetadata {
        job: JobId(u128::MAX - 1),
        job_name: "job".to_string(),
        checkpoint: CheckpointId(7),
        attempt: Attempt(2),
        max_parallelism: GROUPS,
        finished: false,
        draining: false,
        operators: vec![operator],
        in_flight: Vec::new(),
        times: Vec::new(),
        origin: None,
    }
}

type Visit<'a> = &'a mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>;

/// Each group has a full block, and every second one changes.
struct Blocks;

impl StateReader for Blocks {
    fn read(&self, _: &StateAddress, range: KeyGroupRange, visit: Visit<'_>) -> Result<(), StoreError> {
        for group in range.iter() {
            visit(group, BlockKind::Full, 3, &[group.0 as u8; 50]).map_err(StoreError::from)?;
            if group.0 % 2 == 1 {
                visit(group, BlockKind::Changes, 1, &[group.0 as u8; 9]).map_err(StoreError::from)?;
            }
        }
        Ok(())
    }
}

fn write(to: &mut dyn Write) -> Result<u64, BoxError> {
    write_with(metadata(), to)
}

fn write_with(metadata: CheckpointMetadata, to: &mut dyn Write) -> Result<u64, BoxError> {
    let stamp = Stamp { id: SavepointId(5), written: UNIX_EPOCH };
    let (bytes, states) = Pinned::new(metadata, Arc::new(Blocks)).write_to(to, stamp)?;
    assert_eq!(states, [(address(), 4 * 50 + 2 * 9)]);
    Ok(bytes)
}

fn whole() -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(write(&mut bytes).unwrap(), bytes.len() as u64);
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Savepoint<Cursor<Vec<u8>>>, StoreError> {
    Savepoint::of(Cursor::new(bytes), "the file".to_string())
}

#[test]
fn what_was_written_is_read_in_whole_and_in_part() {
    let mut savepoint = open(whole()).unwrap();
    savepoint.verify().unwrap();
    assert_eq!((savepoint.id(), savepoint.written()), (SavepointId(5), UNIX_EPOCH));
    assert_eq!(savepoint.metadata(), &metadata());
    let read = |savepoint: &mut dyn FnMut(Visit<'_>) -> Result<(), StoreError>| {
        let mut seen = Vec::new();
        savepoint(&mut |group, kind, entries, bytes| {
            seen.push((group, kind, entries, bytes.to_vec()));
            Ok(())
        })
        .unwrap();
        seen
    };
    for (start, end) in [(0, GROUPS), (1, 2), (2, 2), (3, u16::MAX)] {
        let range = KeyGroupRange { start, end };
        let found = read(&mut |visit| savepoint.read(&address(), range, visit));
        let expected = read(&mut |visit| Blocks.read(&address(), KeyGroupRange { start, end: end.min(GROUPS) }, visit));
        assert_eq!(found, expected);
    }
    let other = StateAddress { operator: "other".to_string(), ..address() };
    savepoint.read(&other, KeyGroupRange { start: 0, end: GROUPS }, &mut |_, _, _, _| Err("none".into())).unwrap();
}

/// The same, with time on an edge, and a batch and watermarks on their way.
fn timed() -> CheckpointMetadata {
    let said = Watermark { time: Timestamp(-3), is_idle: true };
    let time = EdgeTime {
        edge: "a -> count".to_string(),
        subtask: SubtaskIndex(1),
        parallelism: 2,
        event_time: Timestamp(1_436_918_400_000),
        channels: vec![said, Watermark::NONE, Watermark::END],
    };
    let earlier = EdgeTime { subtask: SubtaskIndex(0), event_time: Timestamp::MIN, ..time.clone() };
    let in_flight = InFlightRecord {
        edge: time.edge.clone(),
        subtask: SubtaskIndex(1),
        parallelism: 2,
        channels: 3,
        channel: ChannelIndex(2),
        batches: vec![said.to_bytes(), vec![0x91, 5], Watermark::END.to_bytes()],
    };
    CheckpointMetadata { times: vec![earlier, time], in_flight: vec![in_flight], ..metadata() }
}

#[test]
fn times_and_watermarks_in_flight_come_back_also_through_a_savepoint_made_of_one() {
    let mut bytes = Vec::new();
    write_with(timed(), &mut bytes).unwrap();
    let savepoint = open(bytes).unwrap();
    assert_eq!(savepoint.metadata(), &timed());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made");
    SavepointWriter::of(&StoredCheckpoint::from(savepoint)).write(&path).unwrap();
    assert_eq!(Savepoint::open(&path).unwrap().metadata(), &timed());
    SavepointWriter::new("job", GROUPS).unwrap().write(directory.path().join("new")).unwrap();
    assert!(Savepoint::open(directory.path().join("new")).unwrap().metadata().times.is_empty(), "nothing has come yet");
}

/// A file of `version`, whose header is `header`.
fn of_version(version: u32, header: &[u8]) -> Vec<u8> {
    let (preamble, preamble_checksum) = Preamble { version, ..Preamble::of(header) }.encode();
    let (directory_offset, directory) = ((PREAMBLE + header.len()) as u64, postcard::to_stdvec(&[(); 0][..]).unwrap());
    let footer = Footer {
        directory_offset,
        directory_length: directory.len() as u64,
        directory_checksum: xxh3_64(&directory),
        length: directory_offset + (directory.len() + FOOTER) as u64,
        preamble_checksum,
    };
    [&preamble, header, &directory, &footer.encode()[..]].concat()
}

#[test]
fn a_file_of_the_first_version_has_no_times() {
    let header = serde_json::to_string(&Header::new(SavepointId(5), UNIX_EPOCH, metadata())).unwrap();
    let (first, times) = header.rsplit_once(",\"times\":").unwrap();
    assert_eq!(times, "[]}");
    let savepoint = open(of_version(1, format!("{first}}}").as_bytes())).unwrap();
    assert_eq!(savepoint.metadata(), &metadata());
}

#[test]
fn a_newer_version_is_refused_in_words() {
    let mut bytes = whole();
    let first: [u8; PREAMBLE] = bytes[..PREAMBLE].try_into().unwrap();
    let (preamble, _) = Preamble::decode(&first).unwrap();
    let (newer, _) = Preamble { version: 3, ..preamble }.encode();
    bytes[..PREAMBLE].copy_from_slice(&newer);
    let error = open(bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Newer);
    assert!(error.message.contains("the file is of version 3, and this program reads up to version 2"), "{error}");
}

/// Parts that are whole, each by itself.
#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let bytes = whole();
    let at = bytes.len() - FOOTER;
    let footer = Footer::decode(&bytes[at..].try_into().unwrap()).unwrap();
    let with = |footer: Footer| {
        let mut changed = bytes.clone();
        changed[at..].copy_from_slice(&footer.encode());
        open(changed).map(drop)
    };
    with(footer).unwrap();
    for wrong in [
        Footer { preamble_checksum: footer.preamble_checksum ^ 1, ..footer },
        Footer { length: footer.length + 1, ..footer },
        Footer { directory_offset: footer.directory_offset - 1, ..footer },
        Footer { directory_length: u64::MAX, ..footer },
    ] {
        assert_eq!(with(wrong).unwrap_err().kind, StoreErrorKind::Damaged);
    }
    // A directory that leaves out the last block.
    let mut gap = Vec::new();
    let mut writer = Writer::new(&mut gap, &Header::new(SavepointId(5), UNIX_EPOCH, metadata())).unwrap();
    writer.state(address());
    writer.block(KeyGroup(1), BlockKind::Full, 1, b"one").unwrap();
    writer.block(KeyGroup(0), BlockKind::Full, 1, b"zero").unwrap();
    writer.finish().unwrap();
    assert!(open(gap).unwrap_err().message.contains("out of order"));
}

/// Takes so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_anywhere_is_an_error() {
    let length = whole().len();
    for room in 0..length {
        assert!(write(&mut Full(room)).is_err(), "{room} of {length} bytes");
    }
    assert_eq!(write(&mut Full(length)).unwrap(), length as u64);
}
