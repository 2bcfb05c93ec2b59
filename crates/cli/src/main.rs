//! `sextant`: the operator's command line.

fn main() -> std::process::ExitCode {
    sextant::run(std::env::args_os())
}
