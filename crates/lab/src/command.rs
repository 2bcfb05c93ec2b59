//! Running other programs to their end.

use std::{
    ffi::OsStr,
    io::{Seek, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::error::{LabError, Result};

/// Runs `command` to its end and returns what it wrote to stdout. A status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<String> {
    run_with_input(command, "")
}

/// Like [`run`], with `input` as stdin.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let output = output(command, input)?;
    if !output.status.success() {
        return Err(failure(command, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`run_with_input`], for an input of any length: it is given as a file.
pub fn run_with_file(command: &mut Command, input: &str) -> Result<String> {
    let program = name(command.get_program());
    let failed = |source| LabError::Spawn { program, source };
    let file = tempfile::tempfile().and_then(|mut file| {
        file.write_all(input.as_bytes())?;
        file.rewind()?;
        Ok(file)
    });
    let output = file.and_then(|file| command.stdin(file).output()).map_err(failed)?;
    if !output.status.success() {
        return Err(failure(command, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` to its end, whatever its status.
pub fn output(command: &mut Command, input: &str) -> Result<Output> {
    let program = name(command.get_program());
    let failed = move |source| LabError::Spawn { program, source };
    // A short input fits the pipe's buffer, so writing all of it before reading cannot block.
    debug_assert!(input.len() < 60_000);
    let result = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                // A program that ends without reading its input says why by its status.
                let _ = stdin.write_all(input.as_bytes());
            }
            child.wait_with_output()
        });
    result.map_err(failed)
}

fn failure(command: &Command, output: &Output) -> LabError {
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(name)
        .collect::<Vec<_>>()
        .join(" ");
    let written = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    LabError::Command {
        command: line,
        status: output.status.to_string(),
        output: last_lines(&String::from_utf8_lossy(written), 10),
    }
}

fn name(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// The last `count` lines of `text`.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The last `count` lines of a log file; of a file that cannot be read, why not.
pub fn tail(log: &Path, count: usize) -> String {
    match std::fs::read(log) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), count),
        Err(error) => format!("(no log: {error})"),
    }
}

/// Finds an executable in `PATH` and in the places where system programs are.
pub fn find_program(program: &str, remedy: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| LabError::MissingProgram {
            program: program.to_owned(),
            places: "PATH".to_owned(),
            remedy,
        })
}

/// Is it a file that may be run?
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_quotes_the_command_and_its_complaint() {
        let error = run(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"]))
            .expect_err("exit 3")
            .to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no such luck"), "{error}");
        assert_eq!(run_with_input(&mut Command::new("cat"), "hello").expect("cat"), "hello");
    }

    #[test]
    fn the_tail_of_a_text_is_its_last_lines() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
    }
}
