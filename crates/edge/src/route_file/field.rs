//! Access to the fields of one record that collects mistakes instead of ending at the first.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Finds the line of an offset.
#[derive(Debug, Default)]
pub struct Lines<'t> {
    text: &'t str,
    /// Offsets at which lines begin.
    begins: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, begins: std::iter::once(0).chain(after.map(|(at, _)| at + 1)).collect() }
    }

    /// Counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        self.begins.partition_point(|begin| *begin <= offset).max(1)
    }
}

/// Offset, field and reason.
pub type FieldMistake = (usize, Option<&'static str>, String);

/// One record.
pub struct Fields<'t, 'i> {
    table: &'t DeTable<'i>,
    offset: usize,
    pub mistakes: Vec<FieldMistake>,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub fn new(table: &'t DeTable<'i>, offset: usize) -> Self {
        Self { table, offset, mistakes: Vec::new() }
    }

    fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Whether the field is there.
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// The text of a field, if it is there and is one.
    pub fn text_of(&self, key: &str) -> Option<&'t str> {
        self.value(key)?.get_ref().as_str()
    }

    /// Where the field is, or the record if it is not there.
    pub fn place(&self, key: &str) -> usize {
        self.value(key).map_or(self.offset, |value| value.span().start)
    }

    /// Where the items of a list are.
    pub fn offsets_of(&self, key: &str) -> Vec<usize> {
        let items = self.value(key).and_then(|value| value.get_ref().as_array());
        items.into_iter().flatten().map(|item| item.span().start).collect()
    }

    /// Notes a mistake in a field, at its line or that of the record.
    pub fn mistake(&mut self, key: &'static str, reason: impl Into<String>) {
        self.mistakes.push((self.place(key), Some(key), reason.into()));
    }

    /// The field, read; absent if it is not there or cannot be read, which is a mistake.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.value(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.mistake(key, reason);
                None
            }
        }
    }

    /// The same, and it is a mistake if it is not there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.mistakes.push((self.offset, Some(key), "is missing".into()));
        }
        self.optional(key, read)
    }

    /// A list of texts with the offset of each, each read by `read`; absent if one cannot be read,
    /// which is a mistake at its own line.
    pub fn required_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<(usize, T)>> {
        let items = self.required(key, |value| match value.as_array() {
            Some(_) => Ok(()),
            None => Err(unexpected(value, "a list of texts")),
        });
        let items = items.and(self.value(key)?.get_ref().as_array())?;
        let before = self.mistakes.len();
        let mut good = Vec::new();
        for item in items {
            let offset = item.span().start;
            match text(item.get_ref()).and_then(|text| read(&text)) {
                Ok(value) => good.push((offset, value)),
                Err(reason) => self.mistakes.push((offset, Some(key), reason)),
            }
        }
        (self.mistakes.len() == before).then_some(good)
    }

    /// Every other key is a mistake.
    pub fn refuse_unknown(&mut self, known: &[&str]) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let known = known.join(", ");
                let reason = format!("key \"{name}\" is unknown; known are {known}");
                self.mistakes.push((key.span().start, None, reason));
            }
        }
    }
}

/// A text.
pub fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| unexpected(value, "a text"))
}

/// `true` or `false`.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| unexpected(value, "true or false"))
}

/// A number of at least 1.
pub fn count(value: &DeValue<'_>) -> Result<u32, String> {
    let number = value.as_integer().ok_or_else(|| unexpected(value, "a number"))?;
    let text = number.as_str();
    match u32::from_str_radix(text, number.radix()) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("is {text}; use 1 to {}", u32::MAX)),
    }
}

fn unexpected(value: &DeValue<'_>, wanted: &str) -> String {
    format!("is of type {}; give {wanted}", value.type_str())
}
