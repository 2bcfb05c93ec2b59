//! What the demo says on stdout.

use std::io::{StdoutLock, Write};

use crate::status::aligned;

const WIDTH: usize = 88;

/// The text of a demo, numbered by steps.
#[derive(Debug)]
pub(crate) struct Transcript {
    out: StdoutLock<'static>,
    step: u32,
}

impl Transcript {
    pub(crate) fn start() -> Self {
        Self { out: std::io::stdout().lock(), step: 0 }
    }

    /// A new step.
    pub(crate) fn heading(&mut self, title: &str) {
        self.step += 1;
        let step = self.step;
        self.say(&format!("\n{step}. {title}\n"));
    }

    /// What is about to happen, broken into lines.
    pub(crate) fn explain(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.len() + word.len() >= WIDTH {
                self.say(&format!("   {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.say(&format!("   {line}\n"));
    }

    /// Something that was seen.
    pub(crate) fn seen(&mut self, text: &str) {
        self.say(&format!("   -> {text}"));
    }

    /// A table.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) {
        for line in aligned(rows).lines() {
            self.say(&format!("      {line}"));
        }
    }

    /// A line as it is. A reader who has gone does not stop the demo from cleaning up.
    pub(crate) fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}
