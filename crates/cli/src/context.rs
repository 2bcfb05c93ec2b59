//! Contexts: names for control planes and how to reach them. The file holds paths of secrets,
//! never secrets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sextant_daemon::private_file::{self, PrivateFileError};
use sextant_model::DnsLabel;
use url::Url;

use crate::args::parse_api_url;

/// How to reach one control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `https://HOST[:PORT]`, in order of preference.
    #[serde(with = "urls")]
    pub api_urls: Vec<Url>,
    /// File that holds the API token.
    pub token_file: PathBuf,
    /// File that holds the CA certificate.
    pub ca_file: PathBuf,
}

/// All contexts of this user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is meant if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<DnsLabel>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<DnsLabel, Context>,
}

/// A contexts file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Nowhere to look.
    #[error("cannot find the contexts file: neither XDG_CONFIG_HOME nor HOME is set; set one")]
    NoHome,
    /// The operating system refuses.
    #[error("{0}; check who owns the file and its mode")]
    File(#[from] PrivateFileError),
    /// Its content is not understood. It is left as it is.
    #[error(
        "contexts file \"{}\" is not valid: {reason}; repair it, or remove it and add the contexts again (it holds no secrets)",
        path.display()
    )]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Cannot be written as TOML.
    #[error("the contexts cannot be written: {0}; use paths that are valid UTF-8")]
    Unwritable(#[from] toml::ser::Error),
}

/// Where the file is for this user: `$XDG_CONFIG_HOME/sextant/contexts.toml`, below `~/.config`
/// if that is not set.
pub fn default_path() -> Result<PathBuf, ContextError> {
    // The XDG base directory specification says that a relative path must be ignored.
    let configured = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = match configured.filter(|path| path.is_absolute()) {
        Some(folder) => folder,
        None => std::env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .ok_or(ContextError::NoHome)?
            .join(".config"),
    };
    Ok(folder.join("sextant").join("contexts.toml"))
}

impl Contexts {
    /// Reads the file; a missing one holds no contexts.
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let invalid = |reason: String| ContextError::Invalid { path: path.to_owned(), reason };
        let text = match private_file::read(path) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let contexts: Self =
            toml::from_str(&text).map_err(|error| invalid(described(&text, &error)))?;
        if let Some(current) = &contexts.current
            && !contexts.contexts.contains_key(current)
        {
            return Err(invalid(format!("the current context \"{current}\" is not in it")));
        }
        Ok(contexts)
    }

    /// Replaces the file, mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), ContextError> {
        let text = toml::to_string(self)?;
        if let Some(folder) = path.parent() {
            private_file::create_folder(folder)?;
        }
        private_file::write(path, text.as_bytes())?;
        Ok(())
    }
}

/// One line: where and what, without the excerpt that the library draws.
fn described(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

/// URLs as text, checked like those of the command line.
mod urls {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Url, parse_api_url};

    pub(super) fn serialize<S: Serializer>(urls: &[Url], to: S) -> Result<S::Ok, S::Error> {
        urls.iter().map(Url::as_str).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Url>, D::Error> {
        let read = |text: String| {
            parse_api_url(&text)
                .map_err(|reason| D::Error::custom(format!("API URL \"{text}\": {reason}")))
        };
        Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn label(name: &str) -> DnsLabel {
        DnsLabel::new(name).expect("label")
    }

    fn sample() -> Contexts {
        let context = Context {
            api_urls: vec![
                parse_api_url("https://[fd5e::c1]:7443").expect("url"),
                parse_api_url("https://cp.example").expect("url"),
            ],
            token_file: "/run/ops.token".into(),
            ca_file: "/etc/sextant/ca.crt".into(),
        };
        Contexts { current: Some(label("lab")), contexts: [(label("lab"), context)].into() }
    }

    #[test]
    fn contexts_survive_their_file_which_is_private() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("sextant/contexts.toml");
        assert_eq!(Contexts::load(&path).expect("missing is empty"), Contexts::default());
        sample().save(&path).expect("saved");
        assert_eq!(Contexts::load(&path).expect("loaded"), sample());
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_understood_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("contexts.toml");
        let good = toml::to_string(&sample()).expect("toml");
        for (text, what) in [
            ("current = ", "line 1"),
            ("current = \"lab\"\n", "\"lab\" is not in it"),
            ("colour = 1\n", "colour"),
            ("\n[contexts.Lab]\n", "contains 'L'"),
            (&good.replace("https://cp", "http://cp"), "must start with https"),
            (&good.replace("ca_file", "ca_path"), "ca_path"),
            (&good[..good.len() - 5], "line"),
        ] {
            std::fs::write(&path, text).expect("written");
            let error = Contexts::load(&path).expect_err(text).to_string();
            assert!(error.contains(what) && error.contains("contexts.toml"), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_a_missing_one() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(matches!(Contexts::load(folder.path()), Err(ContextError::File(_))));
    }
}
