//! Namespaces of workloads and the rules before them: real ones, with the peer as an edge that is
//! set up with `ip` and `wg` alone.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sextant_agent::workloads::namespace::inside;
use sextant_model::{
    DnsLabel, NodeRole, RouteId, boundary::BoundaryRoute, membership::Membership,
    routing::HealthSource,
};
use socket2::{Domain, Socket, Type};
use uuid::Uuid;

use crate::{
    INTERFACE, good, repaired,
    sandbox::{self, PEER, PEER_OVERLAY, Sandbox, environment, ip, run, wait_for, workload},
};

/// Workloads 1 and 3 are of environment 1, workload 2 is of environment 2; all are here.
const FIRST: &str = "fd00:0:0:1::101";
const OTHER: &str = "fd00:0:0:1::102";
const THIRD: &str = "fd00:0:0:1::103";
/// A workload of environment 2 on the peer.
const REMOTE: &str = "fd00:0:0:2::102";
/// The port that the route of environment 1 names.
const NAMED: u16 = 8443;
const UNNAMED: u16 = 9100;
/// So long nobody answers where nobody may. Loopback speed: an answer takes a thousandth of it.
const SILENCE: Duration = Duration::from_millis(400);

fn place_all(membership: &mut Membership) {
    membership.members.get_mut(&PEER).expect("peer").roles = vec![NodeRole::Edge];
    sandbox::place(membership, (1, 1), FIRST);
    sandbox::place(membership, (2, 2), OTHER);
    sandbox::place(membership, (3, 1), THIRD);
    sandbox::place(membership, (4, 2), REMOTE);
    publish(membership, NAMED);
}

/// The route of environment 1 leads to this port.
fn publish(membership: &mut Membership, port: u16) {
    let boundary = membership.boundary.as_mut().expect("boundary");
    let routes = &mut boundary.environments.get_mut(&environment(1)).expect("environment").routes;
    let web = DnsLabel::new("web").expect("label");
    let route = BoundaryRoute::new(web, port, HealthSource::None);
    routes.insert(RouteId(Uuid::from_u128(1)), route);
}

fn namespace(n: u16) -> File {
    named(&format!("sextant-{}", workload(n)))
}

fn named(name: &str) -> File {
    File::open(format!("/run/netns/{name}")).expect("the namespace")
}

fn to(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("address"), port)
}

/// Connects from an address of the namespace.
fn connect(from: &File, source: &str, to: SocketAddr) -> io::Result<TcpStream> {
    let source: Ipv6Addr = source.parse().expect("address");
    inside(from, || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&to.into(), SILENCE)?;
        Ok(TcpStream::from(socket))
    })
}

fn listen(at: &File, port: u16) -> TcpListener {
    inside(at, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).expect("listening")
}

fn unanswered(result: io::Result<TcpStream>, what: &str) {
    let error = result.map(|stream| stream.peer_addr()).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{what}: {error}");
}

#[test]
fn edges_reach_named_ports_environments_reach_themselves_and_nobody_reaches_more() {
    let name =
        "boundary::edges_reach_named_ports_environments_reach_themselves_and_nobody_reaches_more";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        place_all(&mut membership);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.ready.len(), 3);
        assert_eq!(good(&mut reconciler, &membership).await.steps, 0, "all is well");
        sandbox.ping_from_peer(FIRST).await;
        ip(&["-n", "peer", "-6", "address", "add", REMOTE, "dev", "wgpeer", "nodad"]);
        assert_eq!(
            ip(&[
                "-n",
                &format!("sextant-{}", workload(1)),
                "-4",
                "address",
                "show",
                "dev",
                "eth0"
            ]),
            ""
        );

        let (first, second, third, peer) =
            (namespace(1), namespace(2), namespace(3), named("peer"));
        let listeners: Vec<TcpListener> = [&first, &second, &third, &peer]
            .into_iter()
            .flat_map(|at| [listen(at, NAMED), listen(at, UNNAMED)])
            .collect();
        let host = TcpListener::bind((Ipv6Addr::UNSPECIFIED, UNNAMED)).expect("a server of root");
        let other = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 22)).expect("another");
        let edge = PEER_OVERLAY.to_string();

        connect(&peer, &edge, to(FIRST, NAMED)).expect("the edge, on the named port");
        unanswered(connect(&peer, &edge, to(FIRST, UNNAMED)), "the edge, on another port");
        unanswered(connect(&peer, &edge, to(OTHER, NAMED)), "a workload without a route");
        connect(&peer, REMOTE, to(OTHER, UNNAMED)).expect("its own environment, on any port");
        unanswered(connect(&peer, REMOTE, to(FIRST, NAMED)), "a tenant on another node");
        connect(&first, FIRST, to(THIRD, UNNAMED)).expect("its own environment, on one node");
        unanswered(connect(&second, OTHER, to(FIRST, NAMED)), "a tenant on the same node");
        connect(&second, OTHER, to(REMOTE, UNNAMED)).expect("its own environment, over the mesh");
        unanswered(connect(&first, FIRST, to(REMOTE, NAMED)), "a tenant on another node, outwards");

        // Nodes are nobody's but their operators'.
        unanswered(connect(&first, FIRST, to("fd00:0:0:1::1", UNNAMED)), "its own node");
        unanswered(connect(&first, FIRST, to("fd5e:1::1", UNNAMED)), "its node's underlay");
        unanswered(connect(&first, FIRST, to(&edge, UNNAMED)), "another node");
        unanswered(connect(&first, FIRST, to("fd5e:1::2", UNNAMED)), "another node's underlay");
        let scope = inside(&first, || {
            let index = std::fs::read_to_string("/proc/thread-self/net/if_inet6")?;
            let line = index.lines().find(|line| line.ends_with("eth0")).unwrap_or_default();
            let number = line.split_whitespace().nth(1).unwrap_or("0");
            u32::from_str_radix(number, 16).map_err(io::Error::other)
        });
        let gateway = "fe80::1".parse().expect("address");
        let gateway = SocketAddrV6::new(gateway, UNNAMED, 0, scope.expect("index"));
        unanswered(connect(&first, FIRST, gateway.into()), "its node, on the link");
        unanswered(TcpStream::connect_timeout(&to(FIRST, NAMED), SILENCE), "its node, inwards");
        let scanned = connect(&peer, REMOTE, to("fd00:0:0:1::1", 22));
        unanswered(scanned, "a workload of another node towards this node");

        // What the host listens on is not on a workload's address, even where a route names it.
        drop(listeners);
        publish(&mut membership, UNNAMED);
        good(&mut reconciler, &membership).await;
        let refused = connect(&peer, &edge, to(FIRST, UNNAMED)).expect_err("nobody listens inside");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
        drop((host, other));

        // An address that is not its own gets a workload nowhere.
        let second_name = format!("sextant-{}", workload(2));
        ip(&["-n", &second_name, "-6", "address", "add", THIRD, "dev", "eth0", "nodad"]);
        let listener = listen(&first, UNNAMED);
        unanswered(connect(&second, THIRD, to(FIRST, UNNAMED)), "a forged source");
        drop(listener);
    });
}

#[test]
fn on_the_host_too_only_named_ports_of_a_workload_are_open() {
    let name = "boundary::on_the_host_too_only_named_ports_of_a_workload_are_open";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        reconciler.carry(&sandbox::on_host());
        place_all(&mut membership);
        assert_eq!(good(&mut reconciler, &membership).await.ready.len(), 3);
        sandbox.ping_from_peer(FIRST).await;
        ip(&["-n", "peer", "-6", "address", "add", REMOTE, "dev", "wgpeer", "nodad"]);
        let (peer, edge) = (named("peer"), PEER_OVERLAY.to_string());
        let _servers = [NAMED, UNNAMED]
            .map(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("listening"));
        connect(&peer, &edge, to(FIRST, NAMED)).expect("the edge, on the named port");
        unanswered(connect(&peer, &edge, to(FIRST, UNNAMED)), "the edge, on another port");
        unanswered(connect(&peer, REMOTE, to(FIRST, NAMED)), "a tenant on another node");
        connect(&peer, REMOTE, to(OTHER, UNNAMED)).expect("its own environment");
        unanswered(connect(&peer, REMOTE, to("fd00:0:0:1::1", NAMED)), "the node itself");
    });
}

#[test]
fn what_others_change_is_repaired_and_what_is_theirs_is_left_alone() {
    let name = "boundary::what_others_change_is_repaired_and_what_is_theirs_is_left_alone";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        run("nft", &["add", "table", "inet", "operator"]);
        place_all(&mut membership);
        good(&mut reconciler, &membership).await;
        let first = format!("sextant-{}", workload(1));
        let link = sextant_model::firewall::link_name(workload(1));
        for (what, change) in [
            ("table", "nft delete table inet sextant"),
            ("rules", "nft flush chain inet sextant forward"),
            ("elements", "nft flush set inet sextant edges"),
            ("a rule", "nft insert rule inet sextant admit accept"),
            (
                "a set of another type",
                "nft delete table inet sextant; nft add table inet sextant; \
                 nft add set inet sextant nodes '{ type ipv4_addr; }'",
            ),
            ("link", &format!("ip link del {link}")),
            ("host's end down", &format!("ip link set {link} down")),
            ("route", &format!("ip -6 route del {FIRST} dev {link}")),
            ("neighbour", &format!("ip -6 neighbour del {FIRST} dev {link}")),
            ("mtu", &format!("ip link set {link} mtu 1300")),
            ("address", &format!("ip -n {first} -6 address del {FIRST}/128 dev eth0")),
            ("inner end down", &format!("ip -n {first} link set eth0 down")),
            ("default route", &format!("ip -n {first} -6 route del default")),
            ("namespace", &format!("ip netns del {first}")),
        ] {
            run("sh", &["-ec", change]);
            repaired(&mut reconciler, &membership, what).await;
            sandbox.ping_from_peer(FIRST).await;
        }
        assert!(run("nft", &["list", "tables"]).contains("table inet operator"));
        ip(&["link", "del", INTERFACE]);
        repaired(&mut reconciler, &membership, "mesh").await;
        // The new interface forwards again.
        let mut restarted = sandbox.reconciler();
        assert_eq!(good(&mut restarted, &membership).await.steps, 0, "a restart changes nothing");
        reconciler.remove().await.expect("removed");
        assert!(!run("nft", &["list", "tables"]).contains("sextant"));
        assert!(!ip(&["netns", "list"]).contains("sextant-"));
    });
}

#[test]
fn a_namespace_goes_with_its_workload_once_nothing_runs_in_it() {
    let name = "boundary::a_namespace_goes_with_its_workload_once_nothing_runs_in_it";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        std::fs::create_dir(sandbox::in_namespaces().resolver_dir).expect("made");
        place_all(&mut membership);
        good(&mut reconciler, &membership).await;
        sandbox.ping_from_peer(FIRST).await;
        let (first, link) = (format!("sextant-{}", workload(1)), "/run/netns/web-0.env1.shop.acme");
        assert_eq!(std::fs::read_link(link).expect("a name for units").to_str(), Some(&*first));
        let mut sleeper = std::process::Command::new("ip")
            .args(["netns", "exec", &first, "sleep", "600"])
            .spawn()
            .expect("ip");
        let path = format!("/run/netns/{first}");
        let resolver = format!("/run/resolvers/{first}/resolv.conf");
        assert!(std::fs::exists(&resolver).expect("readable"));
        let sleeps = async || {
            let found = sextant_agent::workloads::namespace::processes(path.as_ref());
            found.expect("readable").iter().any(|process| process.starts_with("sleep"))
        };
        wait_for("the sleeper", sleeps).await;

        sandbox::release(&mut membership, 1);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(pass.complete, "its address is gone: {:?}", pass.problems);
        assert_eq!(pass.problems.len(), 1);
        let problem = &pass.problems[0];
        assert!(problem.text.contains(&format!("sleep ({})", sleeper.id())), "{problem}");
        sandbox.unreachable_from_peer(FIRST).await;
        let next = std::fs::read_link(link).expect("the next one");
        assert_eq!(next.to_str(), Some(&*format!("sextant-{}", workload(3))));

        sleeper.kill().expect("killed");
        sleeper.wait().expect("ended");
        good(&mut reconciler, &membership).await;
        assert!(!std::fs::exists(path).expect("readable"));
        assert!(!std::fs::exists(resolver).expect("readable"));
    });
}

#[test]
fn whatever_a_killed_agent_left_half_made_is_finished() {
    let name = "boundary::whatever_a_killed_agent_left_half_made_is_finished";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        place_all(&mut membership);
        let names = [1, 2, 3].map(|n| format!("sextant-{}", workload(n)));
        std::fs::write(format!("/run/netns/{}", names[0]), "").expect("a file without a namespace");
        ip(&["netns", "add", &names[1]]);
        ip(&["netns", "add", &names[2]]);
        let link = sextant_model::firewall::link_name(workload(3));
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &names[2]]);
        let old = format!("sextant-{}", workload(77));
        ip(&["netns", "add", &old]);
        ip(&["link", "add", "sxw00000000004d", "type", "veth", "peer", "name", "stray"]);
        good(&mut reconciler, &membership).await;
        for address in [FIRST, OTHER, THIRD] {
            sandbox.ping_from_peer(address).await;
        }
        assert!(!ip(&["netns", "list"]).contains(&old));
        assert!(!ip(&["link", "show"]).contains("sxw00000000004d"));
    });
}

/// Sends to an address from a thread until it is told to stop; counts what was sent.
fn flood(
    from: &File,
    source: &str,
    to: SocketAddr,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<u64> {
    let source: Ipv6Addr = source.parse().expect("address");
    let socket = inside(from, || UdpSocket::bind((source, 0))).expect("socket");
    std::thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            // Full queues are no concern of it. Flat out, it would take the processors from what
            // it is to catch.
            sent += u64::from(socket.send_to(b"?", to).is_ok());
            std::thread::sleep(Duration::from_micros(50));
        }
        sent
    })
}

#[test]
fn while_rules_change_nothing_slips_through_and_nothing_that_is_allowed_is_lost() {
    let name =
        "boundary::while_rules_change_nothing_slips_through_and_nothing_that_is_allowed_is_lost";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        place_all(&mut membership);
        good(&mut reconciler, &membership).await;
        sandbox.ping_from_peer(FIRST).await;
        let (first, second, third) = (namespace(1), namespace(2), namespace(3));
        let probe =
            inside(&first, || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 5000))).expect("probe");
        probe.set_nonblocking(true).expect("set");
        let server = listen(&first, NAMED);
        let held =
            connect(&named("peer"), &PEER_OVERLAY.to_string(), to(FIRST, NAMED)).expect("edge");
        let (held_by_server, _) = server.accept().expect("accepted");

        let stop = Arc::new(AtomicBool::new(false));
        let edge = flood(&named("peer"), &PEER_OVERLAY.to_string(), to(FIRST, 5000), stop.clone());
        let tenant = flood(&second, OTHER, to(FIRST, 5000), stop.clone());
        for turn in 0..60_u16 {
            publish(&mut membership, 1000 + turn);
            match turn % 3 {
                // An environment leaves the table, and comes back.
                0 => sandbox::place(&mut membership, (9, 3), "fd00:0:0:1::109"),
                1 => sandbox::release(&mut membership, 9),
                _ => {
                    let boundary = membership.boundary.as_mut().expect("boundary");
                    boundary.environments.remove(&environment(3));
                }
            }
            let pass = reconciler.pass(&membership, sandbox::ME).await;
            assert!(pass.complete, "{:?}", pass.problems);
            assert!(connect(&third, THIRD, to(FIRST, NAMED)).is_ok(), "allowed, in turn {turn}");
            server.accept().expect("accepted");
        }
        stop.store(true, Ordering::Relaxed);
        let sent = [edge, tenant].map(|thread| thread.join().expect("counted"));
        assert!(sent.iter().all(|sent| *sent > 1000), "the probes were at work: {sent:?}");
        let slipped = probe.recv_from(&mut [0; 8]).expect_err("nothing came through");
        assert_eq!(slipped.kind(), ErrorKind::WouldBlock);

        // Established before its port was closed, it goes on (invariant 13).
        let (mut held, mut held_by_server) = (held, held_by_server);
        held.write_all(b"still").expect("sent");
        let mut read = [0; 5];
        held_by_server.read_exact(&mut read).expect("received");
        assert_eq!(&read, b"still");
        // And what the probe would have seen, it sees once it is let in.
        let at = inside(&third, || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).expect("socket");
        at.send_to(b"!", to(FIRST, 5000)).expect("sent");
        wait_for("the probe", async || probe.recv_from(&mut [0; 8]).is_ok()).await;
    });
}
