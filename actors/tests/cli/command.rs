//! One run of the command.

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// Exit codes that operators' scripts go by.
pub const FAILED: i32 = 1;
pub const USAGE: i32 = 2;
pub const DAMAGED: i32 = 3;
pub const REFUSED: i32 = 4;
pub const NOT_FOUND: i32 = 5;

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

    /// Asserts that it failed as `code` says, and said all of `words`.
    pub fn failed_with(self, code: i32, words: &[&str]) {
        assert_eq!((self.code, &*self.stdout), (Some(code), ""), "{self:?}");
        assert!(words.iter().all(|word| self.stderr.contains(word)), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }

    /// Asserts that it failed as `code` says, with nothing but the one object that says so.
    pub fn failed_in_json_with(self, code: i32, words: &[&str]) {
        let error: Value = serde_json::from_str(&self.stderr).unwrap_or_else(|_| panic!("{self:?}"));
        let kind = ["", "failed", "usage", "damaged", "refused", "not_found"][code as usize];
        let fields: Vec<_> = error["error"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((error.as_object().unwrap().len(), &*fields), (1, &["code", "kind", "message"][..]), "{self:?}");
        assert_eq!((&error["error"]["code"], &error["error"]["kind"]), (&code.into(), &kind.into()), "{self:?}");
        self.failed_with(code, words);
    }
}
