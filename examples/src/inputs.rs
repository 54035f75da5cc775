//! What a job reads, remembered beside its state: a job that goes on, or has ended, reads what it read at first, whatever the command line says.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use cofferdam::prelude::*;

use crate::beside::{self, has_state};

/// Refuses inputs that are not there, and those that the state in `state` does not read. Remembers them if there is no state yet.
pub fn check(state: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let named: BTreeSet<PathBuf> = inputs.iter().map(absolute).collect();
    let file = beside::path(state, "inputs");
    let known = if has_state(state) { read(&file) } else { None };
    if let Some(known) = &known
        && without_links(known) != without_links(&named)
    {
        let (state, known, named) = (state.display(), list(known), list(&named));
        return Err(Error::refused(format!(
            "the state in {state} reads {known}; you named {named}: name {known} again, or remove state and output to start over"
        )));
    }
    for input in inputs {
        let found = FileSource::lines(input).splits(1);
        let what = if known.is_some() { "an input has vanished" } else { "there is an input that cannot be read" };
        found.map_err(|cause| Error::refused(format!("{what}: {cause}")))?;
    }
    if known.is_none() && !has_state(state) {
        remember(&file, &named)
            .map_err(|cause| Error::refused(format!("cannot write '{}': {cause}", file.display())))?;
    }
    Ok(())
}

/// Nothing if nobody knows: the state may have come from elsewhere.
fn read(file: &Path) -> Option<BTreeSet<PathBuf>> {
    let text = fs::read_to_string(file).ok()?;
    // The end shows that it is whole.
    let paths = text.strip_suffix("\0\n")?.split("\0\n");
    Some(paths.map(PathBuf::from).collect())
}

fn remember(file: &Path, inputs: &BTreeSet<PathBuf>) -> io::Result<()> {
    // A name that is not Unicode is refused by the source.
    let text: String = inputs.iter().map(|path| format!("{}\0\n", path.display())).collect();
    beside::write(file, &text)
}

/// Each path in its one spelling, if there is such a file; a glob as it is.
fn without_links(paths: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    paths.iter().map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone())).collect()
}

fn list(paths: &BTreeSet<PathBuf>) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_inputs_are_refused_as_long_as_there_is_state() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (state, a, b) = (at("new/state"), at("a"), at("b"));
        for file in [&a, &b] {
            fs::write(file, "x\n").unwrap();
        }
        assert!(check(&state, &[at("missing")]).is_err());
        check(&state, std::slice::from_ref(&a)).unwrap();
        // It did not begin.
        check(&state, &[a.clone(), b.clone()]).unwrap();

        fs::create_dir(&state).unwrap();
        fs::write(state.join("data"), "").unwrap();
        check(&state, &[b.clone(), a.clone(), at("new/../a")]).unwrap();
        let error = check(&state, std::slice::from_ref(&b)).unwrap_err().to_string();
        for part in [state.display().to_string(), format!("{}, {}", a.display(), b.display()), "you named".into()] {
            assert!(error.contains(&part), "{error}");
        }
        fs::remove_file(&a).unwrap();
        let error = check(&state, &[a.clone(), b.clone()]).unwrap_err().to_string();
        assert!(error.contains("vanished") && error.contains(a.to_str().unwrap()), "{error}");

        fs::remove_dir_all(&state).unwrap();
        check(&state, &[b]).unwrap();
    }
}
