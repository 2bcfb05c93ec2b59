//! The kinds of findings: one line each says everything about a kind.

use super::Severity;

macro_rules! kinds {
    ($($name:ident, $word:literal, $severity:ident, $breaks:literal, $meaning:literal, $remedy:literal;)*) => {
        /// What kind of thing is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $meaning] $name,)*
        }

        impl Kind {
            /// Every kind, in the order of `docs/health.md`.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// Whether a node that complains of it cannot have a working mesh: its dead links need
            /// no other explanation.
            pub fn breaks_mesh(self) -> bool {
                match self { $(Self::$name => $breaks,)* }
            }

            /// What it means, for the manual.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What to do about it, where nothing more is known.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

kinds! {
    ReplicaSilent, "replica-silent", Warning, false,
        "A control plane was killed or cannot reach the database. The others go on.",
        "start sextant-control there, or look at its log";
    ReplicaClock, "replica-clock", Failure, false,
        "The clock of a control plane differs from the database's by more than two seconds.",
        "synchronise its clock (NTP)";
    ProjectionBehind, "projection-behind", Warning, false,
        "What is derived from the log has not followed it for ten seconds.",
        "look for this projection in the control plane's log";
    AllSilent, "all-silent", Failure, false,
        "No node reports: the control plane has just come back, or nobody reaches it.",
        "wait half a minute if the control plane has just been started; else check that the nodes reach its URLs (TCP port 7443)";
    NeverReported, "never-reported", Failure, false,
        "A node enrolled and has not reported since.",
        "look at the log of sextant-agent there: it must reach the control plane's URLs (TCP port 7443)";
    NodeUnreachable, "node-unreachable", Failure, false,
        "A node does not report, and its peers do not hear it either.",
        "check that the machine is up and connected; then look at sextant-agent there";
    AgentSilent, "agent-silent", Failure, false,
        "A node does not report, although its peers hear it: the machine is up.",
        "start sextant-agent there, or look at its log; it must reach the control plane's URLs (TCP port 7443)";
    ReportUnreadable, "report-unreadable", Warning, false,
        "A node's report is not understood by this version of the control plane.",
        "finish the upgrade: control planes first, then agents";
    NodeBehind, "node-behind", Failure, false,
        "A node has not applied the newest events and does not say why.",
        "look at the log of sextant-agent there";
    NodeClock, "node-clock", Warning, false,
        "A node's clock differs from the database's by more than two seconds.",
        "synchronise its clock (NTP); certificates and tokens depend on it";
    NodeCertificate, "node-certificate", Failure, false,
        "A node's client certificate is about to end, or has ended. Its agent renews it by itself long before.",
        "look at the log of sextant-agent there, which says why it does not renew";
    NodeRevoked, "node-revoked", Failure, false,
        "A node's certificates are revoked: it keeps its interface and learns of no change.",
        "trust its key again with `sextant node readmit`, or remove it";
    EdgeIdentity, "edge-identity", Warning, false,
        "The edge's copy of a node's certificate is not up to date.",
        "let sextant-agent write to edge_identity, and look at its log";
    LeaveHeldUp, "leave-held-up", Warning, false,
        "A node cannot leave, because others that must drop it are out of contact.",
        "bring them back into contact, or remove them too if they are gone for good";
    PortBusy, "port-busy", Failure, true,
        "Something else on the machine has the UDP port of WireGuard.",
        "stop what holds the port, or set another wireguard.listen_port in agent.toml";
    UnderlayMtu, "underlay-mtu", Failure, true,
        "The MTU of a node's underlay leaves less than the 1280 bytes that IPv6 needs inside.",
        "raise the MTU of the underlay to at least 1360; the agent notices by itself";
    MtuMisfit, "mtu-misfit", Warning, false,
        "The MTU of a node's overlay does not fit into that of its underlay, for longer than the agent needs to correct it.",
        "look at the log of sextant-agent there, which sets the overlay's MTU to the underlay's less 80";
    MtusDiffer, "mtus-differ", Warning, false,
        "The nodes of a network have different MTUs.",
        "give the nodes' underlays the same MTU; until then large packets to the narrower nodes depend on path MTU discovery";
    KeySwapped, "key-swapped", Failure, true,
        "A node's WireGuard key is not the one that the network knows.",
        "bring back the key file of this node, or remove the node and enrol it again";
    InterfaceTaken, "interface-taken", Failure, true,
        "The name of a node's interface belongs to something else on the machine.",
        "take the other interface away, or choose another wireguard.interface in agent.toml";
    WireguardMissing, "wireguard-missing", Failure, true,
        "A node has no WireGuard: neither the kernel's nor wireguard-go.",
        "load the kernel module wireguard, or install wireguard-go";
    NotPermitted, "not-permitted", Failure, true,
        "The agent may not make or change its interface.",
        "let sextant-agent run as root or with CAP_NET_ADMIN, and let it use /dev/net/tun";
    Interface, "interface", Failure, true,
        "A node's interface is not as it should be.",
        "look at the log of sextant-agent there";
    WorkloadUnready, "workload-unready", Failure, false,
        "A node cannot give a workload its namespace, address or rules: packets do not reach it.",
        "look at the log of sextant-agent there; it needs CAP_SYS_ADMIN and the program nft";
    WorkloadRemark, "workload-remark", Warning, false,
        "Something about a node's workloads is not as it should be, and packets pass, or a workload that has gone still has processes.",
        "look at the log of sextant-agent there; end the processes that it names";
    StateUnsaved, "state-unsaved", Failure, false,
        "A node cannot write its state folder. It goes on, and acknowledges nothing.",
        "make room on the disk of the state folder, and let sextant-agent write there";
    DiskFull, "disk-full", Warning, false,
        "The disk of a node's state folder is nearly full.",
        "make room on the disk of the state folder";
    StreamRefused, "stream-refused", Failure, false,
        "A node does not accept what the control plane sends, or the control plane does not let it follow.",
        "look at the log of sextant-agent there";
    EventsUnknown, "events-unknown", Warning, false,
        "A node has left out events that its version does not know.",
        "upgrade sextant-agent there";
    EndpointRefused, "endpoint-refused", Warning, false,
        "The control plane does not accept the endpoint in a node's configuration.",
        "correct endpoint in agent.toml there and restart sextant-agent";
    ProbeBlind, "probe-blind", Warning, false,
        "A node cannot measure its peers.",
        "let sextant-agent run as root or with CAP_NET_RAW";
    EndpointGone, "endpoint-gone", Warning, false,
        "A node's registered endpoint is no address of the machine any more.",
        "correct it with `sextant node set-endpoint`, or set endpoint in agent.toml";
    DuplicateNode, "duplicate-node", Failure, false,
        "Two machines run with one node's identity, for example because one is a copy of the other.",
        "stop sextant-agent on the copy, empty its state folder and enrol it with a token of its own";
    AgentTrouble, "agent-trouble", Failure, false,
        "A node complains of something for which this version has no word.",
        "look at the log of sextant-agent there";
    EndpointShared, "endpoint-shared", Failure, false,
        "Two nodes are registered at one endpoint.",
        "correct the wrong one with `sextant node set-endpoint`";
    EndpointUnused, "endpoint-unused", Warning, false,
        "A node's peers reach it somewhere else than where it is registered: whoever joins or restarts looks in the wrong place.",
        "correct it with `sextant node set-endpoint`; an endpoint in its agent.toml takes that back";
    EndpointBehindNat, "endpoint-behind-nat", Note, false,
        "A node is registered at a private address, and its peers see another one: address translation.",
        "register the outside address with `sextant node set-endpoint`, so that a peer that it does not call first can reach it";
    MeshSplit, "mesh-split", Failure, false,
        "The nodes fall into groups that do not reach each other.",
        "check the underlay between the groups";
    NodeCutOff, "node-cut-off", Failure, false,
        "A node reports, and reaches none or few of its peers.",
        "check its endpoint (`sextant node set-endpoint`), and that firewalls let UDP to it in and out";
    PairDead, "pair-dead", Failure, false,
        "Nothing passes between two nodes that are both in contact.",
        "check that the underlay lets UDP pass between their endpoints, both ways";
    PairOneWay, "pair-one-way", Failure, false,
        "Packets of one node do not reach another; those of the other arrive.",
        "check firewalls and routes in that direction";
    LargePacketsLost, "large-packets-lost", Failure, false,
        "Short packets pass between two nodes and long ones do not: something between them has a smaller MTU.",
        "raise the MTU of what is between them, or lower that of the node's underlay interface, from which the agent takes the overlay's; `sextant-agent doctor` on the node measures it";
    EchoFiltered, "echo-filtered", Note, false,
        "A node does not answer echoes in the overlay, although packets pass.",
        "let ICMPv6 echo requests from the overlay pass the firewall of that node";
    EdgeSilent, "edge-silent", Failure, false,
        "An edge does not report.",
        "look at the log of sextant-edge there, and whether it reaches the control plane";
    EdgeBehind, "edge-behind", Failure, false,
        "An edge does not serve the newest routes.",
        "look at the log of sextant-edge there";
    EdgeRefuses, "edge-refuses", Failure, false,
        "An edge cannot serve a route.",
        "change or delete the route, or the one it collides with";
    EdgeListener, "edge-listener", Failure, false,
        "An edge cannot listen where it should.",
        "free the port on that machine, or let sextant-edge bind it (CAP_NET_BIND_SERVICE)";
}

impl Kind {
    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.word()), Some(*kind));
            let clean = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(kind.word().chars().all(clean), "{}", kind.word());
        }
        assert_eq!(Kind::from_word("something-new"), None);
    }

    #[test]
    fn the_manual_has_a_row_for_each_kind_as_it_is() {
        let manual = include_str!("../../../../docs/health.md");
        let mut rows = String::new();
        for kind in Kind::ALL {
            let severity = match kind.severity() {
                Severity::Failure => "failure",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let remedy = kind.remedy();
            let row =
                format!("| `{}` | {severity} | {} | {remedy} |\n", kind.word(), kind.meaning());
            rows += &row;
        }
        assert!(manual.contains(&rows), "docs/health.md must contain these rows:\n{rows}");
    }
}
