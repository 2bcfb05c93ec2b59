//! The table as a script for `nft -f`: one transaction from whatever is there to what must be.

use std::{collections::BTreeSet, fmt::Write};

use super::{Firewall, LINK_PREFIX, Placement, TABLE};
use crate::id::EnvironmentId;

/// What depends on environments has these names; everything else in the table has fixed ones.
const CHAIN_OF: &str = "environment_";
const MEMBERS_OF: &str = "members_";

/// Chains and sets of environments that the table has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    chains: BTreeSet<String>,
    sets: BTreeSet<String>,
}

impl Present {
    /// Finds them in what `nft list table` prints.
    pub fn in_listing(listing: &str) -> Self {
        let named = |kind: &str, start: &str| {
            let lines = listing.lines().filter_map(|line| line.trim().strip_prefix(kind));
            let names = lines.filter_map(|rest| rest.trim_start().split(' ').next());
            names.filter(|name| name.starts_with(start)).map(str::to_owned).collect()
        };
        Self { chains: named("chain ", CHAIN_OF), sets: named("set ", MEMBERS_OF) }
    }
}

impl Firewall {
    /// The transaction that leads to this table from one that has `present`, or from none.
    pub fn script(&self, present: &Present) -> String {
        let mut script = Script::default();
        self.declare(&mut script);
        // Rules and elements go first and come back in the same transaction.
        script.line(&format!("flush table inet {TABLE}"));
        for set in ["nodes", "edges", "workloads", "sources", "published"] {
            script.line(&format!("flush set inet {TABLE} {set}"));
        }
        script.line(&format!("flush map inet {TABLE} environments"));
        for id in self.environments.keys() {
            script.line(&format!("flush set inet {TABLE} {}", members(*id)));
        }
        self.drop_stale(&mut script, present);
        self.fill(&mut script);
        self.rules(&mut script);
        script.0
    }

    /// The transaction that replaces a table that cannot be changed into this one.
    pub fn replacement(&self) -> String {
        let start = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
        start + &self.script(&Present::default())
    }

    fn declare(&self, script: &mut Script) {
        script.line(&format!("add table inet {TABLE}"));
        for set in ["nodes", "edges", "workloads"] {
            script.line(&format!("add set inet {TABLE} {set} {{ type ipv6_addr; }}"));
        }
        let pair = |name: &str, types: &str| format!("add set inet {TABLE} {name} {{ {types}; }}");
        script.line(&pair("sources", "type ifname . ipv6_addr"));
        script.line(&pair("published", "type ipv6_addr . inet_service"));
        script.line(&format!("add map inet {TABLE} environments {{ type ipv6_addr : verdict; }}"));
        for hook in ["input", "forward", "output"] {
            script.line(&format!(
                "add chain inet {TABLE} {hook} {{ type filter hook {hook} priority filter; policy accept; }}"
            ));
        }
        script.line(&format!("add chain inet {TABLE} admit"));
        for id in self.environments.keys() {
            let members = members(*id);
            script.line(&format!("add set inet {TABLE} {members} {{ type ipv6_addr; }}"));
            script.line(&format!("add chain inet {TABLE} {}", chain(*id)));
        }
    }

    fn drop_stale(&self, script: &mut Script, present: &Present) {
        let chains: BTreeSet<String> = self.environments.keys().map(|id| chain(*id)).collect();
        let sets: BTreeSet<String> = self.environments.keys().map(|id| members(*id)).collect();
        for name in present.chains.difference(&chains) {
            script.line(&format!("delete chain inet {TABLE} {name}"));
        }
        for name in present.sets.difference(&sets) {
            script.line(&format!("delete set inet {TABLE} {name}"));
        }
    }

    fn fill(&self, script: &mut Script) {
        script.elements("nodes", self.nodes.iter().map(ToString::to_string));
        script.elements("edges", self.edges.iter().map(ToString::to_string));
        script.elements("workloads", self.workloads.keys().map(ToString::to_string));
        if self.site.placement == Placement::Namespace {
            let sources = self.workloads.iter();
            script.elements("sources", sources.map(|(at, link)| format!("\"{link}\" . {at}")));
        }
        let published = self.published.iter();
        script.elements("published", published.map(|(at, port)| format!("{at} . {port}")));
        for (id, addresses) in &self.environments {
            script.elements(&members(*id), addresses.iter().map(ToString::to_string));
        }
        let environments = self.environment_of.iter();
        script.elements(
            "environments",
            environments.map(|(at, id)| format!("{at} : jump {}", chain(*id))),
        );
    }

    fn rules(&self, script: &mut Script) {
        let (links, prefix) = (format!("\"{LINK_PREFIX}*\""), self.prefix);
        let mesh = format!("\"{}\"", self.site.interface);
        let spoofed = format!("iifname {links} iifname . ip6 saddr != @sources drop");
        // Addresses of the mesh come from the mesh, from a workload's link or from the host itself.
        let forged = format!("iifname != {mesh} iifname != {links} ip6 saddr {prefix} drop");
        let known = "ct state established,related accept";
        let neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";

        // To the host itself.
        script.rule("input", &format!("iifname {links} meta nfproto != ipv6 drop"));
        script.rule("input", &format!("iifname {links} {neighbours}"));
        script.rule("input", &spoofed);
        script.rule("input", &format!("iifname != \"lo\" {forged}"));
        script.rule("input", known);
        script.rule("input", &format!("iifname {links} drop"));
        script.rule("input", "ip6 daddr @workloads jump admit");
        script.rule("input", &format!("iifname {mesh} ip6 saddr != @nodes drop"));

        // Through the host.
        script.rule("forward", &format!("iifname {links} meta nfproto != ipv6 drop"));
        script.rule("forward", &format!("oifname {links} meta nfproto != ipv6 drop"));
        script.rule("forward", &spoofed);
        script.rule("forward", &forged);
        script.rule("forward", known);
        script.rule("forward", "ip6 daddr @workloads jump admit");
        script.rule("forward", &format!("oifname {links} drop"));
        let inside = format!("iifname {links} ip6 daddr {prefix}");
        script.rule("forward", &format!("{inside} ip6 saddr vmap @environments"));
        script.rule("forward", &format!("{inside} drop"));
        if !self.site.egress {
            script.rule("forward", &format!("iifname {links} drop"));
        }
        script.rule("forward", &format!("iifname {mesh} drop"));

        // From the host.
        script.rule("output", &format!("oifname {links} meta nfproto != ipv6 drop"));
        script.rule("output", &format!("oifname {links} {neighbours}"));
        script.rule("output", known);
        script.rule("output", "ip6 daddr @workloads jump admit");
        script.rule("output", &format!("oifname {links} drop"));

        // To a workload here.
        let ports =
            if self.unlisted { "meta l4proto tcp" } else { "ip6 daddr . tcp dport @published" };
        script.rule("admit", &format!("ip6 saddr @edges {ports} accept"));
        script.rule("admit", "ip6 daddr vmap @environments");
        script.rule(
            "admit",
            "ip6 saddr @nodes icmpv6 type echo-request limit rate 100/second burst 100 packets accept",
        );
        script.rule("admit", "drop");
        for id in self.environments.keys() {
            let members = members(*id);
            script.rule(&chain(*id), &format!("ip6 saddr @{members} ip6 daddr @{members} accept"));
        }
    }
}

#[derive(Default)]
struct Script(String);

impl Script {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn rule(&mut self, chain: &str, rule: &str) {
        self.line(&format!("add rule inet {TABLE} {chain} {rule}"));
    }

    fn elements(&mut self, set: &str, elements: impl Iterator<Item = String>) {
        for (place, element) in elements.enumerate() {
            if place == 0 {
                let _ = write!(self.0, "add element inet {TABLE} {set} {{ {element}");
            } else {
                let _ = write!(self.0, ", {element}");
            }
        }
        if self.0.ends_with('\n') {
            return;
        }
        self.0.push_str(" }\n");
    }
}

fn chain(id: EnvironmentId) -> String {
    format!("{CHAIN_OF}{}", id.0.simple())
}

fn members(id: EnvironmentId) -> String {
    format!("{MEMBERS_OF}{}", id.0.simple())
}
