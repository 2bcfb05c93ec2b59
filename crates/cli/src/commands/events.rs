//! `sextant events`: the log, read back or followed.

mod line;

use clap::{Args, builder::PossibleValuesParser};
use sextant_api::{
    Client, Frame,
    follow::{Item, follow},
    page::MAX_LIMIT,
};
use sextant_model::{Cursor, Epoch, Event, cursor::InvalidCursor};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Globals, examples},
    connection::connect,
    exit::{Exit, Failure},
    output::Output,
};
use line::{EVENT_TYPES, Names, event_type};

/// Events shown unless the operator says otherwise.
const DEFAULT_LIMIT: u64 = 100;

/// The beginning of `sextant events --help`.
pub const ABOUT: &str = "\
    Show what happened, oldest first, one line per event: time, id, type, subject, \
    actor, detail.\n\nWith --json each line is a frame of the stream; the last one \
    of a listing is a bookmark whose cursor goes into --after to read on.\n\nWith \
    --follow it goes on with what happens, from now on unless --after or --tail \
    says otherwise, across restarts of the control plane, until Ctrl-C.";

/// Arguments of `sextant events`.
#[derive(Args, Debug)]
#[command(
    after_long_help = examples(&[
        "sextant events --tail 20",
        "sextant events --type node-enrolled --type node-withdrawn --limit 10",
        "sextant events --follow --json",
        "sextant events --after 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e:42 --follow",
    ])
)]
pub struct EventsArgs {
    /// Start after this position, EPOCH:EVENT_ID or an event id of the present epoch; from the
    /// beginning of the log if not given
    #[arg(long, value_name = "CURSOR", conflicts_with = "tail")]
    pub after: Option<After>,
    /// Show at most so many events; 100 if not given, without limit with --follow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Show the last N events
    #[arg(long, value_name = "N", conflicts_with = "limit", value_parser = clap::value_parser!(u64).range(1..))]
    pub tail: Option<u64>,
    /// Go on with what happens
    #[arg(long)]
    pub follow: bool,
    /// Only events of this type; repeat it for several
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(EVENT_TYPES))]
    pub types: Vec<String>,
}

/// Where to start, as an operator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// A full position.
    Cursor(Cursor),
    /// An event of the present epoch.
    Event(i64),
}

impl std::str::FromStr for After {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(event_id) if event_id >= 0 => Ok(Self::Event(event_id)),
            _ => text.parse().map(Self::Cursor),
        }
    }
}

impl After {
    fn in_epoch(self, epoch: Epoch) -> Cursor {
        match self {
            Self::Cursor(cursor) => cursor,
            Self::Event(event_id) => Cursor { epoch, event_id },
        }
    }
}

/// Reads back, follows, or both.
pub async fn run(args: &EventsArgs, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    // Asked first in every case, so that a wrong token or URL ends here and not in a long wait.
    let head = head(&client).await?;
    let after = args.after.map(|after| after.in_epoch(head.epoch));
    let mut reader = Reader {
        names: if output.json { Names::default() } else { names(&client).await? },
        types: &args.types,
        client,
        output,
    };
    let from = match (args.tail, args.follow) {
        (Some(tail), _) => reader.tail(tail, head).await?,
        (None, false) => {
            let end = reader.list(after, args.limit.unwrap_or(DEFAULT_LIMIT)).await?;
            reader.say_end(end, head)?;
            return Ok(Exit::Success);
        }
        (None, true) => after.unwrap_or(head),
    };
    if args.follow {
        reader.follow(from, args.limit).await
    } else {
        reader.say_end(from, head)?;
        Ok(Exit::Success)
    }
}

/// Where the log ends for now. An org may not ask for the status, but for what it owns.
async fn head(client: &Client) -> Result<Cursor, Failure> {
    match client.status().await.map_err(Failure::from) {
        Ok(status) => Ok(Cursor { epoch: status.epoch, event_id: status.settled }),
        Err(failure) if failure.is_forbidden() => match client.snapshot().await? {
            Frame::Snapshot { cursor, .. } => Ok(cursor),
            _ => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

/// What ids are called; an org may not list networks and nodes and reads names from events only.
async fn names(client: &Client) -> Result<Names, Failure> {
    match Names::load(client).await {
        Err(failure) if failure.is_forbidden() => Ok(Names::default()),
        loaded => loaded,
    }
}

struct Reader<'a> {
    client: Client,
    names: Names,
    types: &'a [String],
    output: &'a Output,
}

impl Reader<'_> {
    /// Shows up to `limit` events after the cursor; returns where to go on.
    async fn list(&mut self, after: Option<Cursor>, limit: u64) -> Result<Cursor, Failure> {
        let (mut after, mut left) = (after, limit);
        loop {
            // With a filter, what the server sends is more than what is shown.
            let wanted = if self.types.is_empty() { left } else { u64::from(MAX_LIMIT) };
            let wanted = u32::try_from(wanted).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
            let page = self.client.events(after, Some(wanted)).await?;
            for frame in page.frames {
                let Frame::Event { cursor, event } = frame else { continue };
                left -= u64::from(self.show(cursor, event).await?);
                if left == 0 {
                    return Ok(cursor);
                }
            }
            after = Some(page.next_after);
            if !page.has_more {
                return Ok(page.next_after);
            }
        }
    }

    /// Shows the last `count` events up to `head`; returns where to go on. Ids have gaps and the
    /// filter takes more away, so it looks further back until there are enough.
    async fn tail(&mut self, count: u64, head: Cursor) -> Result<Cursor, Failure> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut reach = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(2);
        loop {
            let start = Cursor { event_id: head.event_id.saturating_sub(reach).max(0), ..head };
            let (found, end) = self.matching(start).await?;
            if found.len() >= count || start.event_id == 0 {
                let skipped = found.len().saturating_sub(count);
                for (cursor, event) in found.into_iter().skip(skipped) {
                    self.show(cursor, event).await?;
                }
                return Ok(end);
            }
            reach = reach.saturating_mul(8);
        }
    }

    async fn matching(&self, start: Cursor) -> Result<(Vec<(Cursor, Event)>, Cursor), Failure> {
        let (mut found, mut after) = (Vec::new(), start);
        loop {
            let page = self.client.events(Some(after), Some(MAX_LIMIT)).await?;
            for frame in page.frames {
                if let Frame::Event { cursor, event } = frame
                    && self.wants(&event)
                {
                    found.push((cursor, event));
                }
            }
            after = page.next_after;
            if !page.has_more {
                return Ok((found, after));
            }
        }
    }

    /// Shows events as they come, until `limit` of them were shown or access ends.
    async fn follow(&mut self, from: Cursor, limit: Option<u64>) -> Result<Exit, Failure> {
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

    fn wants(&self, event: &Event) -> bool {
        self.types.is_empty() || self.types.contains(&event_type(event))
    }

    /// Shows the event if it is wanted, and says whether it was.
    async fn show(&mut self, cursor: Cursor, event: Event) -> Result<bool, Failure> {
        self.names.learn(&event);
        if !self.wants(&event) {
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
    fn say_end(&self, end: Cursor, head: Cursor) -> Result<(), Failure> {
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
