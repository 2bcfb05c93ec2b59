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

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use sextant_model::{
    Prefix,
    routing::{RouteKey, ServedRoute, Table, table::Conflict},
};
use toml::de::{DeTable, DeValue};

use crate::listen;

use field::{Fields, Lines};
use record::Record;

/// Largest file that is read, in bytes: some 500,000 routes.
const LIMIT: u64 = 128 * 1024 * 1024;

/// What a route file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFile {
    /// Every route, in the order of the file.
    pub routes: Vec<ServedRoute>,
    /// Whose connections begin with a PROXY v2 header, where a listener has its own answer.
    pub accept_proxy_from: BTreeMap<SocketAddr, Vec<Prefix>>,
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
    parse(&text).map_err(|mistakes| RouteFileError::Invalid { path: path.to_owned(), mistakes })
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if read as u64 > LIMIT {
        return Err(std::io::Error::other(format!("it is larger than {LIMIT} bytes")));
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
        let Some(route) = record.filter(|_| whole) else { return };
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
            Ok(()) => self.file.routes.push(route),
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

    fn finish(mut self) -> Result<RouteFile, Vec<Mistake>> {
        let used: BTreeSet<SocketAddr> = self.table.listeners().map(|(listen, _)| listen).collect();
        let sockets = listen::wanted(&used, true);
        // Routes with mistakes are missing from the table: only a clean file can be judged.
        if self.mistakes.is_empty() {
            for (listen, label, offset) in std::mem::take(&mut self.listeners) {
                let reason = if !used.contains(&listen) {
                    format!("no route listens on {listen}; remove it, or add one")
                } else if sockets.iter().any(|socket| socket.address == listen) {
                    continue;
                } else {
                    let port = listen.port();
                    format!(
                        "{listen} shares the socket of every address; set it for that one, with port {port}"
                    )
                };
                self.mistake(offset, Some(label), Some("listen"), reason);
            }
        }
        self.mistakes.sort_by_key(|mistake| mistake.line);
        if self.mistakes.is_empty() { Ok(self.file) } else { Err(self.mistakes) }
    }
}

#[cfg(test)]
mod tests;
