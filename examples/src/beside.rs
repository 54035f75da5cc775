//! Files beside a state directory: in the directory itself there is room for nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// `<state>.<name>`.
pub fn path(state: &Path, name: &str) -> PathBuf {
    let mut path = std::path::absolute(state).unwrap_or_else(|_| state.to_owned()).into_os_string();
    path.push(format!(".{name}"));
    path.into()
}

/// Whether a job has begun there.
pub fn has_state(state: &Path) -> bool {
    fs::read_dir(state).is_ok_and(|mut entries| entries.next().is_some())
}

/// Writes a file whole or not at all.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, text)?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(temporary, file)
}
