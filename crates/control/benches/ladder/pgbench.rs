//! The rungs inside Postgres, driven by its own load generator.

use std::path::Path;

use tokio::process::Command;

/// The payload every rung writes: what `POST /v1/enrolment-tokens` writes.
macro_rules! payload {
    () => {
        r#"'{"network_id":"01a1f868-55a1-73be-bef8-2503570dfd53","node_name":"worker-1","roles":["worker"],"expires_at":"2030-01-01T00:00:00Z","secret_hash":"71080f4a87d23e3618c6233922d8d1d8f5c0c6bf4027a3aaf013269e9563fa20"}'"#
    };
}

/// A plain insert into the same table.
pub const RAW: &str = concat!(
    "INSERT INTO events (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload) ",
    "VALUES ('enrolment-token', gen_random_uuid(), 1, 'enrolment-token-created', ",
    "'00000000-0000-0000-0000-000000000000', ",
    payload!(),
    ");\n"
);

/// The append function.
pub const FUNCTION: &str = concat!(
    "SELECT append_events('enrolment-token', gen_random_uuid(), 0, ",
    "'00000000-0000-0000-0000-000000000000', ARRAY['enrolment-token-created'], ",
    "ARRAY[",
    payload!(),
    "::jsonb]);\n"
);

/// What pgbench did.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Transactions, one event each.
    pub events: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Outcome {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(self) -> f64 {
        self.events as f64 / self.seconds
    }
}

/// Runs `script` with `clients` sessions for `seconds`.
pub async fn run(url: &str, script: &str, clients: u32, seconds: u64, folder: &Path) -> Outcome {
    let file = folder.join("script.sql");
    std::fs::write(&file, script).expect("script");
    let output = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()])
        .args(["-T", &seconds.to_string(), "-f"])
        .arg(&file)
        .arg(url)
        .output()
        .await
        .expect("pgbench");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let number = |label: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("{text}"));
        let digits = line[label.len()..].split_whitespace().next().unwrap_or_default();
        digits.trim_end_matches('/').parse().unwrap_or_else(|_| panic!("{line}"))
    };
    let events = number("number of transactions actually processed: ");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Outcome { events: events as u64, seconds: events / number("tps = ") }
}
