//! Configuration: one TOML file, with environment variables over it.

use std::path::{Path, PathBuf};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::de::DeserializeOwned;

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
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    extract(Figment::from(Toml::string(&text)), path, env_prefix)
}

/// Reads the variables alone, for a daemon that may run without a file.
pub fn from_environment<T: DeserializeOwned>(env_prefix: &str) -> Result<T, ConfigError> {
    extract(Figment::new(), Path::new("(environment)"), env_prefix)
}

fn extract<T: DeserializeOwned>(
    base: Figment,
    path: &Path,
    env_prefix: &str,
) -> Result<T, ConfigError> {
    base.merge(Env::prefixed(env_prefix).split("__")).extract().map_err(|errors| {
        let reasons: Vec<String> = errors.into_iter().map(|error| error.to_string()).collect();
        ConfigError::Invalid { path: path.to_owned(), reasons: reasons.join("; ") }
    })
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
    fn mistakes_name_the_file_and_the_field() {
        for (text, what) in [
            ("name = \"a\"\nport = 70000", "port"),
            ("name = \"a\"\nport = 7\ncolour = 1", "colour"),
            ("name = \"a\"", "port"),
            ("name = ", "configuration"),
        ] {
            let error = load_text(text).expect_err(text).to_string();
            assert!(error.contains(what), "{error}");
        }
        let missing = load::<Sample>(Path::new("/nonexistent/x.toml"), "X_").expect_err("missing");
        assert!(missing.to_string().contains("/nonexistent/x.toml"));
    }
}
