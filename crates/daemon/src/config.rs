//! Configuration: one TOML file, with environment variables over it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Why a configuration cannot be used. Every mistake is named at once.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("configuration file \"{}\" cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// None was given, and there is none where it is looked for.
    #[error("there is no configuration; give --config FILE, or make \"{}\"", default.display())]
    Missing {
        /// Where it is looked for.
        default: PathBuf,
    },
    /// Something in it is wrong.
    #[error("configuration \"{}\" is not valid: {reasons}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Each mistake, separated by semicolons.
        reasons: String,
    },
}

/// Where daemons look for their configuration.
const FOLDER: &str = "/etc/sextant";

/// The file that was given, or `/etc/sextant/NAME` if that exists.
pub fn given_or_default(given: Option<&Path>, name: &str) -> Result<PathBuf, ConfigError> {
    given_or_in(given, &Path::new(FOLDER).join(name))
}

fn given_or_in(given: Option<&Path>, default: &Path) -> Result<PathBuf, ConfigError> {
    match given {
        Some(given) => Ok(given.to_owned()),
        None if default.exists() => Ok(default.to_owned()),
        None => Err(ConfigError::Missing { default: default.to_owned() }),
    }
}

/// Reads `path`; a variable such as `SEXTANT_CONTROL_DATABASE__URL` overrides `database.url` where
/// `env_prefix` is `SEXTANT_CONTROL_`.
pub fn load<T: DeserializeOwned>(path: &Path, env_prefix: &str) -> Result<T, ConfigError> {
    Document::read(path, env_prefix)?.into_settings()
}

/// Reads the variables alone, for a daemon that may run without a file.
pub fn from_environment<T: DeserializeOwned>(env_prefix: &str) -> Result<T, ConfigError> {
    Document::of_environment(env_prefix).into_settings()
}

/// A configuration as it was written, for whoever has more to say of it than whether each key can be
/// read.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    figment: Figment,
    /// Where each key of the file is, counted from 1.
    lines: BTreeMap<String, usize>,
    /// The last line, if it does not end with a newline.
    cut_line: Option<usize>,
}

/// Something in a configuration that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where, counted from 1; absent if it is not in the file.
    pub line: Option<usize>,
    /// What is wrong and what to do about it.
    pub reason: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl Document {
    /// Reads the file at `path`, and the variables that begin with `env_prefix`.
    pub fn read(path: &Path, env_prefix: &str) -> Result<Self, ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let line_of =
            |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let table = match DeTable::parse(&text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let line = error.span().map(|span| line_of(span.start));
                let mistake = Mistake { line, reason: error.message().to_owned() };
                return Err(invalid(path, vec![mistake]));
            }
        };
        let mut lines = BTreeMap::new();
        note_lines(&table, "", &line_of, &mut lines);
        let figment =
            Figment::from(Toml::string(&text)).merge(Env::prefixed(env_prefix).split("__"));
        let cut = !text.is_empty() && !text.ends_with('\n');
        let cut_line = cut.then(|| text.lines().count());
        Ok(Self { path: path.to_owned(), figment, lines, cut_line })
    }

    /// The variables alone.
    pub fn of_environment(env_prefix: &str) -> Self {
        Self {
            path: PathBuf::from("(environment)"),
            figment: Figment::from(Env::prefixed(env_prefix).split("__")),
            lines: BTreeMap::new(),
            cut_line: None,
        }
    }

    /// The settings of every key that can be read, if nothing more is needed, and a mistake for each
    /// that cannot.
    pub fn settings<T: DeserializeOwned>(&self) -> (Option<T>, Vec<Mistake>) {
        let mut leaves = Vec::new();
        collect_leaves(self.figment.extract::<Dict>().unwrap_or_default(), "", &mut leaves);
        let (mut good, mut mistakes) = (Figment::new(), BTreeSet::new());
        for (key, value) in leaves {
            let alone = Figment::from(Serialized::default(&key, &value));
            let wrong = match alone.extract::<T>() {
                Ok(_) => None,
                // What else is needed is another question.
                Err(errors) => {
                    errors.into_iter().find(|e| !matches!(e.kind, Kind::MissingField(_)))
                }
            };
            if let Some(error) = wrong {
                mistakes.insert(self.mistake(&key, &error.kind));
            } else {
                good = good.merge(Serialized::default(&key, value));
            }
        }
        match good.extract() {
            Ok(settings) => (Some(settings), mistakes.into_iter().collect()),
            Err(errors) => {
                let missing = errors.into_iter().map(|error| {
                    let section = error.path.join(".");
                    let reason = match &error.kind {
                        Kind::MissingField(field) => {
                            format!("\"{}\" is missing", joined(&section, field))
                        }
                        kind if section.is_empty() => kind.to_string(),
                        kind => format!("{section}: {kind}"),
                    };
                    Mistake { line: None, reason }
                });
                (None, mistakes.into_iter().chain(missing).collect())
            }
        }
    }

    /// Whether a key has its value from the file.
    pub fn is_from_file(&self, key: &str) -> bool {
        self.lines.contains_key(key) && !self.is_from_variable(key)
    }

    /// The last line, if it does not end with a newline.
    pub fn cut_line(&self) -> Option<usize> {
        self.cut_line
    }

    /// A mistake whose `reason` begins with the key that it concerns, with its line.
    pub fn located(&self, reason: String) -> Mistake {
        let ends =
            |key: &str| !reason[key.len()..].starts_with(|c: char| c == '.' || c.is_alphanumeric());
        let concerned = |key: &&String| reason.starts_with(key.as_str()) && ends(key);
        let key = self.lines.keys().filter(concerned).max_by_key(|key| key.len());
        let key = key.filter(|key| !self.is_from_variable(key));
        Mistake { line: key.map(|key| self.lines[key]), reason }
    }

    /// The error that names these mistakes.
    pub fn invalid(&self, mistakes: Vec<Mistake>) -> ConfigError {
        invalid(&self.path, mistakes)
    }

    fn into_settings<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        match self.settings() {
            (Some(settings), mistakes) if mistakes.is_empty() => Ok(settings),
            (_, mistakes) => Err(self.invalid(mistakes)),
        }
    }

    fn is_from_variable(&self, key: &str) -> bool {
        let source = self.figment.find_metadata(key);
        source.is_some_and(|source| source.name.contains("environment"))
    }

    fn mistake(&self, key: &str, kind: &Kind) -> Mistake {
        // Of an unknown section, the section is the mistake and not each of its keys.
        let key = match kind {
            Kind::UnknownField(field, _) => up_to(key, field),
            _ => key,
        };
        let what = match kind {
            Kind::UnknownField(_, []) => "unknown key; there are none".to_owned(),
            Kind::UnknownField(_, known) => {
                format!("unknown key; known are: {}", known.join(", "))
            }
            kind => kind.to_string(),
        };
        if self.is_from_variable(key) {
            return Mistake { line: None, reason: format!("{key} (of a variable): {what}") };
        }
        self.located(format!("{key}: {what}"))
    }
}

/// The beginning of a dotted `key` that ends with the part `name`.
fn up_to<'k>(key: &'k str, name: &str) -> &'k str {
    let mut end = 0;
    for part in key.split('.') {
        end += part.len();
        if part == name {
            return &key[..end];
        }
        end += 1;
    }
    key
}

fn invalid(path: &Path, mut mistakes: Vec<Mistake>) -> ConfigError {
    mistakes.sort();
    let reasons: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    ConfigError::Invalid { path: path.to_owned(), reasons: reasons.join("; ") }
}

fn note_lines(
    table: &DeTable<'_>,
    before: &str,
    line_of: &impl Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) {
    for (key, value) in table {
        let path = joined(before, key.get_ref());
        lines.insert(path.clone(), line_of(key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            note_lines(inner, &path, line_of, lines);
        }
    }
}

/// Everything that is no section, and sections with nothing in them.
fn collect_leaves(dict: Dict, before: &str, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in dict {
        let path = joined(before, &key);
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => collect_leaves(inner, &path, leaves),
            leaf => leaves.push((path, leaf)),
        }
    }
}

fn joined(before: &str, key: &str) -> String {
    if before.is_empty() { key.to_owned() } else { format!("{before}.{key}") }
}

/// The mistake by the key that the file has, not by the library's words for it.
fn described(error: &figment::Error) -> String {
    let key = error.path.join(".");
    let from_environment =
        error.metadata.as_ref().is_some_and(|metadata| metadata.name.contains("environment"));
    let origin = if from_environment { " (from the environment)" } else { "" };
    match &error.kind {
        Kind::UnknownField(_, known) if known.is_empty() => {
            format!("unknown key \"{key}\"{origin}; there are none")
        }
        Kind::UnknownField(_, known) => {
            let known = known.join(", ");
            format!("unknown key \"{key}\"{origin}; known are: {known}")
        }
        Kind::MissingField(field) if key.is_empty() => format!("\"{field}\" is missing"),
        Kind::MissingField(field) => format!("\"{key}.{field}\" is missing"),
        kind if key.is_empty() => format!("{kind}{origin}"),
        kind => format!("\"{key}\"{origin}: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        port: u16,
    }

    fn load_text(text: &str) -> Result<Sample, ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), text).expect("written");
        load(file.path(), "SEXTANT_CONFIG_TEST_")
    }

    #[test]
    fn a_good_file_is_read() {
        let sample = load_text("name = \"a\"\nport = 7").expect("valid");
        assert_eq!((sample.name.as_str(), sample.port), ("a", 7));
    }

    #[test]
    fn the_default_file_is_taken_if_none_is_given_and_named_if_it_is_missing() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let (there, nowhere) = (file.path(), Path::new("/nonexistent/agent.toml"));
        assert_eq!(given_or_in(None, there).expect("there"), there);
        assert_eq!(given_or_in(Some(nowhere), there).expect("given"), nowhere);
        let error = given_or_in(None, nowhere).expect_err("neither").to_string();
        assert!(error.contains("--config FILE") && error.contains("agent.toml"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_named_as_it_stands_in_the_file() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "read by nobody")]
        struct Nested {
            part: Sample,
        }
        let text = "[part]\nname = \"a\"\nport = 7\nnmae = \"b\"";
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), text).expect("written");
        let error = load::<Nested>(file.path(), "SEXTANT_CONFIG_TEST_").expect_err("unknown");
        let text = error.to_string();
        assert!(text.contains("line 4: part.nmae: unknown key; known are: name, port"), "{text}");
        assert!(!text.contains("default"), "{text}");
        let missing = load_text("name = \"a\"").expect_err("missing").to_string();
        assert!(missing.contains("\"port\" is missing"), "{missing}");
    }

    #[test]
    fn a_section_that_is_unknown_is_one_mistake() {
        let text = "name = \"a\"\nport = 7\n[extra]\none = 1\ntwo = 2\n";
        let error = load_text(text).expect_err("unknown").to_string();
        assert_eq!(error.matches("line ").count(), 1, "{error}");
        assert!(error.contains("line 3: extra: "), "{error}");
    }

    #[test]
    fn mistakes_name_the_file_and_the_field() {
        for (text, what) in [
            ("name = \"a\"\nport = 70000", "port"),
            ("name = \"a\"\nport = 7\ncolour = 1", "colour"),
            ("name = \"a\"", "port"),
            ("name = ", "line 1: "),
        ] {
            let error = load_text(text).expect_err(text).to_string();
            assert!(error.contains(what), "{error}");
        }
        let both =
            load_text("name = 1\nport = \"x\"\ncolour = 1\n").expect_err("three").to_string();
        for what in ["line 1: name: ", "line 2: port: ", "line 3: colour: "] {
            assert!(both.contains(what), "{what} in {both}");
        }
        let missing = load::<Sample>(Path::new("/nonexistent/x.toml"), "X_").expect_err("missing");
        assert!(missing.to_string().contains("/nonexistent/x.toml"));
    }
}
