//! What help says: `-h` in short, `--help` with examples, and one topic for what every command
//! shares. clap would print the long form with an empty line after each option.

use std::ffi::OsString;

use clap::{
    Command, CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::args::Cli;

/// The exit codes of every command.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done, healthy
  1    a finding, or declined at a prompt
  2    wrong usage, or a local file that cannot be used
  3    the control plane, or the edge that was asked, cannot be reached or is not ready
  4    the control plane refused (the error shows the problem's code)
  5    there is no such thing
  6    conflict: it exists, is in use, or was changed meanwhile
  130  interrupted by Ctrl-C";

/// The options that every command takes.
pub const OPTIONS: &str = "\
Every command takes these options. An option beats its variable, and both beat the context.

Connection:
  --context NAME      use this context, not the current one (SEXTANT_CONTEXT)
  --api-url URL       URL of a control plane, https://HOST[:PORT]; repeat it for several, tried in
                      order (SEXTANT_API_URLS, with commas)
  --token-file PATH   file that holds the API token; - reads it from standard input
                      (SEXTANT_TOKEN_FILE)
  --ca-file PATH      file that holds the control plane's CA certificate, PEM (SEXTANT_CA_FILE)

Output:
  -o, --format WORD   table, wide (every column), json, or name (what other commands take it by)
  --json              the same as -o json; errors are JSON, too
  --utc               moments in UTC, not how long ago they were
  NO_COLOR=1          this variable turns colour off

Names:
  Wherever an id is taken, its beginning is enough, four characters or more, if only one thing's
  id begins so. Orgs, apps and environments are paths: shop, shop/web, shop/web/production.";

/// The last line of every help.
const MORE: &str = "Options of every command, exit codes: sextant help options";

/// The end of a `--help`.
pub fn examples(lines: &[&str]) -> String {
    format!("Examples:\n  {}\n\n{MORE}", lines.join("\n  "))
}

/// The help topic `options`.
pub fn options() -> String {
    format!("{OPTIONS}\n\n{EXIT_CODES}\n")
}

/// The command line, with the help that `arguments` ask for.
pub fn command_line(arguments: &[OsString]) -> Command {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let by_name = words.first() == Some(&"help");
    let in_detail = by_name || words.contains(&"--help");
    // clap decides while it builds whether there is a long form.
    let mut command = shaped(Cli::command(), &words[usize::from(by_name)..], in_detail);
    command.build();
    with_fixed_usage(command)
}

/// Gives the command that `words` lead to its help, and every other one no long form.
fn shaped(command: Command, words: &[&str], in_detail: bool) -> Command {
    let next = words.iter().enumerate().find_map(|(at, word)| {
        let found = command.find_subcommand(word)?;
        Some((found.get_name().to_owned(), at + 1))
    });
    let about = command.get_long_about().or(command.get_about()).cloned();
    let examples = command.get_after_long_help().cloned();
    let mut command =
        command.long_about(None::<&'static str>).after_long_help(None::<&'static str>);
    command = match (in_detail && next.is_none(), about, examples) {
        (true, Some(about), Some(examples)) => command.about(about).after_help(examples),
        _ => command.after_help(format!("Examples: --help. {MORE}")),
    };
    command.mut_subcommands(|sub| match &next {
        Some((name, at)) if sub.get_name() == name => shaped(sub, &words[*at..], in_detail),
        _ => without_long_form(sub),
    })
}

fn without_long_form(command: Command) -> Command {
    command
        .long_about(None::<&'static str>)
        .after_long_help(None::<&'static str>)
        .mut_subcommands(without_long_form)
}

/// Gives every command the usage of its `--help` for its errors too. What clap composes for an
/// error shows whatever was given as if it were required, options from the environment included.
fn with_fixed_usage(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    command.override_usage(usage).mut_subcommands(with_fixed_usage)
}

/// Wrong usage, as it is shown: with where the short help is.
pub fn of_error(error: &clap::Error, in_colour: bool) -> String {
    let rendered = error.render();
    let text = if in_colour { rendered.ansi().to_string() } else { rendered.to_string() };
    if !error.use_stderr() {
        return text;
    }
    let text = match text.rfind("--help") {
        Some(at) if error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("{}-h{}", &text[..at], &text[at + "--help".len()..])
        }
        _ => text,
    };
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if VERBS.contains(&word.as_str()) => format!(
            "{text}\nThe kind of thing comes first: sextant node list, sextant node show NAME\n"
        ),
        _ => text,
    }
}

/// Words that other programs put before the kind of thing.
const VERBS: [&str; 9] =
    ["get", "describe", "list", "ls", "show", "create", "delete", "remove", "rm"];

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn help(line: &str) -> String {
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let error = command_line(&words).try_get_matches_from(words).expect_err("help");
        assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{line}: {error}");
        error.to_string()
    }

    fn every(command: &Command, path: &str, visit: &mut impl FnMut(&str, &Command)) {
        visit(path, command);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            every(sub, &format!("{path} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn help_fits_a_screen_and_the_short_one_half_of_it() {
        every(&Cli::command(), "sextant", &mut |path, command| {
            let (long, short) = (help(&format!("{path} --help")), help(&format!("{path} -h")));
            // There are twenty kinds of things, and as many options that every command takes.
            let topic = path == "sextant options";
            let more = if topic || command.get_subcommands().count() > 10 { 12 } else { 0 };
            assert!(long.lines().count() <= 36 + more, "{path}:\n{long}");
            assert!(short.lines().count() <= 28 + 2 * more, "{path}:\n{short}");
            for text in [&long, &short].into_iter().filter(|_| !topic) {
                assert!(text.ends_with(&format!("{MORE}\n")), "{path}:\n{text}");
                assert!(!text.contains("--token-file PATH "), "{path}:\n{text}");
            }
        });
        assert!(help("sextant help node remove").contains("sextant node remove worker-1 --yes"));
        assert!(help("sextant node remove --help").contains("sextant node remove worker-1 --yes"));
        assert!(!help("sextant node remove -h").contains("sextant node remove worker-1 --yes"));
        assert!(help("sextant deploy --help").contains("goes live when all its workloads"));
    }

    #[test]
    fn one_topic_tells_what_every_command_shares() {
        for argument in Cli::command().get_arguments() {
            let long = argument.get_long().expect("an option");
            assert!(OPTIONS.contains(&format!("--{long} ")), "{long}");
        }
        assert!(help("sextant help options").contains("130  interrupted by Ctrl-C"));
    }

    #[test]
    fn the_order_of_other_programs_is_answered_with_ours() {
        let words: Vec<OsString> = ["sextant", "get", "nodes"].map(Into::into).to_vec();
        let error = command_line(&words).try_get_matches_from(words).expect_err("no such command");
        let text = of_error(&error, false);
        assert!(text.contains("sextant node list") && text.contains("try '-h'"), "{text}");
        assert!(!text.contains("--help"), "{text}");
    }
}
