use rustix::process::Signal;
use serde_json::Value;
use sextant_edge::hello::builder::HelloBuilder;

use crate::support::{Backend, Port, Start, eventually, talk, tls};

#[test]
fn each_connection_leaves_a_line_and_the_file_may_be_moved_away() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let start = Start::with_routes(&tls(&port, "a.example", &backend))
        .config("access_log = \"FOLDER/access.log\"");
    let (log, moved) = (start.path("access.log"), start.path("access.log.1"));
    let edge = start.start();
    let hello = HelloBuilder::for_name("a.example").build();
    talk(port.address, &hello, 7).expect("served");
    let lines = |path: &std::path::Path| -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    eventually("a line", || lines(&log).len() == 1);
    let line = &lines(&log)[0];
    assert_eq!(line["name"], "a.example", "{line}");
    assert_eq!(line["outcome"], "completed", "{line}");
    assert_eq!(line["backend"], backend.address.to_string());
    assert_eq!(line["route"], format!("{port}/a.example"));
    assert_eq!(line["bytes_up"], hello.len());
    assert_eq!(line["bytes_down"], hello.len() + 7);

    std::fs::rename(&log, &moved).expect("moved");
    edge.signal(Signal::HUP);
    eventually("a new file", || log.exists());
    let unknown = HelloBuilder::for_name("b.example").build();
    assert!(talk(port.address, &unknown, 7).is_err());
    eventually("a line", || lines(&log).len() == 1);
    assert_eq!(lines(&log)[0]["outcome"], "unknown_name");
    assert_eq!(lines(&moved).len(), 1);
}
