//! Checked-in files that follow from the code.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context, bail};

use crate::{
    setup::setup,
    shell::{
        cargo, output_of, remove_directory, run, say, target_directory, with_scratch_postgres,
        workspace_root,
    },
};

const QUERIES: &str = ".sqlx";
const OPENAPI: &str = "docs/openapi.json";

/// Content of some files, by path.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Writes the descriptions of the queries and of the HTTP API, or checks that they are up to date.
pub fn generate(check: bool) -> anyhow::Result<()> {
    setup()?;
    let root = workspace_root()?;
    // The API is printed by a program that is compiled with the queries, so they come first.
    let queries = queries()?;
    if check {
        let changed = changed(&files_in(&root.join(QUERIES))?, &queries);
        refuse(&changed, QUERIES)?;
    } else {
        replace_directory(&root.join(QUERIES), &queries)?;
    }
    // Built as the tests need it, so that nothing is built twice.
    run(cargo()?.args(["build", "--workspace", "--bins"]))?;
    let mut control = Command::new(target_directory()?.join("debug/sextant-control"));
    let openapi = output_of(control.arg("openapi"))?;
    let path = root.join(OPENAPI);
    if check {
        if fs::read(&path).unwrap_or_default() != openapi {
            refuse(&[OPENAPI.to_owned()], "docs")?;
        }
    } else {
        write(&path, &openapi)?;
    }
    Ok(())
}

fn refuse(changed: &[String], place: &str) -> anyhow::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let list = changed.join("\n  ");
    bail!("{place} is out of date; run `cargo xtask generate` and commit the result:\n  {list}")
}

/// The queries as a fresh database with all migrations describes them.
fn queries() -> anyhow::Result<Files> {
    let output = target_directory()?.join(format!("xtask/queries-{}", std::process::id()));
    // Not the whole workspace: what uses the queries does not compile before they are described.
    run(cargo()?.args(["build", "--package", "sextant-lab", "--bins"]))?;
    let own = std::env::current_exe().context("cannot find the program of xtask")?;
    let mut describe = Command::new(own);
    with_scratch_postgres(describe.arg("describe-queries").arg(&output))?;
    let queries = files_in(&output)?;
    remove_directory(&output)?;
    Ok(queries)
}

/// Runs inside [`with_scratch_postgres`].
pub fn describe_queries(output: &Path) -> anyhow::Result<()> {
    let socket = std::env::var("SEXTANT_TEST_POSTGRES")
        .context("SEXTANT_TEST_POSTGRES is not set; run `cargo xtask generate`")?;
    let root = workspace_root()?;
    let psql = || {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &socket]);
        command
    };
    let database = "describe_queries";
    run(psql().args(["-d", "postgres", "-c", &format!("CREATE DATABASE {database}")]))?;
    for migration in files_in(&root.join("migrations"))?.keys() {
        if migration.extension().is_some_and(|extension| extension == "sql") {
            let path = root.join("migrations").join(migration);
            run(psql().args(["-d", database, "-1", "-f"]).arg(path))?;
        }
    }
    fs::create_dir_all(output).with_context(|| format!("cannot make \"{}\"", output.display()))?;
    let source = root.join("crates/store/src/lib.rs");
    // Cargo does not know that the queries depend on the database, only that a file is newer.
    let before = set_modified(&source, SystemTime::now())?;
    let url = format!("postgresql:///{database}?host={}&user=postgres", encoded(&socket));
    let checked = run(cargo()?
        .args(["check", "--package", "sextant-store"])
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", output));
    // As before, so that other builds are still fresh.
    set_modified(&source, before)?;
    checked
}

/// Sets a file's time and returns the one it had.
fn set_modified(path: &Path, time: SystemTime) -> anyhow::Result<SystemTime> {
    let change = || {
        let file = fs::File::options().append(true).open(path)?;
        let before = file.metadata()?.modified()?;
        file.set_modified(time).map(|()| before)
    };
    change().with_context(|| format!("cannot touch \"{}\"", path.display()))
}

/// Percent-encodes what may not stand in a URL's query.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let one = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}

fn files_in(directory: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    if !directory.exists() {
        return Ok(files);
    }
    let context = || format!("cannot read \"{}\"", directory.display());
    for entry in fs::read_dir(directory).with_context(context)? {
        let name: OsString = entry.with_context(context)?.file_name();
        let content = fs::read(directory.join(&name)).with_context(context)?;
        files.insert(PathBuf::from(name), content);
    }
    Ok(files)
}

fn changed(old: &Files, new: &Files) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differs = |name: &&&PathBuf| old.get(**name) != new.get(**name);
    names.iter().filter(differs).map(|name| name.display().to_string()).collect()
}

fn replace_directory(directory: &Path, files: &Files) -> anyhow::Result<()> {
    let before = files_in(directory)?;
    for name in before.keys().filter(|name| !files.contains_key(*name)) {
        let path = directory.join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove \"{}\"", path.display()))?;
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make \"{}\"", directory.display()))?;
    for (name, content) in files {
        write(&directory.join(name), content)?;
    }
    say(&format!("{}: {} queries", directory.display(), files.len()));
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write \"{}\"", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_removed_and_changed_files_are_named() {
        let files = |pairs: &[(&str, &str)]| -> Files {
            pairs
                .iter()
                .map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec()))
                .collect()
        };
        let old = files(&[("same", "1"), ("gone", "1"), ("other", "1")]);
        let new = files(&[("same", "1"), ("new", "1"), ("other", "2")]);
        assert_eq!(changed(&old, &new), ["gone", "new", "other"]);
        assert!(refuse(&changed(&old, &old), "x").is_ok());
        let error = refuse(&changed(&old, &new), "x").expect_err("changed").to_string();
        assert!(error.contains("cargo xtask generate"), "{error}");
    }

    #[test]
    fn a_path_survives_in_a_url() {
        assert_eq!(encoded("/tmp/a b&c"), "/tmp/a%20b%26c");
    }
}
