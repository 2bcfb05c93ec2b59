//! What a command says: results on standard output, notes and errors on standard error.

use std::{
    cell::RefCell,
    io::{BufRead, IsTerminal, Stderr, Stdout, Write},
    time::Duration,
};

use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use sextant_model::{Timestamp, health::plain};
use time::OffsetDateTime;

use crate::{
    exit::{Exit, Failure},
    moment::Moments,
    named::Named,
};

/// How long people wait without being told for what.
const PATIENCE: Duration = Duration::from_secs(1);

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people, on 80 columns where names allow it.
    #[default]
    Table,
    /// For people, with every column.
    Wide,
    /// For programs.
    Json,
    /// What other commands take it by, one a line.
    Name,
}

/// Where and how a command says what it has to say.
#[derive(Debug)]
pub struct Output {
    /// In JSON.
    pub json: bool,
    /// How moments are shown.
    pub moments: Moments,
    format: Format,
    /// Whether standard output, then standard error, takes colour.
    coloured: (bool, bool),
    /// What to say if the operator interrupts the command.
    farewell: RefCell<Option<String>>,
    stdout: Stdout,
    stderr: Stderr,
}

impl Output {
    /// In this format, with ages or, if `exact`, with moments.
    pub fn new(format: Format, exact: bool) -> Self {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let wanted = colour_is_wanted();
        Self {
            json: format == Format::Json,
            moments: Moments::new(Timestamp(OffsetDateTime::now_utc()), exact),
            format,
            coloured: (wanted && stdout.is_terminal(), wanted && stderr.is_terminal()),
            farewell: RefCell::default(),
            stdout,
            stderr,
        }
    }

    /// Whether standard error takes colour.
    pub fn colours_errors(&self) -> bool {
        self.coloured.1
    }

    /// Says `farewell` if the operator interrupts the command from now on: what goes on without it.
    pub fn if_interrupted(&self, farewell: impl Into<String>) {
        *self.farewell.borrow_mut() = Some(farewell.into());
    }

    /// The operator has interrupted the command.
    pub fn interrupted(&self) {
        if let Some(farewell) = self.farewell.take() {
            self.notice(&farewell);
        }
    }

    /// Writes `text` as it is to standard output.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }

    /// Writes one line.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// Writes `value` as one line of JSON.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
        self.line(&line)
    }

    /// Writes `value` as JSON if that is wanted, else what `text` makes of it.
    pub fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json { self.json_line(value) } else { self.text(&text(value)) }
    }

    /// Writes one thing: as JSON, its name, or what `text` makes of it.
    pub fn one<T: Serialize + Named>(
        &self,
        item: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Name => self.line(&printable(&item.name())),
            _ => self.show(item, text),
        }
    }

    /// Writes several things, in the same ways.
    pub fn list<T: Serialize + Named>(
        &self,
        items: &[T],
        text: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Name => self.names(items),
            _ => self.show(&items, |items| text(items)),
        }
    }

    /// Writes names, one a line.
    fn names<T: Named>(&self, items: &[T]) -> Result<(), Failure> {
        let lines = items.iter().map(|item| printable(&item.name()) + "\n");
        self.text(&lines.collect::<String>())
    }

    /// Writes `value`, which holds several `items`: as JSON, their names, or what `text` makes of it.
    pub fn show_items<T: Serialize, I: Named>(
        &self,
        value: &T,
        items: &[I],
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.format == Format::Name { self.names(items) } else { self.show(value, text) }
    }

    /// A table. Columns whose titles begin with `+` are shown by `-o wide` alone.
    pub fn table<R: Into<Row>>(
        &self,
        header: &[&str],
        rows: impl IntoIterator<Item = R>,
    ) -> String {
        let is_wide = self.format == Format::Wide;
        let shown: Vec<bool> =
            header.iter().map(|title| is_wide || !title.starts_with('+')).collect();
        let visible = |cells: Vec<String>| {
            let cells = cells.into_iter().zip(&shown).filter(|(_, shown)| **shown);
            cells.map(|(cell, _)| cell).collect::<Vec<_>>()
        };
        let titles = header.iter().map(|title| title.trim_start_matches('+').to_owned()).collect();
        let rows: Vec<Row> = rows.into_iter().map(Into::into).collect();
        let bad: Vec<bool> = rows.iter().map(|row| row.is_bad).collect();
        let titles = visible(titles);
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let text = table(&titles, rows.into_iter().map(|row| visible(row.cells)));
        if !self.coloured.0 {
            return text;
        }
        let marks = std::iter::once(false).chain(bad);
        let lines = text.lines().zip(marks);
        lines
            .map(|(line, is_bad)| if is_bad { red(line) } else { line.to_owned() } + "\n")
            .collect()
    }

    /// Says what was done; programs get `value`, what it was done to.
    pub fn done<T: Serialize>(&self, note: &str, value: &T) -> Result<(), Failure> {
        self.note(note);
        if self.json { self.json_line(value) } else { Ok(()) }
    }

    /// Says something beside the result, for people only.
    pub fn note(&self, note: &str) {
        if !self.json {
            let _ = writeln!(self.stderr.lock(), "{}", printable(note));
        }
    }

    /// Says what happens during a long command, to people and programs.
    pub fn notice(&self, notice: &str) {
        let mut stderr = self.stderr.lock();
        let _ = if self.json {
            writeln!(stderr, "{}", serde_json::json!({ "notice": notice }))
        } else {
            writeln!(stderr, "{}", printable(notice))
        };
    }

    /// Does `work`, and says what that is if it takes long.
    pub async fn patiently<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
            return done;
        }
        self.note(&format!("{what} ..."));
        work.await
    }

    /// Says why it did not work.
    pub fn failure(&self, failure: &Failure) {
        if failure.is_quiet() {
            return;
        }
        let mut stderr = self.stderr.lock();
        let _ = match serde_json::to_string(&failure.report()) {
            Ok(report) if self.json => writeln!(stderr, "{report}"),
            _ => {
                let error = if self.coloured.1 { red("error:") } else { "error:".into() };
                writeln!(stderr, "{error} {}", printable(&failure.to_string()))
            }
        };
    }

    /// Asks whether to go on. Without a terminal nobody can answer, and that is an error.
    pub async fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !std::io::stdin().is_terminal() || !self.stderr.is_terminal() {
            return Err(Failure::BadInput(format!(
                "nobody can answer \"{question}\" here; give --yes to go ahead"
            )));
        }
        let prompt = format!("{} [y/N] ", printable(question));
        let answer = tokio::task::spawn_blocking(move || {
            write!(std::io::stderr(), "{prompt}")?;
            let mut answer = String::new();
            std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
        })
        .await;
        let answer = answer.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let answer = answer
            .map_err(|error| Failure::BadInput(format!("cannot read the answer: {error}")))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Goes on if `yes` was given or the question is answered so; else the exit to take.
    pub async fn confirmed(&self, yes: bool, question: &str) -> Result<Option<Exit>, Failure> {
        if yes || self.confirm(question).await? {
            return Ok(None);
        }
        self.note("nothing was changed");
        Ok(Some(Exit::Finding))
    }
}

/// A row of a table.
#[derive(Clone, Debug)]
pub struct Row {
    cells: Vec<String>,
    is_bad: bool,
}

impl Row {
    /// A row that is shown in red if `is_bad`.
    pub fn marked(cells: Vec<String>, is_bad: bool) -> Self {
        Self { cells, is_bad }
    }
}

impl From<Vec<String>> for Row {
    fn from(cells: Vec<String>) -> Self {
        Self { cells, is_bad: false }
    }
}

/// Whether the operator has not asked for text without colour (<https://no-color.org>).
fn colour_is_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// `text` in red.
fn red(text: &str) -> String {
    format!("\u{1b}[31m{text}\u{1b}[0m")
}

/// A table without lines: a header in capitals, columns two spaces apart.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|title| title.to_uppercase()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Names and values under each other.
pub fn details<'a>(lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines: Vec<(&str, String)> = lines.into_iter().collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    lines.iter().fold(String::new(), |text, (name, value)| {
        text + format!("{name:<width$}{}", printable(value)).trim_end() + "\n"
    })
}

/// `text` without anything that a terminal would obey or that turns text around: what nodes and
/// servers say is shown, not run.
pub fn printable(text: &str) -> String {
    plain(text)
}

/// The word an API type is written as.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::from("?"),
    }
}

/// Several words, or a dash.
pub fn listed<T: Serialize>(values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(word).collect();
    if words.is_empty() { "-".into() } else { words.join(",") }
}

/// The value, or a dash.
pub fn or_dash(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_model::{IpStackMode, NodeRole};

    #[test]
    fn tables_line_up_and_carry_no_trailing_space() {
        let rows = [vec!["n1".into(), "-".into()], vec!["worker-12".into(), "fd00::1".into()]];
        let text = table(&["name", "address"], rows);
        assert_eq!(text, "NAME       ADDRESS\nn1         -\nworker-12  fd00::1\n");
        assert_eq!(table(&["name"], []), "NAME\n");
    }

    #[test]
    fn a_wide_table_has_the_columns_that_others_leave_out() {
        let show = |format| {
            let rows = [vec!["n1".into(), "7".into(), "active".into()]];
            Output::new(format, false).table(&["name", "+id", "phase"], rows)
        };
        assert_eq!(show(Format::Table), "NAME  PHASE\nn1    active\n");
        assert_eq!(show(Format::Wide), "NAME  ID  PHASE\nn1    7   active\n");
    }

    #[test]
    fn details_line_up() {
        let text =
            details([("id", "7".into()), ("prefix", "fd00::/48".into()), ("x", String::new())]);
        assert_eq!(text, "id      7\nprefix  fd00::/48\nx\n");
    }

    #[test]
    fn what_others_say_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        let text = table(&["problem"], [vec!["x\u{9b}31m\r".into()]]);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn api_words_are_those_of_the_wire() {
        assert_eq!(word(&IpStackMode::Ipv6), "ipv6");
        assert_eq!(listed(&[NodeRole::Worker, NodeRole::Edge]), "worker,edge");
        assert_eq!(listed::<NodeRole>(&[]), "-");
    }
}
