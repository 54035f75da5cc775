//! Opens LMDB: the only unsafe code of the project.

use std::path::Path;

use heed::{EnvFlags, EnvOpenOptions, WithoutTls};

use super::{layout, lock_file::LockFile};

pub(super) type Env = heed::Env<WithoutTls>;

/// Reads of state and look-ups are one at a time for each subtask, and short; LMDB's own choice is 126.
pub(super) const MAX_READERS: u32 = 1024;

/// Opens the environment in `directory`, which `lock` shows to be ours alone.
///
/// # The promises that heed asks for, and who keeps them
/// - *The mapped file is changed by nobody else, in or out of this process*: [`LockFile`] keeps other stores out, and no code of ours
///   writes to `data.mdb`. Another program that does is beyond what a library can stop; `start` notices what it left behind.
/// - *The file is what LMDB wrote*: `start` compares its meta pages and length with the note, and checks every page that leads to another
///   (`tree`), before it comes here, so that LMDB is not led astray or beyond the end of the file.
/// - *No long-lived transactions*: a read transaction lives within one call of `StateReader::read` or `StateLookup::get_many`, a write transaction within one commit.
/// - *No abort with an active transaction*: an abandoned reader slot is cleared at the next start; LMDB discards an unfinished write.
/// - *No remote file system*: asked of the user on [`Lmdb`](super::Lmdb).
/// - *No unsafe flags*: there are none. (NO_READ_AHEAD would be safe, but reading 128 MB back from a cold disk took 15 times as long.)
/// - *`lock.mdb` stays whole*: nobody else removes or writes it, and it is closed only by LMDB. No other descriptor of `data.mdb` is closed
///   while the environment is open, as that would drop LMDB's POSIX locks.
/// - *The map is never resized under a reader*: it is not resized at all, but closed and opened again (`environment`).
pub(super) fn open(directory: &Path, _lock: &LockFile, map_size: usize) -> heed::Result<Env> {
    open_with(directory, map_size, EnvFlags::empty())
}

/// Opens the environment in `directory` for reading alone, while another process may have it open and write to it: that is LMDB's own, and the rest of the promises above
/// hold (`inspect` checks pages before it reads through the map, and closes no other descriptor of `data.mdb` before). heed refuses what is open in this process.
pub(super) fn open_to_read(directory: &Path, map_size: usize) -> heed::Result<Env> {
    open_with(directory, map_size, EnvFlags::READ_ONLY)
}

#[allow(unsafe_code)]
fn open_with(directory: &Path, map_size: usize, flags: EnvFlags) -> heed::Result<Env> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_size).max_dbs(layout::DATABASES).max_readers(MAX_READERS);
    // SAFETY: READ_ONLY is no flag that LMDB calls unsafe; and the promises above.
    unsafe { options.flags(flags).open(directory) }
}
