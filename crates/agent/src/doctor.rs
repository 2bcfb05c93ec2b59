//! `sextant-agent doctor`: looks for what is wrong with this node and says what to do about it.
//! Changes nothing.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use serde::Serialize;
use sextant_api::{Auth, Client, ClientConfig, Trust};
use sextant_daemon::clock::{Clock, Entropy};
use sextant_model::{NodeId, membership::Membership, mtu};
use url::Url;

use crate::{
    certificate::Validity,
    config::AgentConfig,
    disk,
    egress::{self, Underlay},
    netlink::Netlink,
    port,
    probe::{self, Targets},
    state::{LoadedState, NodeIdentity, StateFolder},
    wireguard::{Observation, WireGuard, word},
};

const CONTACT_LIMIT: Duration = Duration::from_secs(5);
const ECHO_LIMIT: Duration = Duration::from_secs(3);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, and deserves a look.
    Warning,
    /// Does not work.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub subject: String,
    /// What was found, and what to do.
    pub text: String,
}

/// Looks at everything.
pub async fn examine(
    config: &AgentConfig,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Vec<Finding> {
    let mut report = Report::default();
    let folder = StateFolder::new(&config.state_dir);
    report.folder(&folder);
    report.disk(&folder);
    for exposed in folder.exposed_files(config.enrolment_token_file.as_deref()) {
        report.add(Severity::Failure, "private file", exposed);
    }
    let node = report.node(&folder);
    let certificate = report.certificate(&folder, clock);
    for url in &config.api_urls {
        report.control_plane(url, &folder, certificate.as_deref()).await;
    }
    let membership = report.saved_state(&folder);
    if let (Some(node), Some(membership)) = (&node, &membership) {
        report.own_key(&folder, node, membership);
    }
    let observation = report.interface(config).await;
    report.port(config.wireguard.listen_port, observation.as_ref());
    if let (Some(node), Some(membership), Some(observation)) = (node, membership, observation) {
        report.peers(&node, &membership, &observation);
        report.mtu(&node, &membership, &observation).await;
        report.echoes(&node, &membership, &observation, entropy).await;
    }
    report.0
}

#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, severity: Severity, subject: &str, text: impl ToString) {
        self.0.push(Finding { severity, subject: subject.into(), text: text.to_string() });
    }

    fn folder(&mut self, folder: &StateFolder) {
        let path = folder.path().display();
        match std::fs::metadata(folder.path()) {
            Err(error) => {
                self.add(Severity::Failure, "state folder", format!("\"{path}\": {error}"));
            }
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                let text = format!("\"{path}\" is open to others; chmod 0700 it");
                self.add(Severity::Warning, "state folder", text);
            }
            Ok(_) => self.add(Severity::Ok, "state folder", format!("\"{path}\" is private")),
        }
        if folder.has_left() {
            let text = "this node was removed from its network; empty the folder to enrol it again";
            self.add(Severity::Failure, "membership", text);
        }
    }

    fn disk(&mut self, folder: &StateFolder) {
        match disk::check(folder.path()) {
            Ok(()) => self.add(Severity::Ok, "disk", "has room for the state"),
            Err(error) => self.add(Severity::Failure, "disk", error),
        }
    }

    /// Userspace WireGuard that did not get its port looks well otherwise.
    fn port(&mut self, wanted: u16, found: Option<&Observation>) {
        let subject = format!("UDP port {wanted}");
        let listens_on = found.and_then(|found| found.interface.listen_port);
        if listens_on == Some(wanted) {
            return self.add(Severity::Ok, &subject, "WireGuard listens on it");
        }
        if let Err(busy) = port::check_free(wanted) {
            self.add(Severity::Failure, &subject, busy);
        } else {
            let now = listens_on.map_or_else(String::new, |port| format!(" but on {port}"));
            let text = format!("WireGuard does not listen on it{now}; does sextant-agent run?");
            self.add(Severity::Failure, &subject, text);
        }
    }

    fn node(&mut self, folder: &StateFolder) -> Option<NodeIdentity> {
        if let Err(error) = folder.existing_wireguard_key() {
            self.add(Severity::Failure, "WireGuard key", error);
        }
        match folder.node() {
            Ok(Some(node)) => {
                self.add(
                    Severity::Ok,
                    "enrolment",
                    format!("node \"{}\" ({})", node.name, node.node_id),
                );
                Some(node)
            }
            Ok(None) => {
                let text = "not enrolled; the log of sextant-agent says what it waits for";
                self.add(Severity::Failure, "enrolment", text);
                None
            }
            Err(error) => {
                self.add(Severity::Failure, "enrolment", error);
                None
            }
        }
    }

    /// A damaged or missing key is named before.
    fn own_key(&mut self, folder: &StateFolder, node: &NodeIdentity, membership: &Membership) {
        let Ok(Some(key)) = folder.existing_wireguard_key() else { return };
        match key.check(folder.wireguard_key_file(), membership, node.node_id) {
            Ok(()) => self.add(Severity::Ok, "WireGuard key", "is the one the network knows"),
            Err(swapped) => self.add(Severity::Failure, "WireGuard key", swapped),
        }
    }

    fn certificate(&mut self, folder: &StateFolder, clock: &dyn Clock) -> Option<String> {
        let pem = match folder.certificate() {
            Ok(pem) => pem,
            Err(error) => {
                self.add(Severity::Failure, "certificate", error);
                return None;
            }
        };
        let now = clock.now();
        match Validity::of(&pem) {
            Err(error) => self.add(Severity::Failure, "certificate", error),
            Ok(validity) if validity.is_over(now) => {
                let text = format!(
                    "expired at {}; the agent renews it as soon as it reaches the control plane, if the clock here is right ({now})",
                    validity.not_after
                );
                self.add(Severity::Failure, "certificate", text);
            }
            Ok(validity) if now < validity.not_before => {
                let text = format!("valid from {}; is the clock right?", validity.not_before);
                self.add(Severity::Failure, "certificate", text);
            }
            Ok(validity) => {
                let late = validity.is_due(now);
                let severity = if late { Severity::Warning } else { Severity::Ok };
                let hint = if late { ", and its renewal is due" } else { "" };
                let text = format!("valid until {}{hint}", validity.not_after);
                self.add(severity, "certificate", text);
            }
        }
        Some(pem)
    }

    async fn control_plane(&mut self, url: &Url, folder: &StateFolder, certificate: Option<&str>) {
        let subject = format!("control plane {url}");
        let (Ok(ca), Ok(Some(key)), Some(certificate)) =
            (folder.ca(), folder.existing_client_key(), certificate)
        else {
            self.add(
                Severity::Failure,
                &subject,
                "cannot be asked without CA, key and certificate",
            );
            return;
        };
        let key = key.to_string();
        let auth = Auth::Certificate { certificate: certificate.to_owned(), key };
        let client =
            Client::new(ClientConfig { api_urls: vec![url.clone()], trust: Trust::Ca(ca), auth });
        let answer = async { client?.ready().await };
        match tokio::time::timeout(CONTACT_LIMIT, answer).await {
            Ok(Ok(_)) => self.add(Severity::Ok, &subject, "is ready"),
            Ok(Err(error)) => self.add(Severity::Warning, &subject, error),
            Err(_) => self.add(Severity::Warning, &subject, "does not answer"),
        }
    }

    fn saved_state(&mut self, folder: &StateFolder) -> Option<Membership> {
        match folder.state() {
            Ok(LoadedState::Good(saved)) => {
                let (members, cursor) = (saved.membership.members.len(), saved.cursor.event_id);
                let text = format!("{members} members at revision {cursor}");
                self.add(Severity::Ok, "saved state", text);
                return Some(saved.membership);
            }
            Ok(LoadedState::Missing) => {
                self.add(
                    Severity::Failure,
                    "saved state",
                    "none; the agent needs a first snapshot",
                );
            }
            Ok(LoadedState::Unreadable(damage)) => {
                self.add(Severity::Failure, "saved state", format!("cannot be believed: {damage}"));
            }
            Err(error) => self.add(Severity::Failure, "saved state", error),
        }
        None
    }

    async fn interface(&mut self, config: &AgentConfig) -> Option<Observation> {
        let name = &config.wireguard.interface;
        let subject = format!("interface \"{name}\"");
        let observe = async {
            let wireguard = WireGuard::new(&config.wireguard)?;
            wireguard.observe(&Netlink::open()?).await
        };
        match observe.await {
            Ok(Some(found)) if found.interface.up => {
                self.add(Severity::Ok, &subject, format!("up, {}", word(found.implementation)));
                Some(found)
            }
            Ok(Some(found)) => {
                self.add(Severity::Failure, &subject, "down; does sextant-agent run?");
                Some(found)
            }
            Ok(None) => {
                self.add(Severity::Failure, &subject, "does not exist; does sextant-agent run?");
                None
            }
            Err(error) => {
                self.add(Severity::Failure, &subject, error);
                None
            }
        }
    }

    fn peers(&mut self, node: &NodeIdentity, membership: &Membership, found: &Observation) {
        let Some(desired) = membership.desired(node.node_id) else {
            self.add(Severity::Failure, "membership", "this node is no member of its network");
            return;
        };
        let wanted: BTreeSet<_> = desired.peers.keys().collect();
        let there: BTreeSet<_> = found.interface.peers.keys().collect();
        let (missing, surplus) =
            (wanted.difference(&there).count(), there.difference(&wanted).count());
        if missing + surplus == 0 {
            self.add(Severity::Ok, "peers", format!("all {} are configured", wanted.len()));
        } else {
            let text = format!(
                "{missing} are missing and {surplus} are too many; does sextant-agent run?"
            );
            self.add(Severity::Failure, "peers", text);
        }
    }

    async fn mtu(&mut self, node: &NodeIdentity, membership: &Membership, found: &Observation) {
        let Some(own) = membership.members.get(&node.node_id) else { return };
        let others = membership.members.values().filter(|member| member.node_id != node.node_id);
        let endpoints = others.map(|member| member.endpoint);
        let underlay = async {
            let netlink = Netlink::open()?;
            egress::underlay(&netlink, own.endpoint.ip(), endpoints, Some(found.index)).await
        };
        match underlay.await {
            Err(error) => self.add(Severity::Failure, "underlay", error),
            Ok(None) => self.add(Severity::Failure, "underlay", "no way to any peer is known"),
            Ok(Some(Underlay { mtu, unreachable })) => {
                for address in unreachable {
                    self.add(Severity::Failure, "underlay", format!("no route to {address}"));
                }
                match mtu::overlay(mtu) {
                    Err(error) => self.add(Severity::Failure, "MTU", error),
                    Ok(inner) if inner != found.interface.mtu => {
                        let now = found.interface.mtu;
                        let text = format!("{now}, and {inner} would fit; does sextant-agent run?");
                        self.add(Severity::Warning, "MTU", text);
                    }
                    Ok(inner) => self.add(Severity::Ok, "MTU", format!("{inner} over {mtu}")),
                }
            }
        }
    }

    /// Small echoes show who is there; full ones show who only seems to be.
    async fn echoes(
        &mut self,
        node: &NodeIdentity,
        membership: &Membership,
        found: &Observation,
        entropy: &dyn Entropy,
    ) {
        let targets = targets(node.node_id, membership);
        let full = usize::try_from(found.interface.mtu).unwrap_or_default();
        let small = probe::answers(&targets, 0, ECHO_LIMIT, entropy).await;
        let small = match small {
            Ok(small) => small,
            Err(error) => return self.add(Severity::Failure, "echo", error),
        };
        let there: Targets = targets.into_iter().filter(|(id, _)| small.contains(id)).collect();
        let large = probe::answers(&there, full, ECHO_LIMIT, entropy).await.unwrap_or_default();
        for member in membership.members.values().filter(|m| m.node_id != node.node_id) {
            let subject = format!("peer \"{}\"", member.name);
            if large.contains(&member.node_id) {
                self.add(Severity::Ok, &subject, format!("answers, up to {full} bytes"));
            } else if small.contains(&member.node_id) {
                let text = format!(
                    "answers short packets and not those of {full} bytes; something between {} \
                     and here has a smaller MTU",
                    member.endpoint
                );
                self.add(Severity::Failure, &subject, text);
            } else {
                let text = format!("does not answer; is UDP to {} let through?", member.endpoint);
                self.add(Severity::Failure, &subject, text);
            }
        }
    }
}

fn targets(me: NodeId, membership: &Membership) -> Targets {
    let others = membership.members.values().filter(|member| member.node_id != me);
    others.filter_map(|member| Some((member.node_id, member.addresses.ipv6()?))).collect()
}

/// Writes findings for people.
pub fn write(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        let mark = match finding.severity {
            Severity::Ok => "ok     ",
            Severity::Warning => "warning",
            Severity::Failure => "FAILURE",
        };
        writeln!(out, "{mark}  {}: {}", finding.subject, finding.text)?;
    }
    Ok(())
}
