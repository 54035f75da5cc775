//! Writes a savepoint, block after block.

use std::{
    io::{self, Write},
    mem,
};

use xxhash_rust::xxh3::xxh3_64;

use super::format::{BlockEntry, FOOTER, Footer, Header, PREAMBLE, Preamble, StateEntry};
use crate::{
    checkpoint::snapshot::{BlockKind, StateAddress},
    key_group::KeyGroup,
};

/// See the module.
pub(super) struct Writer<W> {
    to: W,
    /// Bytes written.
    at: u64,
    preamble_checksum: u64,
    states: Vec<StateEntry>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut to: W, header: &Header) -> io::Result<Self> {
        let header = serde_json::to_vec(header)?;
        let (preamble, preamble_checksum) = Preamble::of(&header).encode();
        to.write_all(&preamble)?;
        to.write_all(&header)?;
        Ok(Self { to, at: (PREAMBLE + header.len()) as u64, preamble_checksum, states: Vec::new() })
    }

    /// What follows are this state's blocks.
    pub(super) fn state(&mut self, address: StateAddress) {
        self.states.push(StateEntry { address, blocks: Vec::new() });
    }

    /// The next block of the state: by growing group, in each group the oldest first.
    pub(super) fn block(&mut self, group: KeyGroup, kind: BlockKind, entries: u32, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        let (offset, length) = (self.at, bytes.len() as u64);
        self.at += length;
        let entry = BlockEntry { group, kind, entries, offset, length, checksum: xxh3_64(bytes) };
        self.states.last_mut().ok_or_else(|| io::Error::other("a block without a state"))?.blocks.push(entry);
        Ok(())
    }

    /// Writes the end, and says how long the file is.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let directory = postcard::to_stdvec(&mem::take(&mut self.states)).map_err(io::Error::other)?;
        let footer = Footer {
            directory_offset: self.at,
            directory_length: directory.len() as u64,
            directory_checksum: xxh3_64(&directory),
            length: self.at + (directory.len() + FOOTER) as u64,
            preamble_checksum: self.preamble_checksum,
        };
        self.to.write_all(&directory)?;
        self.to.write_all(&footer.encode())?;
        self.to.flush()?;
        Ok(footer.length)
    }
}
