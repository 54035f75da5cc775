//! The bytes of a split.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use cofferdam_engine::BoxError;
use flate2::bufread::MultiGzDecoder;

use super::split::FileSplit;
use crate::connector::failure::{AtPath, failure};

/// Large enough that a read costs nothing per line.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// The content of a split, decompressed, from an offset on.
pub(super) type Input = Box<dyn BufRead + Send>;

/// Opens a split at an offset. A plain file is sought; gzip has no way in but from its start.
pub(super) fn open(split: &FileSplit, offset: u64) -> Result<Input, BoxError> {
    let mut file = File::open(split.path()).at("open", split.path())?;
    if split.gzip {
        let compressed = BufReader::with_capacity(BUFFER_BYTES, WholeFile { file, left: split.size });
        let mut input = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(compressed));
        let passed = io::copy(&mut input.by_ref().take(offset), &mut io::sink()).at("read", split.path())?;
        check_reached(split, offset, passed)?;
        Ok(Box::new(input))
    } else {
        check_reached(split, offset, split.size)?;
        file.seek(SeekFrom::Start(offset)).at("read", split.path())?;
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, WholeFile { file, left: split.size - offset })))
    }
}

fn check_reached(split: &FileSplit, offset: u64, end: u64) -> Result<(), BoxError> {
    if end < offset {
        let path = &split.path;
        let message = format!("file '{path}' had been read up to byte {offset}, and now ends at {end}: it was changed");
        return Err(message.into());
    }
    Ok(())
}

/// Names the file and the line that an I/O error came after.
pub(super) fn read_error(split: &FileSplit, line: u64, cause: io::Error) -> BoxError {
    failure(format!("cannot read file '{}' behind line {line}", split.path), cause)
}

/// Exactly as many bytes of a file as the split has: more that came later are not read, fewer are an error and not an end.
struct WholeFile {
    file: File,
    left: u64,
}

impl Read for WholeFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut into[..len])?;
        if read == 0 && len > 0 {
            let message = format!("it has shrunk: {} bytes less than when the job first started", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.left -= read as u64;
        Ok(read)
    }
}
