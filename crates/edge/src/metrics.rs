//! Metrics, collected from the running edge when they are asked for.

use std::{
    collections::HashSet,
    fmt::Error,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::{
    balance::{Backend, Usability},
    counters::{Counter, Counters, HELLO_SIZES},
    outcome::Metric,
    status::Shared,
    timer::Moment,
};

/// Everything that is counted.
#[derive(Debug)]
pub struct Collected(Arc<Shared>);

impl Collected {
    /// Of this edge.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn sum(&self, counter: impl Fn(&Counters) -> &Counter) -> u64 {
        self.0.workers.counters().map(|counters| counter(counters).get()).sum()
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.connections(&mut encoder)?;
        self.prereads(&mut encoder)?;
        self.backends(&mut encoder)?;
        self.routing(&mut encoder)?;
        self.process(&mut encoder)
    }
}

/// All names begin so.
const PREFIX: &str = "sextant_edge_";

fn number(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &(impl EncodeMetric + ?Sized),
) -> Result<(), Error> {
    let name = format!("{PREFIX}{name}");
    metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), Error> {
    number(encoder, name, help, &ConstCounter::new(value))
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), Error> {
    number(encoder, name, help, &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// One value for each value of a label.
fn labelled(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    metric_type: MetricType,
    label: &'static str,
    values: &[(&'static str, u64)],
) -> Result<(), Error> {
    let name = format!("{PREFIX}{name}");
    let mut family = encoder.encode_descriptor(&name, help, None, metric_type)?;
    for (value, count) in values {
        let labels = [(label, *value)];
        let one = family.encode_family(&labels)?;
        match metric_type {
            MetricType::Counter => ConstCounter::new(*count).encode(one)?,
            _ => ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX)).encode(one)?,
        }
    }
    Ok(())
}

impl Collected {
    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let accepted = self.sum(|counters| &counters.accepted);
        counter(encoder, "connections_accepted", "Connections that were accepted", accepted)?;
        let now = self.sum(|counters| &counters.current);
        gauge(encoder, "connections", "Connections now", now)?;
        let name = format!("{PREFIX}connections_ended");
        let help = "Connections that have ended, by how";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for metric in Metric::ALL {
            let ended = self.0.workers.counters().map(|counters| counters.ended(*metric)).sum();
            let labels = [("outcome", metric.outcome()), ("reason", metric.reason())];
            ConstCounter::<u64>::new(ended).encode(family.encode_family(&labels)?)?;
        }
        let bytes = [
            ("up", self.sum(|counters| &counters.bytes_up)),
            ("down", self.sum(|counters| &counters.bytes_down)),
        ];
        let about = ("bytes", "Bytes forwarded: up to backends, down to clients");
        labelled(encoder, about, MetricType::Counter, "direction", &bytes)?;
        let spliced = self.sum(|counters| &counters.bytes_spliced);
        counter(encoder, "bytes_spliced", "Bytes forwarded without being copied", spliced)?;
        let pauses = self.sum(|counters| &counters.accept_pauses);
        let help = "Times that accepting paused for want of descriptors or memory";
        counter(encoder, "accept_pauses", help, pauses)?;
        gauge(encoder, "pipes", "Pipes for forwarding", self.sum(|counters| &counters.pipes))
    }

    fn prereads(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let now = self.sum(|counters| &counters.prereads);
        gauge(encoder, "prereads", "Connections now that are not routed yet", now)?;
        let ech = self.sum(|counters| &counters.ech_offered);
        let help = "ClientHellos that offered Encrypted ClientHello";
        counter(encoder, "hello_ech_offered", help, ech)?;
        let addresses = self.sum(|counters| &counters.addresses_for_names);
        let help = "ClientHellos and requests that named an IP address, which counts as no name";
        counter(encoder, "addresses_for_names", help, addresses)?;
        let class = |index: usize| self.sum(|counters| &counters.hello_sizes[index]);
        let bounds = HELLO_SIZES.iter().map(|bound| f64::from(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.enumerate().map(|(index, bound)| (bound, class(index))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let bytes = self.sum(|counters| &counters.hello_bytes);
        let name = format!("{PREFIX}hello_size_bytes");
        let help = "Sizes of ClientHellos";
        #[expect(clippy::cast_precision_loss, reason = "what the format has")]
        encoder
            .encode_descriptor(&name, help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(bytes as f64, count, &buckets, None)
    }

    fn backends(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let connects = self.sum(|counters| &counters.connects);
        counter(encoder, "backend_connects", "Attempts to connect to a backend", connects)?;
        let failures = self.sum(|counters| &counters.connect_failures);
        let help = "Attempts to connect to a backend that failed";
        counter(encoder, "backend_connect_failures", help, failures)?;
        let ejections = self.sum(|counters| &counters.ejections);
        let help = "Times a backend was left alone after failures";
        counter(encoder, "backend_ejections", help, ejections)?;
        let now = Moment::now();
        let mut seen: HashSet<*const Backend> = HashSet::new();
        let [mut usable, mut ejected, mut down] = [0; 3];
        for route in self.0.routes.load().values() {
            for backend in route.backends().iter() {
                if !seen.insert(Arc::as_ptr(backend)) {
                    continue;
                }
                match backend.usability(now) {
                    Usability::Usable => usable += 1,
                    Usability::Ejected(_) => ejected += 1,
                    Usability::Down => down += 1,
                }
            }
        }
        let about = ("backends", "Backends, by whether they may be chosen");
        let states = [("usable", usable), ("ejected", ejected), ("down", down)];
        labelled(encoder, about, MetricType::Gauge, "state", &states)
    }

    fn routing(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let snapshot = self.0.published.load();
        gauge(encoder, "routes", "Routes that are served", snapshot.table.len() as u64)?;
        let help = "Revision that is served: the event id, or how many route files were read";
        gauge(encoder, "revision", help, snapshot.revision)?;
        let changes = self.0.changes.load(Relaxed);
        counter(encoder, "changes", "Changes of the routes that were taken in", changes)?;
        let rejected = self.0.rejected.load(Relaxed);
        let help = "Route files and snapshots that were refused as a whole";
        counter(encoder, "changes_rejected", help, rejected)?;
        let situation = self.0.situation.load();
        let refused = situation.refused_count as u64;
        gauge(encoder, "routes_refused", "Records that are not served", refused)?;
        let open = situation.listeners.iter().filter(|listener| listener.open).count() as u64;
        let failed = situation.listeners.len() as u64 - open;
        let about = ("listeners", "Listening sockets, by whether they are open");
        let states = [("open", open), ("failed", failed)];
        labelled(encoder, about, MetricType::Gauge, "state", &states)
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let dropped = self.0.access.dropped();
        let help = "Lines of the access log that were dropped because it was too slow";
        counter(encoder, "access_log_dropped", help, dropped)?;
        let (written, failed) =
            self.0.access_log.as_ref().map_or((0, 0), super::access_log::AccessLog::counts);
        let about = ("access_log_lines", "Lines of the access log, by whether they were written");
        let states = [("written", written), ("failed", failed)];
        labelled(encoder, about, MetricType::Counter, "result", &states)?;
        gauge(encoder, "generation", "Processes that handed over", self.0.generation.into())?;
        let draining = u64::from(self.0.draining.load(Relaxed));
        gauge(encoder, "draining", "Whether the process is on its way down", draining)
    }
}
