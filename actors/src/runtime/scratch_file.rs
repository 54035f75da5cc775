//! What circulates in loops, beyond what memory is to hold: files without a name.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use cofferdam_engine::{BoxError, NewScratch, Scratch};

/// A file that is gone with the process, if not before.
struct ScratchFile {
    file: File,
    directory: Arc<Path>,
}

/// Makes one file after the other in a directory.
pub(crate) fn scratch_files(directory: PathBuf) -> NewScratch {
    let directory: Arc<Path> = directory.into();
    Arc::new(move || {
        let file = tempfile::tempfile_in(&directory).map_err(|cause| failed("made", &directory, cause))?;
        Ok(Box::new(ScratchFile { file, directory: directory.clone() }))
    })
}

impl Scratch for ScratchFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let written = self.file.seek(SeekFrom::End(0)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|cause| failed("written", &self.directory, cause))
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), BoxError> {
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(bytes));
        read.map_err(|cause| failed("read", &self.directory, cause))
    }

    fn clear(&mut self) -> Result<(), BoxError> {
        self.file.set_len(0).map_err(|cause| failed("emptied", &self.directory, cause))
    }
}

/// A file could not be used.
#[derive(Debug)]
struct ScratchError {
    what: &'static str,
    directory: Arc<Path>,
    cause: io::Error,
}

fn failed(what: &'static str, directory: &Arc<Path>, cause: io::Error) -> BoxError {
    ScratchError { what, directory: directory.clone(), cause }.into()
}

impl std::fmt::Display for ScratchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a temporary file in '{}' cannot be {} (see that the directory is there, can be written to and has room, or name another one with `EngineBuilder::spill_directory`)",
            self.directory.display(),
            self.what
        )
    }
}

impl std::error::Error for ScratchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn it_reads_anywhere_what_was_written_and_leaves_no_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut scratch = scratch_files(directory.path().into())().unwrap();
        scratch.append(b"first").unwrap();
        let mut bytes = [0; 5];
        scratch.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"first");
        scratch.append(b" and then").unwrap();
        scratch.read(3, &mut bytes).unwrap();
        assert_eq!(&bytes, b"st an");
        scratch.clear().unwrap();
        assert!(scratch.read(0, &mut bytes).is_err(), "it was emptied");
        scratch.append(b"again").unwrap();
        scratch.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"again");
        assert_eq!(directory.path().read_dir().unwrap().count(), 0, "it has no name");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named_with_the_way_out() {
        let error = scratch_files("/no/such/place".into())().err().unwrap();
        assert!(error.to_string().contains("'/no/such/place'") && error.to_string().contains("spill_directory"));
        assert!(error.source().is_some());
    }
}
