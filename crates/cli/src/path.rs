//! How what belongs to an org is named on the command line: by id, or by its path from the org down.

use std::{fmt, str::FromStr};

use sextant_model::{AppId, DnsLabel, EnvironmentId, OrgId};

use crate::lookup::{id, id_beginning};

/// A text that names no org, app or environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Too few or too many parts.
    #[error("\"{text}\" is not of the form {form}, like {example}")]
    Form {
        /// What was given.
        text: String,
        /// What should be.
        form: &'static str,
        /// The same, filled in.
        example: &'static str,
    },
    /// A part is no name.
    #[error("{part}: {reason}")]
    Name {
        /// Which part.
        part: &'static str,
        /// Why not.
        reason: String,
    },
}

/// An org: its name or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrgRef {
    /// By id.
    Id(OrgId),
    /// By name.
    Name(DnsLabel),
}

/// `ORG/APP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPath {
    /// Whose it is.
    pub org: DnsLabel,
    /// Unique in the org.
    pub app: DnsLabel,
}

/// An app: `ORG/APP` or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppRef {
    /// By id.
    Id(AppId),
    /// By the beginning of its id.
    IdBeginning(String),
    /// By path.
    Path(AppPath),
}

/// `ORG/APP/ENVIRONMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentPath {
    /// Which app runs in it.
    pub app: AppPath,
    /// Unique in the app.
    pub environment: DnsLabel,
}

/// An environment: `ORG/APP/ENVIRONMENT` or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentRef {
    /// By id.
    Id(EnvironmentId),
    /// By the beginning of its id.
    IdBeginning(String),
    /// By path.
    Path(EnvironmentPath),
}

/// What a list of environments is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// Those of an org.
    Org(DnsLabel),
    /// Those of an app.
    App(AppPath),
}

/// Splits `text` into exactly as many parts as `form` has, each a name.
fn parts<const N: usize>(
    text: &str,
    form: &'static str,
    example: &'static str,
) -> Result<[DnsLabel; N], InvalidPath> {
    let wrong = || InvalidPath::Form { text: text.chars().take(200).collect(), form, example };
    let given: [&str; N] =
        text.split('/').collect::<Vec<_>>().try_into().map_err(|_: Vec<&str>| wrong())?;
    let mut names = Vec::with_capacity(N);
    for (given, part) in given.into_iter().zip(["org", "app", "environment"]) {
        let name = DnsLabel::new(given)
            .map_err(|error| InvalidPath::Name { part, reason: error.to_string() })?;
        names.push(name);
    }
    names.try_into().map_err(|_: Vec<DnsLabel>| wrong())
}

impl FromStr for OrgRef {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        if let Some(id) = id(text) {
            return Ok(Self::Id(OrgId(id)));
        }
        let [org] = parts(text, "ORG", "shop")?;
        Ok(Self::Name(org))
    }
}

impl FromStr for AppPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let [org, app] = parts(text, "ORG/APP", "shop/web")?;
        Ok(Self { org, app })
    }
}

impl FromStr for AppRef {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        match (id(text), id_beginning(text)) {
            (Some(id), _) => Ok(Self::Id(AppId(id))),
            (None, Some(beginning)) => Ok(Self::IdBeginning(beginning)),
            (None, None) => text.parse().map(Self::Path),
        }
    }
}

impl FromStr for EnvironmentPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let [org, app, environment] = parts(text, "ORG/APP/ENVIRONMENT", "shop/web/production")?;
        Ok(Self { app: AppPath { org, app }, environment })
    }
}

impl FromStr for EnvironmentRef {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        match (id(text), id_beginning(text)) {
            (Some(id), _) => Ok(Self::Id(EnvironmentId(id))),
            (None, Some(beginning)) => Ok(Self::IdBeginning(beginning)),
            (None, None) => text.parse().map(Self::Path),
        }
    }
}

impl FromStr for Within {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        const FORM: (&str, &str) = ("ORG or ORG/APP", "shop or shop/web");
        if text.contains('/') {
            let [org, app] = parts(text, FORM.0, FORM.1)?;
            return Ok(Self::App(AppPath { org, app }));
        }
        let [org] = parts(text, FORM.0, FORM.1)?;
        Ok(Self::Org(org))
    }
}

impl fmt::Display for OrgRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for AppPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.app)
    }
}

impl fmt::Display for EnvironmentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.environment)
    }
}

impl fmt::Display for EnvironmentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::IdBeginning(text) => text.fmt(f),
            Self::Path(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_print() {
        for text in ["shop/web/production", "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e"] {
            assert_eq!(text.parse::<EnvironmentRef>().expect(text).to_string(), text);
        }
        assert_eq!("shop/web".parse::<AppPath>().expect("path").to_string(), "shop/web");
        assert!(matches!("shop/web".parse(), Ok(AppRef::Path(_))));
        assert!(matches!("01a2-".parse(), Ok(AppRef::IdBeginning(_))));
        assert!(matches!("shop".parse(), Ok(Within::Org(_))));
        assert!(matches!("shop/web".parse(), Ok(Within::App(_))));
        assert!(matches!("0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e".parse(), Ok(OrgRef::Id(_))));
    }

    #[test]
    fn a_wrong_path_says_what_is_wrong_with_it() {
        for (bad, why) in [
            ("", "ORG/APP/ENVIRONMENT"),
            ("shop", "ORG/APP/ENVIRONMENT"),
            ("shop/web", "like shop/web/production"),
            ("shop/web/production/eu", "ORG/APP/ENVIRONMENT"),
            ("shop//production", "app: name \"\" has 0 characters"),
            ("Shop/web/production", "org: name \"Shop\" contains 'S'"),
            ("shop/web/-", "environment: name \"-\" starts or ends with '-'"),
        ] {
            let error = bad.parse::<EnvironmentRef>().expect_err(bad).to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        let error = "a/b/c".parse::<Within>().expect_err("three").to_string();
        assert!(error.contains("ORG or ORG/APP"), "{error}");
    }
}
