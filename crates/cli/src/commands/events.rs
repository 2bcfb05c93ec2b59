//! `sextant events`: the log, read back or followed.

mod filter;
mod line;
mod reader;

use clap::{Args, builder::PossibleValuesParser};
use sextant_api::{Client, Frame};
use sextant_model::{Cursor, Epoch, EventBody, cursor::InvalidCursor};

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    output::Output,
    values,
};
use filter::{Filter, Since};
use line::Names;
use reader::Reader;

/// Events shown unless the operator says otherwise.
const DEFAULT_LIMIT: u64 = 100;

/// The beginning of `sextant events --help`.
pub const ABOUT: &str = "\
    Show what happened last, oldest first, one line per event: time, id, type, subject, \
    actor, detail. With --since or --after it shows what happened from there on; --after 0 is the \
    beginning of the log. With --follow it goes on with what happens, across restarts of the \
    control plane, until Ctrl-C.\n\nWith -o json each line is a frame of the stream; the last one \
    of a listing is a bookmark whose cursor goes into --after to read on.";

/// Arguments of `sextant events`.
#[derive(Args, Debug)]
#[command(
    after_long_help = examples(&[
        "sextant events -n 20",
        "sextant events --since 1h --subject worker-1",
        "sextant events --since 2026-11-25T14:00:00Z --actor alice --type node-withdrawn",
        "sextant events --follow -o json",
        "sextant events --after 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e:42 --follow",
    ])
)]
pub struct EventsArgs {
    /// Show the last N events; 100 if nothing is given
    #[arg(short = 'n', long, visible_alias = "lines", value_name = "N", conflicts_with_all = ["limit", "after", "since"], value_parser = values::count)]
    pub tail: Option<u64>,
    /// Start at this moment: so long ago (1h), or a time (2026-11-25T14:00:00Z, in UTC without a zone)
    #[arg(long, value_name = "1h|TIME", conflicts_with = "after")]
    pub since: Option<Since>,
    /// Start after this position, EPOCH:EVENT_ID or an event id of the present epoch
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<After>,
    /// Show at most so many events from there on; 100 after a position if not given
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub limit: Option<u64>,
    /// Go on with what happens
    #[arg(short, long)]
    pub follow: bool,
    /// Only what this API token or node did: its name or id, or "system"
    #[arg(long, value_name = "NAME|ID", add = completed(Things::ApiTokens))]
    pub actor: Option<String>,
    /// Only what happened to this: NAME, KIND/NAME or an id
    #[arg(long, value_name = "[KIND/]NAME|ID", add = completed(Things::Nodes))]
    pub subject: Option<String>,
    /// Only events of this type, such as node-enrolled; it may be given several times
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(EventBody::TYPES), hide_possible_values = true)]
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
    let filter = Filter {
        types: args.types.clone(),
        actor: args.actor.clone(),
        subject: args.subject.clone(),
        since: args.since.map(|since| since.moment(output.moments.now())),
    };
    let needs_names = !output.json || filter.names_things();
    let names = if needs_names { Names::load(&client).await? } else { Names::default() };
    let mut reader = Reader { client, names, filter, output };
    let after = match (args.after, args.since) {
        (Some(after), _) => Some(after.in_epoch(head.epoch)),
        (None, Some(_)) => Some(reader.beginning(head).await?),
        (None, None) => None,
    };
    let from = match after {
        // What follows reads from there by itself.
        Some(after) if args.follow => after,
        Some(after) => {
            let limit = match (args.limit, args.since) {
                (Some(limit), _) => limit,
                (None, Some(_)) => u64::MAX,
                (None, None) => DEFAULT_LIMIT,
            };
            reader.list(after, limit).await?
        }
        None if args.follow && args.tail.is_none() => head,
        None => {
            let count = args.tail.or(args.limit).unwrap_or(DEFAULT_LIMIT);
            reader.tail(count, head).await?
        }
    };
    if args.follow {
        return reader.follow(from, args.limit).await;
    }
    reader.say_end(from, head)?;
    Ok(Exit::Success)
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
