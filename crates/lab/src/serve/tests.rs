use super::{certificate::file, *};

#[test]
fn every_workload_has_a_certificate_of_its_own_for_each_name() {
    let directory = tempfile::tempdir().expect("directory");
    let certificates = Certificates::in_directory(directory.path().to_owned());
    let (one, other) = ("fd00::1".parse().expect("address"), "fd00::2".parse().expect("address"));
    for (workload, name) in [(one, "a.test"), (one, "b.test"), (other, "a.test")] {
        certificates.config(workload, name).expect("a certificate");
    }
    let read = |workload, name| {
        std::fs::read_to_string(file(directory.path(), workload, name)).expect("written")
    };
    let first = read(one, "a.test");
    assert!(first.starts_with("-----BEGIN CERTIFICATE-----"), "{first}");
    assert_ne!(first, read(one, "b.test"));
    assert_ne!(first, read(other, "a.test"));
    certificates.config(one, "a.test").expect("the same");
    assert_eq!(first, read(one, "a.test"), "it is made once");
}

#[tokio::test]
async fn a_request_is_answered_with_who_the_workload_is() {
    let answer = Answer {
        workload: "fd00::1".parse().expect("address"),
        node: "n1".to_owned(),
        port: TLS_PORT,
        server_name: Some("a.test".to_owned()),
        peer: "[fd00::9]:1234".parse().expect("address"),
    };
    let (mut client, server) = tokio::io::duplex(4096);
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.expect("write");
    respond(server, &answer).await.expect("answered");
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("read");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(serde_json::from_str::<Answer>(body).expect("json"), answer);
}
