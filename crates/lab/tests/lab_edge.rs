//! The benchmark of proxies, in small. Needs root or user namespaces, two cores and HAProxy; the
//! figures of a test are worth nothing and are not looked at.

use std::process::Command;

use serde_json::Value;

/// Runs the benchmark and returns what it measured.
fn samples(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_sextant-lab"))
        .args(["bench", "edge", "--quick", "--json"])
        .args(arguments)
        .output()
        .expect("run");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    report["samples"].as_array().expect("samples").clone()
}

#[test]
fn every_load_goes_through_a_real_proxy_and_is_accounted_for() {
    let parts = "throughput,connections,latency,memory";
    let samples = samples(&["--only", parts, "--subjects", "haproxy", "--idle", "200"]);
    assert_eq!(samples.len(), 7);
    for sample in samples {
        let figures = sample["result"]["figures"].as_object();
        let figures = figures.unwrap_or_else(|| panic!("nothing was measured: {sample:#}"));
        for (name, value) in figures {
            let value = value.as_f64().expect("a number");
            let is_plausible = match name.as_str() {
                "failures" => value < 0.5,
                // A few connections may be too few to need a new page.
                "slab_per_connection" | "bytes_per_connection" => value >= 0.0,
                _ => value > 0.0,
            };
            assert!(is_plausible, "{name}: {sample:#}");
        }
        assert!(sample["result"]["proxy_core_share"].as_f64() > Some(0.0), "{sample:#}");
    }
}

#[test]
fn a_proxy_that_does_not_start_is_reported_with_its_log_and_does_not_stop_the_others() {
    let samples =
        samples(&["--only", "connections", "--subjects", "sextant,direct", "--edge", "/bin/false"]);
    let [sextant, direct] = samples.as_slice() else { panic!("{samples:#?}") };
    let error = sextant["result"]["error"].as_str().expect("an error");
    assert!(error.starts_with("sextant-edge ended (exit status: 1)"), "{error}");
    assert!(direct["result"]["figures"]["connections_per_second"].as_f64() > Some(0.0));
}
