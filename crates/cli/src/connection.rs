//! From the command line, the environment and the contexts file to a client.

use std::path::{Path, PathBuf};

use sextant_api::{Auth, Client, ClientConfig, Trust};
use sextant_daemon::private_file;
use sextant_model::{DnsLabel, secret::ApiToken};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    args::Globals,
    context::{self, Contexts},
    exit::Failure,
};

/// Largest token file that is read, in bytes.
const TOKEN_LIMIT: u64 = 4096;

/// Everything needed to ask a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The context it comes from, if any.
    pub context: Option<DnsLabel>,
    /// In order of preference.
    pub api_urls: Vec<Url>,
    /// Where the API token is; `-` is standard input.
    pub token_file: PathBuf,
    /// Where the CA certificate is.
    pub ca_file: PathBuf,
}

impl Connection {
    /// What the options and the contexts file of this user come to.
    pub fn resolve(globals: &Globals) -> Result<Self, Failure> {
        let load = || Contexts::load(&context::default_path()?);
        Self::from_parts(globals, || load().map_err(|error| Failure::BadInput(error.to_string())))
    }

    /// Options come first, the context fills the gaps. `load` is asked only if there are any.
    fn from_parts(
        globals: &Globals,
        load: impl FnOnce() -> Result<Contexts, Failure>,
    ) -> Result<Self, Failure> {
        let Globals { context, api_urls, token_file, ca_file, .. } = globals.clone();
        if let (None, false, Some(token_file), Some(ca_file)) =
            (&context, api_urls.is_empty(), &token_file, &ca_file)
        {
            let (token_file, ca_file) = (token_file.clone(), ca_file.clone());
            return Ok(Self { context, api_urls, token_file, ca_file });
        }
        let mut contexts = load()?;
        let name = context.or(contexts.current);
        let found = match &name {
            None => None,
            Some(name) => Some(contexts.contexts.remove(name).ok_or_else(|| {
                let known: Vec<&str> = contexts.contexts.keys().map(DnsLabel::as_str).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                Failure::NotFound(format!("there is no context \"{name}\"; there is: {known}"))
            })?),
        };
        let found = found.as_ref();
        Ok(Self {
            context: name,
            api_urls: Some(api_urls)
                .filter(|urls| !urls.is_empty())
                .or_else(|| found.map(|found| found.api_urls.clone()))
                .ok_or_else(|| missing("API URL", "--api-url", "SEXTANT_API_URLS"))?,
            token_file: token_file
                .or_else(|| found.map(|found| found.token_file.clone()))
                .ok_or_else(|| missing("token file", "--token-file", "SEXTANT_TOKEN_FILE"))?,
            ca_file: ca_file
                .or_else(|| found.map(|found| found.ca_file.clone()))
                .ok_or_else(|| missing("CA file", "--ca-file", "SEXTANT_CA_FILE"))?,
        })
    }

    /// A client for all URLs.
    pub async fn client(&self) -> Result<Client, Failure> {
        let trust = Trust::Ca(read_ca(&self.ca_file)?);
        let auth = Auth::Token(read_token(&self.token_file).await?);
        Ok(Client::new(ClientConfig { api_urls: self.api_urls.clone(), trust, auth })?)
    }
}

/// A client as the options say.
pub async fn connect(globals: &Globals) -> Result<Client, Failure> {
    Connection::resolve(globals)?.client().await
}

/// The CA certificate in `path`, PEM.
pub fn read_ca(path: &Path) -> Result<String, Failure> {
    let unusable = |reason: String| Failure::BadInput(format!("CA file: {reason}"));
    let pem = private_file::read(path).map_err(|error| unusable(error.to_string()))?;
    sextant_api::client::tls::certificates(&pem, "CA certificate")
        .map_err(|error| unusable(format!("\"{}\": {error}", path.display())))?;
    Ok(pem)
}

/// The API token in `path`, or on standard input if that is `-`. Its text appears in no error.
pub async fn read_token(path: &Path) -> Result<String, Failure> {
    let owned = path.to_owned();
    // Standard input may be a terminal with somebody thinking in front of it.
    let read = tokio::task::spawn_blocking(move || read_secret(&owned)).await;
    let text = read
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|error| Failure::BadInput(format!("token file: {error}")))?;
    let token = text.trim();
    token.parse::<ApiToken>().map_err(|error| {
        Failure::BadInput(format!("token file \"{}\": {error}", path.display()))
    })?;
    Ok(token.to_owned())
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    use std::io::Read;
    if path != Path::new("-") {
        return private_file::read_secret(path).map_err(|error| error.to_string());
    }
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(TOKEN_LIMIT).read_to_string(&mut text);
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read standard input: {error}")),
    }
}

fn missing(what: &str, option: &str, variable: &str) -> Failure {
    Failure::BadInput(format!(
        "no {what} is known; give {option}, set {variable}, or add a context with `sextant context add`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::parse_api_url, context::Context};

    fn url(text: &str) -> Url {
        parse_api_url(text).expect(text)
    }

    fn stored() -> Contexts {
        let name = DnsLabel::new("lab").expect("label");
        let context = Context {
            api_urls: vec![url("https://stored")],
            token_file: "/stored/token".into(),
            ca_file: "/stored/ca".into(),
        };
        Contexts { current: Some(name.clone()), contexts: [(name, context)].into() }
    }

    #[test]
    fn options_come_first_and_the_context_fills_the_gaps() {
        let globals = Globals { api_urls: vec![url("https://given")], ..Globals::default() };
        let connection = Connection::from_parts(&globals, || Ok(stored())).expect("resolved");
        assert_eq!(connection.api_urls, [url("https://given")]);
        assert_eq!(connection.token_file, Path::new("/stored/token"));
        assert_eq!(connection.context.expect("context").as_str(), "lab");
    }

    #[test]
    fn a_complete_command_line_needs_no_contexts_file() {
        let globals = Globals {
            api_urls: vec![url("https://given")],
            token_file: Some("t".into()),
            ca_file: Some("c".into()),
            ..Globals::default()
        };
        let broken = || Err(Failure::BadInput("broken".into()));
        assert!(Connection::from_parts(&globals, broken).is_ok());
        let named = Globals { context: DnsLabel::new("lab").ok(), ..globals };
        assert!(Connection::from_parts(&named, broken).is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_every_way_to_give_it() {
        let empty = || Ok(Contexts::default());
        let error = Connection::from_parts(&Globals::default(), empty).expect_err("nothing");
        assert!(error.to_string().contains("--api-url"), "{error}");
        let globals = Globals { context: DnsLabel::new("home").ok(), ..Globals::default() };
        let error = Connection::from_parts(&globals, || Ok(stored())).expect_err("unknown");
        assert_eq!(error.to_string(), "there is no context \"home\"; there is: lab");
        assert_eq!(error.exit().code(), 5);
    }

    #[tokio::test]
    async fn a_bad_token_file_is_named_and_its_content_is_not_shown() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        let missing = read_token(&path).await.expect_err("missing").to_string();
        assert!(missing.contains("/token\""), "{missing}");
        private_file::write(&path, b"sxa_hunter2").expect("written");
        let malformed = read_token(&path).await.expect_err("malformed").to_string();
        assert!(malformed.contains("malformed") && !malformed.contains("hunter2"), "{malformed}");
    }
}
