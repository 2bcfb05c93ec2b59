//! Routes from the control plane: the stream as changes of what is served, from the last good state
//! on, with or without a control plane.

mod identity;
mod report;
mod view;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use sextant_api::{
    Client,
    client::is_about_time,
    follow::{Item, follow_view},
    frame::StreamView,
};
use sextant_model::{
    Cursor, RouteId,
    routing::{RouteKey, Routing, ServedRoute, desired::RoutingSnapshot},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    config::ControlPlane,
    publish::{Change, Publisher},
    state::{Entry, Keeper, Loaded, Saved, StateError, StateFolder},
};
use identity::Identity;
use report::Reporter;
use view::{Taken, View};

/// Before the stream is opened again after a refusal, or a snapshot that cannot be believed.
const RESUME_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at the node's certificate, which the agent renews.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(10);
/// Between two reports when nothing changes.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a bookmark may wait to be saved and acknowledged.
const FLUSH_PAUSE: Duration = Duration::from_secs(2);
/// Items that are taken in before the table follows.
const BURST: usize = 1024;

/// Follows the control plane.
#[derive(Debug)]
pub struct Following {
    settings: ControlPlane,
    view: View,
    keeper: Keeper,
    saved: watch::Receiver<Option<Cursor>>,
    identity: Identity,
    stream: Option<Stream>,
    reporter: Option<Reporter>,
    client: Option<Client>,
    /// Nothing more is wanted until then.
    resume_at: Option<Instant>,
    identity_at: Instant,
    report_at: Instant,
    /// A bookmark that is not saved yet.
    flush_at: Option<Instant>,
    problem: Option<String>,
    connected: bool,
    /// Workloads that are left out, when that was last said.
    foreign: usize,
}

/// The follower; ends when dropped.
#[derive(Debug)]
struct Stream {
    items: mpsc::Receiver<Item>,
    _stop: DropGuard,
}

/// Something that has come.
#[derive(Debug)]
pub enum News {
    /// From the stream.
    Item(Box<Item>),
    /// Something is on disk that was not.
    Saved,
    /// Time has passed.
    Time,
}

/// What has to be done about the news.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The routes are different.
    pub change: Option<Change>,
    /// Something was refused as a whole.
    pub rejected: bool,
}

impl Following {
    /// Reads the last good state. With `take_over`, the edge that has the folder still may. The
    /// change makes everything that was saved.
    pub fn start(settings: &ControlPlane, take_over: bool) -> Result<(Self, Change), StateError> {
        let folder = StateFolder::open(&settings.state_dir)?;
        let lock = if take_over { None } else { Some(folder.lock()?) };
        let (saved, whole) = load(&folder, take_over)?;
        let on_disk = saved.as_ref().map(|saved| saved.cursor).filter(|_| whole);
        let keeper = Keeper::start(folder, lock, on_disk)?;
        let now = Instant::now();
        let mut following = Self {
            view: View::new(saved),
            saved: keeper.saved(),
            keeper,
            identity: Identity::new(&settings.identity),
            stream: None,
            reporter: None,
            client: None,
            resume_at: Some(now),
            identity_at: now + IDENTITY_INTERVAL,
            report_at: now + REPORT_INTERVAL,
            flush_at: None,
            problem: None,
            connected: true,
            foreign: 0,
            settings: settings.clone(),
        };
        following.watch_foreign();
        let change = following.everything(std::iter::empty());
        Ok((following, change))
    }

    /// Where the stream goes on.
    pub fn cursor(&self) -> Option<Cursor> {
        self.view.current().map(|saved| saved.cursor)
    }

    /// Where a new stream goes on. Routes from which events were left out are not complete: this
    /// version may be the one that can read them, so it takes a snapshot.
    fn resume_after(&self) -> Option<Cursor> {
        let current = self.view.current()?;
        current.routing.skipped().is_none().then_some(current.cursor)
    }

    /// What is wrong.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Waits for news. Cancel safe.
    pub async fn next(&mut self) -> News {
        let due = [Some(self.identity_at), Some(self.report_at), self.resume_at, self.flush_at];
        let due = due.into_iter().flatten().min().unwrap_or(self.report_at);
        tokio::select! {
            item = next_item(&mut self.stream) => News::Item(Box::new(item)),
            Ok(()) = self.saved.changed() => News::Saved,
            () = tokio::time::sleep_until(due) => News::Time,
        }
    }

    /// Takes in what has come, and all that has come after it.
    pub fn take(&mut self, news: News, publisher: &Publisher) -> Outcome {
        match news {
            News::Item(item) => self.take_burst(*item, publisher),
            News::Saved => Outcome::default(),
            News::Time => {
                self.do_due();
                Outcome::default()
            }
        }
    }

    fn take_burst(&mut self, first: Item, publisher: &Publisher) -> Outcome {
        let mut burst = Burst::default();
        self.take_item(first, &mut burst);
        for _ in 1..BURST {
            let next = self.stream.as_mut().and_then(|stream| stream.items.try_recv().ok());
            let Some(item) = next else { break };
            self.take_item(item, &mut burst);
        }
        self.watch_foreign();
        self.save(&mut burst);
        let change = if burst.replaced {
            Some(self.everything(publisher.routes().keys()))
        } else if burst.touched.is_empty() {
            None
        } else {
            Some(self.of(&burst.touched))
        };
        Outcome { change, rejected: burst.rejected }
    }

    fn take_item(&mut self, item: Item, burst: &mut Burst) {
        let entry = match &item {
            Item::Event { cursor, event } => {
                Some(Entry { cursor: *cursor, event: Some(event.clone()) })
            }
            _ => None,
        };
        match self.view.take(item) {
            Taken::Replaced => {
                burst.entries.clear();
                burst.replaced = true;
            }
            Taken::Changed(routes) => {
                self.note_skipped();
                burst.touched.extend(routes);
                burst.entries.extend(entry);
            }
            Taken::Marked => self.flush_at = self.flush_at.or(Some(Instant::now() + FLUSH_PAUSE)),
            Taken::Connected(url) => {
                tracing::info!(%url, "following the control plane");
                self.connected = true;
                self.problem = None;
                self.report_at = Instant::now();
            }
            Taken::Disconnected(reason) => {
                if is_about_time(&reason)
                    && let Some(client) = &self.client
                {
                    self.identity.learn_time(client);
                }
                if std::mem::take(&mut self.connected) {
                    tracing::warn!(%reason, "the control plane is away; the routes stay as they are");
                } else {
                    tracing::debug!(%reason, "the control plane is still away");
                }
                self.problem = Some(format!("the control plane is away: {reason}"));
            }
            Taken::Unbelievable(reason) => {
                burst.rejected = true;
                self.suspend("what came from the control plane is refused", reason);
            }
            Taken::Refused(reason) => {
                self.suspend("the control plane does not let this edge follow", reason);
            }
        }
    }

    /// Says once that events are left out.
    fn note_skipped(&mut self) {
        let skipped = self.view.current().and_then(|current| current.routing.skipped());
        if let Some(skipped) = skipped
            && self.problem.is_none()
        {
            let problem = skipped.to_string();
            tracing::warn!("{problem}");
            self.problem = Some(problem);
        }
    }

    /// Names workloads that are left out, because what the control plane or a file says of them is
    /// against the rules.
    fn watch_foreign(&mut self) {
        let Some(current) = self.view.current() else { return };
        let count = current.routing.foreign().count();
        if count > self.foreign
            && let Some(foreign) = current.routing.foreign().next()
        {
            tracing::warn!(%foreign, count, "workloads are left out");
            self.problem = Some(foreign.to_string());
        }
        self.foreign = count;
    }

    fn suspend(&mut self, what: &str, reason: String) {
        tracing::error!(%reason, "{what}; the routes stay as they are");
        self.problem = Some(format!("{what}: {reason}"));
        self.stream = None;
        self.resume_at = Some(Instant::now() + RESUME_PAUSE);
    }

    fn save(&mut self, burst: &mut Burst) {
        let Some(current) = self.view.current() else { return };
        if burst.replaced || self.keeper.wants_snapshot() {
            self.keeper.replace(current.cursor, RoutingSnapshot::from(&current.routing));
            self.flush_at = None;
        } else if !burst.entries.is_empty() {
            self.keeper.append(std::mem::take(&mut burst.entries));
        }
    }

    fn do_due(&mut self) {
        let now = Instant::now();
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            if let Some(cursor) = self.cursor() {
                self.keeper.append(vec![Entry { cursor, event: None }]);
            }
        }
        if self.identity_at <= now {
            self.identity_at = now + IDENTITY_INTERVAL;
            if self.identity.has_changed() {
                tracing::info!("the node's certificate is another one; connecting anew");
                self.resume_at = Some(now);
            }
        }
        if self.resume_at.is_some_and(|at| at <= now) {
            self.connect();
        }
        if self.keeper.wants_snapshot() {
            self.save(&mut Burst::default());
        }
    }

    /// Opens the stream with the certificate that the node has now.
    fn connect(&mut self) {
        self.resume_at = None;
        match self.identity.client(&self.settings.urls) {
            Ok(client) => {
                self.reporter = Some(Reporter::start(client.clone()));
                self.client = Some(client.clone());
                self.stream = Some(Stream::open(client, self.resume_after()));
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!(%error, "the control plane cannot be followed; trying again");
                }
                self.problem = Some(problem);
                self.resume_at = Some(Instant::now() + IDENTITY_INTERVAL);
            }
        }
    }

    /// Acknowledges what is served and saved, and says what is not served.
    pub fn report(&mut self, publisher: &Publisher) {
        self.report_at = Instant::now() + REPORT_INTERVAL;
        let (Some(reporter), Some(current)) = (&self.reporter, self.cursor()) else { return };
        let saved = *self.saved.borrow_and_update();
        // Nothing is acknowledged that a restart would forget.
        let revision = saved.filter(|saved| saved.epoch == current.epoch);
        let revision = revision.unwrap_or(Cursor { epoch: current.epoch, event_id: 0 });
        reporter.report(report::build(revision, publisher, self.settings.listen_addresses.len()));
    }

    /// Whether a report is due.
    pub fn wants_report(&self) -> bool {
        self.report_at <= Instant::now()
    }

    /// Makes the routes of `keys` all those there are.
    fn everything<'k>(&self, keys: impl Iterator<Item = &'k RouteKey>) -> Change {
        let Some(current) = self.view.current() else { return Change::default() };
        let routes = current.routing.routes().keys();
        let wanted = routes.flat_map(|route| self.served(&current.routing, *route));
        Change::between(keys, wanted.filter_map(Result::ok).collect())
    }

    /// Makes some routes as they are now.
    fn of(&self, routes: &BTreeSet<RouteId>) -> Change {
        let Some(current) = self.view.current() else { return Change::default() };
        let mut change = Change::default();
        for place in routes.iter().flat_map(|route| self.served(&current.routing, *route)) {
            match place {
                Ok(route) => change.put.push(route),
                Err(key) => change.remove.push(key),
            }
        }
        change
    }

    /// The route on each address that routes listen on; the key alone where it is not served.
    fn served(
        &self,
        routing: &Routing,
        route_id: RouteId,
    ) -> impl Iterator<Item = Result<ServedRoute, RouteKey>> {
        let addresses = self.settings.listen_addresses.iter().enumerate();
        addresses.map(move |(index, address)| {
            let key = key(route_id, index, *address);
            match routing.served(route_id, *address) {
                Some(served) => Ok(ServedRoute { key, ..served }),
                None => Err(key),
            }
        })
    }
}

impl Stream {
    fn open(client: Client, after: Option<Cursor>) -> Self {
        let stop = CancellationToken::new();
        let items = follow_view(client, StreamView::Routing, after, stop.clone());
        Self { items, _stop: stop.drop_guard() }
    }
}

/// What a burst of items amounts to.
#[derive(Debug, Default)]
struct Burst {
    replaced: bool,
    touched: BTreeSet<RouteId>,
    entries: Vec<Entry>,
    rejected: bool,
}

/// On the first address a route is known by its id alone.
fn key(route_id: RouteId, index: usize, address: IpAddr) -> RouteKey {
    RouteKey(match index {
        0 => route_id.to_string().into(),
        _ => format!("{route_id}@{address}").into(),
    })
}

/// The last good state and whether the journal may go on. A damaged one is set aside, unless it is
/// that of the edge which is taken over from, and its loss is not mistaken for emptiness.
fn load(folder: &StateFolder, take_over: bool) -> Result<(Option<Saved>, bool), StateError> {
    match folder.load()? {
        Loaded::Good { saved, whole } => return Ok((Some(*saved), whole)),
        Loaded::Missing => {
            tracing::warn!("there are no saved routes; waiting for the control plane");
        }
        Loaded::Unreadable(damage) if take_over => {
            tracing::error!(
                reason = %damage,
                "the saved routes cannot be believed; waiting for the control plane"
            );
        }
        Loaded::Unreadable(damage) => {
            let aside = folder.set_aside()?;
            tracing::error!(
                reason = %damage, kept_as = %aside.display(),
                "the saved routes cannot be believed; waiting for the control plane"
            );
        }
    }
    Ok((None, false))
}

async fn next_item(stream: &mut Option<Stream>) -> Item {
    let item = match stream {
        Some(stream) => stream.items.recv().await,
        None => std::future::pending().await,
    };
    if let Some(item) = item {
        return item;
    }
    // It ends only after it was refused, which it has said.
    *stream = None;
    std::future::pending().await
}

/// For status.
pub fn describe(settings: &ControlPlane) -> String {
    let urls: Vec<&str> = settings.urls.iter().map(url::Url::as_str).collect();
    urls.join(", ")
}

#[cfg(test)]
mod tests;
