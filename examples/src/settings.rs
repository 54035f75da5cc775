//! What a job was told that decides its rows, remembered beside its state: a job that goes on, or has ended, is told the same again, whatever the command line says.

use std::{collections::BTreeMap, fs, io, path::Path};

use cofferdam::prelude::*;
use serde_json::Value;

use crate::beside;

/// Refuses settings other than those that the state in `state` was begun with, and touches nothing then. Remembers them if there is no state yet, or nobody knows.
///
/// A setting goes by the name that it has on the command line; `null` is one that was not given.
pub fn check<const N: usize>(state: &Path, settings: [(&str, Value); N]) -> Result<(), Error> {
    let given: BTreeMap<String, Value> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let file = beside::path(state, "settings");
    let failed = |what: &str, cause: io::Error| Error::refused(format!("cannot {what} '{}': {cause}", file.display()));
    let known = if beside::has_state(state) { read(&file).map_err(|cause| failed("read", cause))? } else { None };
    if let Some(known) = &known {
        refuse_others(known, &given, state, &file)?;
    }
    if known.as_ref() == Some(&given) {
        return Ok(());
    }
    let text = serde_json::to_string(&given).map_err(io::Error::from);
    text.and_then(|text| beside::write(&file, &text)).map_err(|cause| failed("write", cause))
}

/// Nothing if nobody knows: the state may have come from elsewhere.
fn read(file: &Path) -> io::Result<Option<BTreeMap<String, Value>>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn refuse_others(
    known: &BTreeMap<String, Value>,
    given: &BTreeMap<String, Value>,
    state: &Path,
    file: &Path,
) -> Result<(), Error> {
    let differ = |name: &&String| known.get(*name).is_some_and(|value| *value != given[*name]);
    let names: Vec<&String> = given.keys().filter(differ).collect();
    if names.is_empty() {
        return Ok(());
    }
    let list = |of: &BTreeMap<String, Value>| {
        let said: Vec<String> = names.iter().map(|name| said(name, &of[*name])).collect();
        said.join(", ")
    };
    let (then, now) = (list(known), list(given));
    Err(Error::refused(format!(
        "the job whose state is in {} was begun with {then} ('{}' says so), and is now given {now}: say {then} again, or remove state and output to start over",
        state.display(),
        file.display()
    )))
}

/// As it is on the command line.
fn said(name: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("no {name}"),
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_are_refused_as_long_as_there_is_state() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("new/state");
        let check =
            |events: u64, disorder: Value| check(&state, [("--events", events.into()), ("--disorder", disorder)]);
        check(10, Value::Null).unwrap();
        // It did not begin.
        check(20, Value::Null).unwrap();

        fs::create_dir(&state).unwrap();
        fs::write(state.join("data"), "").unwrap();
        check(20, Value::Null).unwrap();
        for _ in 0..2 {
            let error = check(30, Value::Null).unwrap_err().to_string();
            for part in [state.to_str().unwrap(), "begun with --events 20 ", "now given --events 30:", "to start over"]
            {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("--disorder"), "{error}");
            let error = check(20, 60.into()).unwrap_err().to_string();
            assert!(error.contains("begun with no --disorder ") && error.contains("given --disorder 60:"), "{error}");
        }
        check(20, Value::Null).unwrap();

        fs::remove_dir_all(&state).unwrap();
        check(30, 60.into()).unwrap();
    }

    #[test]
    fn state_without_settings_is_taken_and_gets_some() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("data"), "").unwrap();
        check(&state, [("--events", 10.into())]).unwrap();
        assert!(check(&state, [("--events", 11.into())]).is_err());
        // A program that knows more settings than the one that began.
        check(&state, [("--events", 10.into()), ("QUERY", "q3".into())]).unwrap();
        let error = check(&state, [("--events", 10.into()), ("QUERY", "q4".into())]).unwrap_err().to_string();
        assert!(error.contains("QUERY q3") && error.contains("QUERY q4") && !error.contains("--events"), "{error}");
    }

    #[test]
    fn settings_that_cannot_be_read_are_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (state, file) = (dir.path().join("state"), dir.path().join("state.settings"));
        fs::create_dir(&state).unwrap();
        fs::write(state.join("data"), "").unwrap();
        fs::write(&file, "{\"--ev").unwrap();
        let error = check(&state, [("--events", 10.into())]).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), "{\"--ev");
    }
}
