//! Rules of the house that no compiler knows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::shell::workspace_root;

/// Which crates a crate may import. Imports point one way, and no daemon imports another.
const LAYERS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("api", &["model"]),
    ("daemon", &["model", "api"]),
    ("store", &["model", "api"]),
    ("control", &["model", "api", "store", "daemon"]),
    ("agent", &["model", "api", "daemon"]),
    ("edge", &["model", "api", "daemon"]),
    ("cli", &["model", "api", "daemon"]),
    ("lab", &["model", "api"]),
    ("xtask", &[]),
];

const LONGEST_FILE: usize = 600;

/// Checks layers, lints and the length of files.
pub fn lint() -> anyhow::Result<()> {
    let crates = workspace_root()?.join("crates");
    let mut complaints = Vec::new();
    for directory in directories_in(&crates)? {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = read(&directory.join("Cargo.toml"))?;
        complaints.extend(check_layers(&name, &manifest));
        complaints.extend(check_lints(&name, &manifest));
        for source in sources_in(&directory)? {
            let text = read(&source)?;
            complaints.extend(check_length(&source, &text));
            complaints.extend(check_sessions(&source, &text));
        }
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{} rules are broken:\n  {}", complaints.len(), complaints.join("\n  "))
}

fn check_layers(name: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!(
            "crates/{name} has no layer; give it one in crates/xtask/src/lint.rs"
        )];
    };
    let complain = |import: &String| format!("crates/{name} must not import sextant-{import}");
    imports(manifest)
        .iter()
        .filter(|import| !allowed.contains(&import.as_str()))
        .map(complain)
        .collect()
}

/// The crates of this workspace that a manifest imports, for other purposes than its tests.
fn imports(manifest: &str) -> BTreeSet<String> {
    let mut imports = BTreeSet::new();
    let mut in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (table, entry) = match section.split_once("dependencies.") {
                Some((before, entry)) => (format!("{before}dependencies"), Some(entry)),
                None => (section.to_owned(), None),
            };
            in_dependencies =
                table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            imports.extend(entry.filter(|_| in_dependencies).and_then(own_crate));
        } else if in_dependencies {
            imports.extend(own_crate(line));
        }
    }
    imports
}

fn own_crate(text: &str) -> Option<String> {
    let rest = text.trim_start_matches('"').strip_prefix("sextant-")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

fn check_lints(name: &str, manifest: &str) -> Option<String> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]");
    let inherits = lines.nth(1).is_some_and(|line| line.replace(' ', "") == "workspace=true");
    (!inherits).then(|| {
        format!("crates/{name}/Cargo.toml does not inherit lints; add [lints] workspace = true")
    })
}

fn check_length(path: &Path, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let path = path.display();
    (lines > LONGEST_FILE)
        .then(|| format!("{path} has {lines} lines, more than {LONGEST_FILE}; divide it"))
}

/// The store reaches the database through connections with deadlines alone.
fn check_sessions(path: &Path, text: &str) -> Option<String> {
    // The owner prepares the database by a connection of its own; `host` only says where it is.
    const EXEMPT: [&str; 4] = ["src/session.rs", "src/connect.rs", "src/host.rs", "src/role.rs"];
    let shown = path.display().to_string();
    if !shown.contains("crates/store/src/") || EXEMPT.iter().any(|file| shown.ends_with(file)) {
        return None;
    }
    let bypasses = |line: &str| {
        line.contains("PgPool") || (line.contains("sqlx") && line.contains("PgConnection"))
    };
    text.lines()
        .any(bypasses)
        .then(|| format!("{shown} uses the driver's own connections; use those of crate::session"))
}

fn sources_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            sources.extend(sources_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

fn directories_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .with_context(|| format!("cannot read \"{}\"", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir()))
        .collect();
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read \"{}\"", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_in_every_spelling_and_tests_are_exempt() {
        let manifest = "[dependencies]\nsextant-api.workspace = true\nserde = \"1\"\n\
            [dependencies.sextant-store]\npath = \"x\"\n\
            [target.'cfg(unix)'.dependencies]\n\"sextant-agent\" = { path = \"y\" }\n\
            [build-dependencies]\nsextant-cli = \"1\"\n\
            [dev-dependencies]\nsextant-lab.workspace = true\n\
            [dev-dependencies.sextant-daemon]\nworkspace = true\n";
        let expected = ["agent", "api", "cli", "store"].map(str::to_owned);
        assert_eq!(imports(manifest), BTreeSet::from(expected));
    }

    #[test]
    fn an_import_against_the_layers_is_named() {
        let manifest = "[dependencies]\nsextant-control.workspace = true\n";
        assert_eq!(
            check_layers("agent", manifest),
            ["crates/agent must not import sextant-control"]
        );
        assert_eq!(check_layers("new", "").len(), 1);
        assert!(check_layers("api", "[dependencies]\nsextant-model.workspace = true\n").is_empty());
    }

    #[test]
    fn connections_without_a_deadline_are_refused_in_the_store() {
        let complaint = |path, text| check_sessions(Path::new(path), text).is_some();
        let (read, session) = ("/w/crates/store/src/read.rs", "/w/crates/store/src/session.rs");
        assert!(complaint(read, "use sqlx::PgConnection;"));
        assert!(complaint(read, "use sqlx::{PgPool, Postgres};"));
        assert!(!complaint(read, "use crate::session::PgConnection;"));
        assert!(!complaint(session, "use sqlx::PgPool;"));
        assert!(!complaint("/w/crates/store/tests/store/main.rs", "sqlx::PgPool"));
    }

    #[test]
    fn lints_and_length_are_checked() {
        assert!(check_lints("x", "[package]\n[lints]\nworkspace = true\n").is_none());
        assert!(check_lints("x", "[package]\n").is_some());
        assert!(check_length(Path::new("x.rs"), &"\n".repeat(600)).is_none());
        assert!(check_length(Path::new("x.rs"), &"\n".repeat(601)).is_some());
    }
}
