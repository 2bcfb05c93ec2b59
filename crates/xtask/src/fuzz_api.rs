//! Thousands of requests that follow from the API's description, and many that do not, against a
//! real control plane: none may be answered with a 5xx.

use std::{ffi::OsString, fs, path::Path, process::Command};

use anyhow::Context;

use crate::{
    setup,
    shell::{cargo, remove_directory, run, target_directory, workspace_root},
};

/// Where the token comes from: the environment, so that it stands in no argument.
const SETTINGS: &str = "headers = { Authorization = \"Bearer ${SEXTANT_FUZZ_TOKEN}\" }\n";

/// Runs what was written by `sextant-lab env` and then schemathesis with it.
const SCRIPT: &str = r#"
set -eu
eval "$("$1" --dir "$2" env)"
SEXTANT_FUZZ_TOKEN=$(cat "$SEXTANT_TOKEN_FILE")
export SEXTANT_FUZZ_TOKEN
program=$3 settings=$4
shift 4
url=${SEXTANT_API_URLS%%,*}
exec "$program" --config-file "$settings" run "${url%/}/v1/openapi.json" \
    --tls-verify "$SEXTANT_CA_FILE" --checks not_a_server_error --continue-on-failure "$@"
"#;

/// Sets up, starts a lab with one node, and lets schemathesis at it.
pub fn fuzz_api(arguments: &[OsString]) -> anyhow::Result<()> {
    setup::setup()?;
    run(cargo()?.args(["build", "--workspace", "--bins"]))?;
    let target = target_directory()?;
    let program = target.join("debug/sextant-lab");
    let place = target.join("fuzz-api");
    fs::create_dir_all(&place).with_context(|| format!("cannot make \"{}\"", place.display()))?;
    let schemathesis = install(&place)?;
    let settings = place.join("schemathesis.toml");
    fs::write(&settings, SETTINGS)
        .with_context(|| format!("cannot write \"{}\"", settings.display()))?;

    let lab = place.join("lab");
    let in_lab = |action: &[&str]| run(Command::new(&program).arg("--dir").arg(&lab).args(action));
    in_lab(&["up", "--nodes", "1", "--replicas", "1"])?;
    let mut fuzz = Command::new("sh");
    fuzz.args(["-c", SCRIPT, "sh"]).arg(&program).arg(&lab).arg(&schemathesis).arg(&settings);
    let fuzzed = run(fuzz.args(arguments).current_dir(workspace_root()?));
    in_lab(&["down"])?;
    remove_directory(&lab)?;
    fuzzed
}

/// Schemathesis in a virtual environment of its own.
fn install(place: &Path) -> anyhow::Result<std::path::PathBuf> {
    let environment = place.join("python");
    let program = environment.join("bin/schemathesis");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .context("python3 with its venv module is needed (Debian: python3-venv)")?;
        let pip = environment.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "schemathesis"]))?;
    }
    Ok(program)
}
