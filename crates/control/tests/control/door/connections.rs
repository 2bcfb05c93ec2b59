//! What one connection may take.

use std::time::Duration;

use sextant_control::door::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{PATIENCE, SHORT, Wire, generous, replica};
use crate::Platform;

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_is_cut_off() {
    let platform = Platform::new().await;
    let limits = Limits { handshake: SHORT, ..generous() };
    let replica = replica(&platform, limits).await;
    let mut stream =
        tokio::net::TcpStream::connect(replica.replica.addresses[0]).await.expect("connected");
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_client_that_says_nothing_after_the_handshake_is_cut_off() {
    let platform = Platform::new().await;
    let limits = Limits { first_head: SHORT, ..generous() };
    let replica = replica(&platform, limits).await;
    assert_eq!(Wire::open(&platform, &replica).await.rest().await, b"");
}

#[tokio::test]
async fn the_first_head_has_its_time_from_the_handshake_on_however_it_is_sent() {
    let platform = Platform::new().await;
    let limits = Limits { first_head: SHORT, ..generous() };
    let replica = replica(&platform, limits).await;
    assert_ends_while_dripping(Wire::open(&platform, &replica).await).await;
}

/// Goes on with a head that never ends until the other side has had enough.
async fn assert_ends_while_dripping(mut wire: Wire) {
    let drip = async {
        wire.send("GET /v1/health HTTP/1.1\r\nhost: x\r\n").await;
        while wire.try_send("x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, drip).await.expect("cut off");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off_also_after_other_requests() {
    let platform = Platform::new().await;
    let limits = Limits { head: SHORT, ..generous() };
    let replica = replica(&platform, limits).await;
    assert_ends_while_dripping(Wire::open(&platform, &replica).await).await;
    let mut wire = Wire::open(&platform, &replica).await;
    wire.get("/v1/health", None).await;
    assert!(wire.answer().await.starts_with("HTTP/1.1 200"));
    assert_ends_while_dripping(wire).await;
}

#[tokio::test]
async fn a_connection_without_a_next_request_is_closed() {
    let platform = Platform::new().await;
    let limits = Limits { idle: SHORT, ..generous() };
    let replica = replica(&platform, limits).await;
    let mut wire = Wire::open(&platform, &replica).await;
    wire.get("/v1/health", None).await;
    assert!(wire.answer().await.starts_with("HTTP/1.1 200"));
    assert_eq!(wire.rest().await, b"");
}

#[tokio::test]
async fn a_body_with_a_pause_and_one_that_drips_are_refused() {
    let platform = Platform::new().await;
    let head = "POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 60000\r\n\r\n";
    let gap = replica(&platform, Limits { body_gap: SHORT, ..generous() }).await;
    let mut wire = Wire::open(&platform, &gap).await;
    wire.send(head).await;
    let answer = wire.answer().await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-too-slow"), "{answer}");
    wire.rest().await;

    let whole = replica(&platform, Limits { body: SHORT, ..generous() }).await;
    let mut wire = Wire::open(&platform, &whole).await;
    wire.send(head).await;
    let (mut reader, mut writer) = tokio::io::split(wire.0);
    let drip = async {
        loop {
            if writer.write_all(b" ").await.is_err() || writer.flush().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = tokio::time::timeout(PATIENCE, reader.read_exact(&mut answer)) => {
            read.expect("in time").expect("answered");
        }
        () = drip => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn answers_that_nobody_reads_end_the_connection_and_requests_are_not_read_ahead_for_ever() {
    let platform = Platform::new().await;
    let limits = Limits { stall: SHORT, ..generous() };
    let replica = replica(&platform, limits).await;
    let mut wire = Wire::open(&platform, &replica).await;
    let request = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let pipeline = async {
        // Blocks when the replica has stopped reading, and fails when it has closed.
        while wire.try_send(&request).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, pipeline).await.expect("cut off");
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_does_read_gets_its_answers() {
    let platform = Platform::new().await;
    let limits = Limits { stall: Duration::from_secs(5), ..generous() };
    let replica = replica(&platform, limits).await;
    let mut wire = Wire::open(&platform, &replica).await;
    for _ in 0..6 {
        wire.get("/v1/openapi.json", None).await;
    }
    for _ in 0..6 {
        assert!(wire.answer().await.contains("\"openapi\""));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let platform = Platform::new().await;
    let replica = replica(&platform, generous()).await;
    let mut wire = Wire::open(&platform, &replica).await;
    // The preface and an empty SETTINGS frame (RFC 9113 section 3.4).
    wire.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let answer = wire.rest().await;
    let settings = answer.get(3) == Some(&4) && !answer.starts_with(b"HTTP/1");
    assert!(!settings, "answered with frames: {answer:?}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let platform = Platform::new().await;
    let limits = generous();
    assert!(limits.head_bytes < 100_000);
    let replica = replica(&platform, limits).await;
    let mut wire = Wire::open(&platform, &replica).await;
    wire.send("GET /v1/health HTTP/1.1\r\nhost: x\r\n").await;
    let line = format!("x: {}\r\n", "y".repeat(1000));
    for _ in 0..limits.head_bytes / 1000 + 10 {
        if wire.try_send(&line).await.is_err() {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}
