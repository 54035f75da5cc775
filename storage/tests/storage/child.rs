//! Runs a scenario in a process of its own: this test binary again, told by an environment variable to do something else.

use std::{
    path::Path,
    process::{Command, Stdio},
};

const PLACE: &str = "COFFERDAM_TEST_CHILD_PLACE";

/// The command that runs test `name` with the directory `place`.
pub fn command(name: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PLACE, place).stdout(Stdio::piped());
    command
}

/// The directory, if this process is such a child.
pub fn place() -> Option<std::path::PathBuf> {
    std::env::var_os(PLACE).map(Into::into)
}

/// The same command where no file may have more than `blocks` of 512 bytes.
#[cfg(unix)]
pub fn with_file_limit(command: &mut Command, blocks: u32) -> Command {
    let mut limited = Command::new("sh");
    // Writing more is an error then, not a signal.
    limited
        .args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"")])
        .arg(command.get_program());
    limited.args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdout(Stdio::piped());
    limited
}
