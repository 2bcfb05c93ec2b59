//! Route files: what an edge without a control plane serves.
//!
//! ```toml
//! [[routes]]
//! listen = "[::]:443"
//! hostname = "shop.example.com"
//! backends = ["[fd00::1]:8443", "192.0.2.1:443"]
//!
//! [[listeners]]
//! listen = "[::]:443"
//! accept_proxy_from = ["fd00::/8"]
//! ```
//!
//! A file is taken as a whole or not at all, and every mistake in it is named. One that serves nothing
//! says so: `routes = []`.

mod field;
mod record;
mod summary;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Metadata,
    io::Read,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sextant_model::{
    Prefix,
    routing::{RouteKey, ServedRoute, Table, table::Conflict},
};
use toml::de::{DeTable, DeValue};

use field::{Fields, Lines};
use record::Record;
use whole::Place;

pub use summary::summary;

/// Largest file that is read, in bytes: some 500,000 routes.
const LIMIT: u64 = 128 * 1024 * 1024;

/// What a route file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFile {
    /// Every route, in the order of the file.
    pub routes: Vec<ServedRoute>,
    /// Whose connections begin with a PROXY v2 header, where a listener has its own answer.
    pub accept_proxy_from: BTreeMap<SocketAddr, Vec<Prefix>>,
    /// What is probably not meant so, though it can be served.
    pub warnings: Vec<Mistake>,
}

/// Something in a route file that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, counted from 1.
    pub line: usize,
    /// In which record: `route 3 ("shop.example.com")`.
    pub record: Option<String>,
    /// In which field of it.
    pub field: Option<&'static str>,
    /// What is wrong and what to do about it.
    pub reason: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(record) = &self.record {
            write!(f, "{record}: ")?;
        }
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Why a route file cannot be used. Nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum RouteFileError {
    /// It cannot be read.
    #[error("route file \"{}\" cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Somebody has changed it and not closed it yet.
    #[error("route file \"{}\" is being written; it is read as soon as its writer closes it", path.display())]
    BeingWritten {
        /// Which file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("route file \"{}\" is not valid: {}", path.display(), listed(mistakes))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

fn listed(mistakes: &[Mistake]) -> String {
    mistakes.iter().fold(String::new(), |text, mistake| format!("{text}\n  {mistake}"))
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<RouteFile, RouteFileError> {
    let unreadable = |reason| RouteFileError::Unreadable { path: path.to_owned(), reason };
    let text = read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut parsed = parse(&text);
    // Whatever is missing behind a line without an end, the rest may still parse.
    if let Some(line) = cut_line(&text) {
        let reason =
            "does not end with a newline, so the file may have been cut short; add one".to_owned();
        let mistake = Mistake { line, record: None, field: None, reason };
        parsed = Err(parsed.err().into_iter().flatten().chain([mistake]).collect());
    }
    parsed.map_err(|mistakes| RouteFileError::Invalid { path: path.to_owned(), mistakes })
}

/// The last line, if it has no end.
fn cut_line(text: &str) -> Option<usize> {
    (!text.is_empty() && !text.ends_with('\n')).then(|| text.lines().count())
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let before = file.metadata()?;
    let read = (&file).take(LIMIT + 1).read_to_string(&mut text)?;
    if read as u64 > LIMIT {
        return Err(std::io::Error::other(format!("it is larger than {LIMIT} bytes")));
    }
    let stamp =
        |of: &Metadata| (of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
    if stamp(&before) != stamp(&file.metadata()?) {
        return Err(std::io::Error::other("it changed while it was read"));
    }
    Ok(text)
}

/// Checks `text`: all of it, or every mistake.
pub fn parse(text: &str) -> Result<RouteFile, Vec<Mistake>> {
    let lines = Lines::of(text);
    let document = match DeTable::parse(text) {
        Ok(document) => document.into_inner(),
        Err(error) => {
            let line = error.span().map_or(1, |span| lines.line(span.start));
            let reason = error.message().to_owned();
            return Err(vec![Mistake { line, record: None, field: None, reason }]);
        }
    };
    let mut reading = Reading { lines, ..Reading::default() };
    // A file that was cut short must not look like one that serves nothing.
    if !document.keys().any(|key| key.get_ref() == "routes") {
        let reason = "there is no [[routes]]; write \"routes = []\" to serve nothing".to_owned();
        reading.mistake(0, None, None, reason);
    }
    for (key, value) in &document {
        match key.get_ref().as_ref() {
            "routes" => reading.each(value, "routes", Reading::route),
            "listeners" => reading.each(value, "listeners", Reading::listener),
            other => {
                let reason = format!(
                    "key \"{other}\" is unknown; a route file has [[routes]] and [[listeners]]"
                );
                reading.mistake(key.span().start, None, None, reason);
            }
        }
    }
    reading.finish()
}

#[derive(Default)]
struct Reading<'t> {
    lines: Lines<'t>,
    file: RouteFile,
    /// Finds what cannot stand beside another route.
    table: Table<()>,
    keys: BTreeSet<RouteKey>,
    /// Where each route of `file` is written.
    places: Vec<Place>,
    /// Labels and offsets of the records in `file.accept_proxy_from`.
    listeners: Vec<(SocketAddr, String, usize)>,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn mistake(
        &mut self,
        offset: usize,
        record: Option<String>,
        field: Option<&'static str>,
        reason: String,
    ) {
        let line = self.lines.line(offset);
        self.mistakes.push(Mistake { line, record, field, reason });
    }

    fn each(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        key: &str,
        read: fn(&mut Self, usize, usize, &DeTable<'_>),
    ) {
        let Some(records) = value.get_ref().as_array() else {
            let reason = format!("\"{key}\" is no list of tables; write [[{key}]] above each");
            return self.mistake(value.span().start, None, None, reason);
        };
        for (index, record) in records.iter().enumerate() {
            if let Some(table) = record.get_ref().as_table() {
                read(self, index + 1, record.span().start, table);
            } else {
                let reason = format!("\"{key}\" holds something that is no table");
                self.mistake(record.span().start, None, None, reason);
            }
        }
    }

    fn route(&mut self, number: usize, offset: usize, table: &DeTable<'_>) {
        let mut fields = Fields::new(table, offset);
        let record = Record::read(&mut fields);
        let backends_at = record::places_of_backends(&fields);
        let label = match fields.text_of("name").or_else(|| fields.text_of("hostname")) {
            Some(label) => format!("route {number} (\"{label}\")"),
            None => format!("route {number}"),
        };
        fields.refuse_unknown(&record::KEYS);
        let whole = fields.mistakes.is_empty();
        let [name_at, hostname_at, listen_at] =
            ["name", "hostname", "listen"].map(|key| fields.place(key));
        for (offset, field, reason) in fields.mistakes {
            self.mistake(offset, Some(label.clone()), field, reason);
        }
        // A record with a mistake elsewhere takes its place all the same: all mistakes are named at
        // once.
        let Some(route) = record else { return };
        match self.stands(&route, number) {
            Err(conflict) => {
                let (offset, field) = match &conflict {
                    Conflict::Name { .. } => (hostname_at, "hostname"),
                    Conflict::Port { .. } | Conflict::Kind { .. } => (listen_at, "listen"),
                };
                self.mistake(offset, Some(label), Some(field), conflict.to_string());
            }
            Ok(()) if !self.keys.insert(route.key.clone()) => {
                let reason =
                    format!("\"{}\" names another route already; names are unique", route.key);
                self.mistake(name_at, Some(label), Some("name"), reason);
            }
            Ok(()) if whole => {
                self.places.push(Place { label, listen_at, hostname_at, backends_at });
                self.file.routes.push(route);
            }
            Ok(()) => {}
        }
    }

    /// Adds the route to the table unless it conflicts with another one.
    fn stands(&mut self, route: &ServedRoute, number: usize) -> Result<(), Conflict> {
        // The table replaces a route of the same key, which would hide that there are two.
        let key = if self.keys.contains(&route.key) {
            &RouteKey(format!("{}#{number}", route.key).into())
        } else {
            &route.key
        };
        self.table.insert(key, route.listen, &route.matching, ())
    }

    fn listener(&mut self, number: usize, offset: usize, table: &DeTable<'_>) {
        let mut fields = Fields::new(table, offset);
        let listen = fields.required("listen", record::listen);
        let prefixes = record::prefixes(&mut fields);
        fields.refuse_unknown(&["listen", "accept_proxy_from"]);
        let listen_at = fields.place("listen");
        let label = format!("listener {number}");
        for (offset, field, reason) in fields.mistakes {
            self.mistake(offset, Some(label.clone()), field, reason);
        }
        let (Some(listen), Some(prefixes)) = (listen, prefixes) else { return };
        if self.file.accept_proxy_from.insert(listen, prefixes).is_some() {
            let reason = format!("{listen} has another [[listeners]] already; give it once");
            self.mistake(listen_at, Some(label.clone()), Some("listen"), reason);
        }
        self.listeners.push((listen, label, listen_at));
    }
}

#[cfg(test)]
mod tests;
