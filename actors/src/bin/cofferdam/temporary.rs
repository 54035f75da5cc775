//! A directory for a copy of state, which goes however the command ends.
//!
//! ```text
//! command  --- its standard input, never written to --->  holder: made the directory, and removes it when that ends
//! ```
//! The command may be interrupted or killed while it copies, and cannot clean up then. So a process of its own holds the directory: out of reach of a terminal's Ctrl-C, which goes to a process group.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use crate::{failure::Failure, output::Output};

/// Until it is dropped, or the process ends.
pub struct Temporary {
    path: PathBuf,
    holder: Child,
}

impl Temporary {
    /// Makes one within `within`, or where the system has such.
    pub fn make(within: Option<&Path>) -> Result<Self, Failure> {
        let within = within.map_or_else(std::env::temp_dir, Path::to_owned);
        // Links would have damage told of a path that is not the copy's.
        let within = within.canonicalize().map_err(|cause| no_directory(&within, cause))?;
        let mut holder = itself(&["hold-temporary"], [&*within])?;
        let mut path = Vec::new();
        if let Some(stdout) = &mut holder.stdout {
            BufReader::new(stdout).read_until(b'\n', &mut path)?;
        }
        match String::from_utf8_lossy(&path).trim_end() {
            "" => Err(Failure::told(&holder.wait_with_output()?.stderr)),
            name => Ok(Self { path: within.join(name), holder }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        // Only if somebody has killed the holder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The holder: makes a directory in `within`, says its name, and removes it once its parent is gone or needs it no more.
pub fn hold(within: &Path, output: &mut Output) -> Result<ExitCode, Failure> {
    let made = tempfile::Builder::new().prefix("cofferdam-").tempdir_in(within);
    let made = made.map_err(|cause| no_directory(within, cause))?;
    output.line(made.path().file_name().unwrap_or_default().display())?;
    output.finish()?;
    wait_for_the_parent();
    // A child that has not noticed yet may still put a file there.
    for _ in 0..1_000 {
        match fs::remove_dir_all(made.path()) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => thread::sleep(Duration::from_millis(10)),
            _ => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends this process once its parent is gone: nobody wants what it does.
#[expect(clippy::exit, reason = "the main thread is busy, and what it does is of no use")]
pub fn end_with_the_parent() {
    thread::spawn(|| {
        wait_for_the_parent();
        std::process::exit(1);
    });
}

fn wait_for_the_parent() {
    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
}

/// The same program in a process that the terminal's Ctrl-C does not reach, with all its ends piped.
pub fn itself<'a>(arguments: &[&str], paths: impl IntoIterator<Item = &'a Path>) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--json").args(arguments).args(paths.into_iter().map(Path::as_os_str));
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn no_directory(within: &Path, cause: io::Error) -> Failure {
    Failure::failed(format!("no directory can be made in {} (see --temp-dir): {cause}", within.display()))
}
