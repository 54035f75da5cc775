//! An example as a program.

use std::{path::PathBuf, process::Command};

/// The program, which lies beside the test programs. `cargo test --workspace` has built it by now, and cargo only sees that it is fresh.
pub fn program(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--locked", "--quiet", "--example", example, "--target-dir"]);
    cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !profile.ends_with("debug") {
        cargo.arg("--profile").arg(profile.file_name().unwrap());
    }
    assert!(cargo.status().unwrap().success(), "the example could not be built");
    profile.join("examples").join(example)
}
