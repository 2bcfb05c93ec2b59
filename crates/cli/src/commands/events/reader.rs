//! Reading the log: its end, from a moment or a position on, and what happens.

use sextant_api::{
    Client, Frame,
    follow::{Item, follow},
    page::MAX_LIMIT,
};
use sextant_model::{Cursor, Event};
use tokio_util::sync::CancellationToken;

use super::{
    filter::Filter,
    line::{self, Names},
};
use crate::{
    exit::{Exit, Failure},
    output::Output,
};

/// Events that the first look back covers; each further one covers more.
const FIRST_REACH: i64 = 1000;
const WIDER: i64 = 4;

/// Reads events and shows those that are wanted.
pub struct Reader<'a> {
    pub client: Client,
    pub names: Names,
    pub filter: Filter,
    pub output: &'a Output,
}

impl Reader<'_> {
    /// Shows up to `limit` events after the cursor; returns where to go on.
    pub async fn list(&mut self, after: Cursor, limit: u64) -> Result<Cursor, Failure> {
        let (mut after, mut left) = (after, limit);
        loop {
            // With a filter, what the server sends is more than what is shown.
            let wanted = if self.filter.is_empty() { left } else { u64::from(MAX_LIMIT) };
            let wanted = u32::try_from(wanted).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
            let page = self.client.events(Some(after), Some(wanted)).await?;
            for frame in page.frames {
                let Frame::Event { cursor, event } = frame else { continue };
                left -= u64::from(self.show(cursor, event).await?);
                if left == 0 {
                    return Ok(cursor);
                }
            }
            after = page.next_after;
            if !page.has_more {
                return Ok(after);
            }
        }
    }

    /// Shows the last `count` events up to `head`; returns where to go on. Ids have gaps and the
    /// filter takes more away, so it looks further back until there are enough.
    pub async fn tail(&mut self, count: u64, head: Cursor) -> Result<Cursor, Failure> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let reach = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(2);
        let mut reach = if self.filter.is_empty() { reach } else { reach.max(FIRST_REACH) };
        let (mut found, mut end) = (Vec::new(), head.event_id);
        while found.len() < count && end > 0 {
            let start = end.saturating_sub(reach).max(0);
            let mut earlier = self.matching(Cursor { event_id: start, ..head }, end).await?;
            earlier.append(&mut found);
            (found, end) = (earlier, start);
            reach = reach.saturating_mul(WIDER);
        }
        let skipped = found.len().saturating_sub(count);
        for (cursor, event) in found.into_iter().skip(skipped) {
            self.show(cursor, event).await?;
        }
        Ok(head)
    }

    /// A position before which nothing happened that is recent enough.
    pub async fn beginning(&self, head: Cursor) -> Result<Cursor, Failure> {
        let mut reach = FIRST_REACH;
        loop {
            let start = head.event_id.saturating_sub(reach).max(0);
            let start = Cursor { event_id: start, ..head };
            if start.event_id == 0 {
                return Ok(start);
            }
            let page = self.client.events(Some(start), Some(1)).await?;
            let first = page.frames.iter().find_map(|frame| match frame {
                Frame::Event { event, .. } => Some(event),
                _ => None,
            });
            if first.is_some_and(|event| self.filter.is_surely_before(event)) {
                return Ok(start);
            }
            reach = reach.saturating_mul(WIDER);
        }
    }

    /// The wanted events after `start` and up to `end`.
    async fn matching(&mut self, start: Cursor, end: i64) -> Result<Vec<(Cursor, Event)>, Failure> {
        let (mut found, mut after) = (Vec::new(), start);
        loop {
            let page = self.client.events(Some(after), Some(MAX_LIMIT)).await?;
            for frame in page.frames {
                let Frame::Event { cursor, event } = frame else { continue };
                if cursor.event_id > end {
                    return Ok(found);
                }
                if self.wants(&event).await {
                    found.push((cursor, event));
                }
            }
            after = page.next_after;
            if !page.has_more || after.event_id >= end {
                return Ok(found);
            }
        }
    }

    /// Shows events as they come, until `limit` of them were shown or access ends.
    pub async fn follow(&mut self, from: Cursor, limit: Option<u64>) -> Result<Exit, Failure> {
        let stop = CancellationToken::new();
        let _stopped_at_the_end = stop.clone().drop_guard();
        let mut items = follow(self.client.clone(), Some(from), stop);
        let mut left = limit;
        let mut interrupted = false;
        while let Some(item) = items.recv().await {
            match item {
                Item::Event { cursor, event } => {
                    let shown = u64::from(self.show(cursor, event).await?);
                    left = left.map(|left| left - shown);
                    if left == Some(0) {
                        return Ok(Exit::Success);
                    }
                }
                Item::Bookmark { cursor } => {
                    if self.output.json {
                        self.output.json_line(&Frame::Bookmark { cursor })?;
                    }
                }
                Item::Snapshot { cursor, state } => {
                    if self.output.json {
                        self.output.json_line(&Frame::Snapshot { cursor, state })?;
                    }
                    self.output.notice(&format!(
                        "the log does not continue from the last position (it was restored, or a \
                         standby took over); going on after {cursor}"
                    ));
                }
                Item::Disconnected { reason } => {
                    if !interrupted {
                        self.output.notice(&interruption(&reason));
                    }
                    interrupted = true;
                }
                Item::Connected { url } => {
                    if interrupted {
                        self.output.notice(&format!("connected again: {url}"));
                    }
                    interrupted = false;
                }
                Item::Refused { code, detail } => return Err(Failure::Refused { code, detail }),
            }
        }
        Ok(Exit::Success)
    }

    async fn wants(&mut self, event: &Event) -> bool {
        self.names.learn(event);
        if self.filter.names_things() {
            self.names.look_up(event, &self.client).await;
        }
        self.filter.wants(event, &self.names)
    }

    /// Shows the event if it is wanted, and says whether it was.
    async fn show(&mut self, cursor: Cursor, event: Event) -> Result<bool, Failure> {
        if !self.wants(&event).await {
            return Ok(false);
        }
        if self.output.json {
            self.output.json_line(&Frame::Event { cursor, event })?;
        } else {
            self.names.look_up(&event, &self.client).await;
            self.output.line(&line::of(&event, &self.names))?;
        }
        Ok(true)
    }

    /// Says where a listing ended, so that the next one can go on there.
    pub fn say_end(&self, end: Cursor, head: Cursor) -> Result<(), Failure> {
        if self.output.json {
            return self.output.json_line(&Frame::Bookmark { cursor: end });
        }
        if end.epoch == head.epoch && end.event_id < head.event_id {
            self.output.note(&format!("there is more: sextant events --after {end}"));
        }
        Ok(())
    }
}

/// What the TLS library says of a connection that broke off is long and no help here.
fn interruption(reason: &str) -> String {
    let broke_off = reason.contains("close_notify");
    let reason = if broke_off { "the connection broke off" } else { reason };
    format!("interrupted: {reason}; trying again")
}
