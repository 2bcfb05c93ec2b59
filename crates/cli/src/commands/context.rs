//! `sextant context`: names for control planes.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sextant_model::DnsLabel;

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    context::{self, Context, ContextError, Contexts},
    exit::{Exit, Failure},
    output::{Output, details, table},
};

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Store how to reach a control plane; the first one becomes the current one
    #[command(after_long_help = examples(&[
        "sextant context add lab --api-url https://[fd5e::c1]:7443 --token-file ops.token --ca-file ca.crt",
        "sextant context add prod --api-url https://cp1.example:7443 --api-url https://cp2.example:7443 --token-file ops.token --ca-file ca.crt",
    ]))]
    Add {
        /// A new name
        name: DnsLabel,
    },
    /// List the contexts
    #[command(visible_alias = "ls", after_long_help = examples(&["sextant context list"]))]
    List,
    /// Make a context the current one
    #[command(after_long_help = examples(&["sextant context use lab"]))]
    Use {
        /// Which one
        #[arg(add = completed(Things::Contexts))]
        name: DnsLabel,
    },
    /// Forget a context; the files it names stay
    #[command(visible_aliases = ["rm", "delete"], after_long_help = examples(&["sextant context remove lab"]))]
    Remove {
        /// Which one
        #[arg(add = completed(Things::Contexts))]
        name: DnsLabel,
    },
    /// Show a context, the current one if none is named
    #[command(after_long_help = examples(&["sextant context show", "sextant context show lab"]))]
    Show {
        /// Which one
        #[arg(add = completed(Things::Contexts))]
        name: Option<DnsLabel>,
    },
}

/// Does it.
pub fn run(command: &ContextCommand, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let path = context::default_path().map_err(bad)?;
    let mut contexts = Contexts::load(&path).map_err(bad)?;
    match command {
        ContextCommand::Add { name } => {
            if contexts.contexts.contains_key(name) {
                return Err(Failure::Conflict(format!(
                    "context \"{name}\" exists; remove it first with `sextant context remove {name}`"
                )));
            }
            contexts.contexts.insert(name.clone(), given(globals)?);
            contexts.current.get_or_insert_with(|| name.clone());
            contexts.save(&path).map_err(bad)?;
            let current = contexts.current.as_ref() == Some(name);
            let rest = if current { "; it is the current one" } else { "" };
            output.note(&format!("context \"{name}\" added{rest}"));
        }
        ContextCommand::List => {
            let named: Vec<_> = contexts.contexts.iter().collect();
            output.show_items(&contexts, &named, listing)?;
        }
        ContextCommand::Use { name } => {
            find(&contexts, name)?;
            contexts.current = Some(name.clone());
            contexts.save(&path).map_err(bad)?;
            output.note(&format!("context \"{name}\" is the current one"));
        }
        ContextCommand::Remove { name } => {
            find(&contexts, name)?;
            contexts.contexts.remove(name);
            let was_current = contexts.current.as_ref() == Some(name);
            contexts.current = contexts.current.filter(|_| !was_current);
            contexts.save(&path).map_err(bad)?;
            let rest = if was_current { "; there is no current one now" } else { "" };
            output.note(&format!("context \"{name}\" removed{rest}"));
        }
        ContextCommand::Show { name } => {
            let name = name.as_ref().or(globals.context.as_ref()).or(contexts.current.as_ref());
            let name = name.ok_or_else(|| {
                Failure::NotFound(
                    "there is no current context; choose one with `sextant context use NAME`"
                        .into(),
                )
            })?;
            output.show(find(&contexts, name)?, |context| described(name, context))?;
        }
    }
    Ok(Exit::Success)
}

/// What the options of `context add` come to. Relative paths would mean something else tomorrow.
fn given(globals: &Globals) -> Result<Context, Failure> {
    let required = |option: &str| Failure::BadInput(format!("a context needs {option}; give it"));
    if globals.api_urls.is_empty() {
        return Err(required("--api-url"));
    }
    let token_file = globals.token_file.as_deref().ok_or_else(|| required("--token-file"))?;
    if token_file == Path::new("-") {
        return Err(Failure::BadInput(
            "a context cannot hold a token, only the path of its file; write the token to a file"
                .into(),
        ));
    }
    let ca_file = globals.ca_file.as_deref().ok_or_else(|| required("--ca-file"))?;
    Ok(Context {
        api_urls: globals.api_urls.clone(),
        token_file: existing(token_file)?,
        ca_file: existing(ca_file)?,
    })
}

fn existing(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::metadata(path).and_then(|_| std::path::absolute(path)).map_err(|error| {
        Failure::BadInput(format!("cannot use the file \"{}\": {error}", path.display()))
    })
}

fn find<'a>(contexts: &'a Contexts, name: &DnsLabel) -> Result<&'a Context, Failure> {
    contexts.contexts.get(name).ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no context \"{name}\"; `sextant context list` shows all"
        ))
    })
}

fn listing(contexts: &Contexts) -> String {
    let rows = contexts.contexts.iter().map(|(name, context)| {
        let mark = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
        vec![mark.into(), name.to_string(), urls(context)]
    });
    table(&["", "name", "api urls"], rows)
}

fn described(name: &DnsLabel, context: &Context) -> String {
    details([
        ("name", name.to_string()),
        ("api urls", urls(context)),
        ("token file", context.token_file.display().to_string()),
        ("ca file", context.ca_file.display().to_string()),
    ])
}

fn urls(context: &Context) -> String {
    let urls: Vec<&str> = context.api_urls.iter().map(url::Url::as_str).collect();
    urls.join(",")
}

fn bad(error: ContextError) -> Failure {
    Failure::BadInput(error.to_string())
}
