//! `lock.mdb`, made before LMDB would make it.
//!
//! LMDB makes a missing one as the user who comes first, who may be an operator that only looks: then the job may not open it. And it makes it sparse, so that on a full disk the first page touched kills the process
//! with SIGBUS. This one belongs to the owner of `data.mdb` and is written out. LMDB initialises what it finds when nobody else has the file open, whatever is in it; and it takes
//! the number of readers from its length.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write as _},
    path::Path,
};

use cofferdam_engine::checkpoint::store::StoreError;

use super::{directory, env, fault};

/// What a reader's slot takes, at most, and what is before the slots.
const SLOT: usize = 64;
const HEADER: usize = 4096;

/// Makes `lock.mdb` if there is none, whole or not at all: somebody else may be about to open it. `data.mdb` is there.
pub(super) fn prepare(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(directory::LMDB_LOCK);
    if path.exists() {
        return Ok(());
    }
    let unfinished = directory.join(format!(".{}.{}", directory::LMDB_LOCK, std::process::id()));
    let made = make(directory, &unfinished).and_then(|()| link(&unfinished, &path));
    let _ = fs::remove_file(&unfinished);
    match made {
        // There LMDB does without.
        Err(cause) if cause.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        made => made.map_err(|cause| fault::io(directory, "make lock.mdb", cause)),
    }
}

fn make(directory: &Path, unfinished: &Path) -> io::Result<()> {
    let data = fs::metadata(directory.join(directory::DATA))?;
    let mut file = File::options().write(true).create(true).truncate(true).open(unfinished)?;
    file.write_all(&vec![0; HEADER + SLOT * env::MAX_READERS as usize])?;
    give(&file, &data)?;
    file.sync_all()
}

/// Unless somebody has made one meanwhile.
fn link(unfinished: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, path) {
        Err(_) if path.exists() => Ok(()),
        // A file system without links: LMDB makes it.
        Err(cause) if matches!(cause.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => Ok(()),
        linked => linked,
    }
}

/// Gives `file` the owner and the rights of `data.mdb`.
#[cfg(unix)]
fn give(file: &File, data: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    let ours = file.metadata()?;
    if ours.uid() != data.uid() {
        fchown(file, Some(data.uid()), Some(data.gid()))?;
    } else if ours.gid() != data.gid() {
        // An owner may have left the group.
        let _ = fchown(file, None, Some(data.gid()));
    }
    file.set_permissions(data.permissions())
}

#[cfg(not(unix))]
fn give(_file: &File, _data: &Metadata) -> io::Result<()> {
    Ok(())
}
