//! One run of the command.

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// How it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn command(arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command.args(arguments.iter().map(|argument| argument.as_ref())).stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&dyn AsRef<OsStr>]) -> Ran {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A run whose output is piped and not read.
pub fn spawn(arguments: &[&dyn AsRef<OsStr>]) -> Child {
    command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

impl Ran {
    /// What it said, if all went well.
    pub fn said(self) -> String {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// The document it said.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.said()).unwrap()
    }

    /// The documents it said, one a line.
    pub fn json_lines(self) -> Vec<Value> {
        self.said().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asserts that it failed and said all of `words`.
    pub fn failed_with(self, words: &[&str]) {
        assert_eq!((self.code, &*self.stdout), (Some(1), ""), "{self:?}");
        assert!(words.iter().all(|word| self.stderr.contains(word)), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}
