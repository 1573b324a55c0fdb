//! Prints what `cargo test` does not run. It has no test harness, so that its text is seen when all is well.
//!
//! It fails when a suite it names is not there.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::path::Path;
use std::process::ExitCode;

/// The suite, what it shows, and what it needs.
const SUITES: &[(&str, &str, &str)] = &[
    (
        "tests/clients/run",
        "curl, wget, git, Python, Node.js, Java and Go through the real binary",
        "those clients, a package registry",
    ),
    (
        "tests/peers/run",
        "WebSocket, gRPC and server-sent events between programs by others",
        "python3, Node.js, curl, a package registry",
    ),
    ("tests/leaks/run", "a secret of every kind, searched for on every surface", "python3, curl"),
    ("tests/browser/run", "what a web page can do to a proxy on its machine", "python3, chromium"),
    (
        "tests/tenants.rs",
        "processes of several users at one daemon",
        "root, to start them: `cargo test --test tenants -- --ignored`",
    ),
    (
        "tests/issuer/run",
        "OAuth2 with an issuer by others: tokens that live five seconds, under load",
        "Node.js, a package registry, a minute",
    ),
    ("benches/gate", "instructions and system calls per request", "Linux, nginx, valgrind, strace, a release build"),
    (
        "benches/storm/run",
        "failing endpoints beside HAProxy and Envoy; a short form with --smoke",
        "Linux, a release build; for the long form those proxies and half an hour",
    ),
    ("benches/peers/run", "CPU per request beside HAProxy, nginx and Envoy", "those proxies, wrk, ten quiet minutes"),
];

fn main() -> ExitCode {
    // A runner that asks for tests, or wants some of them by name, gets none.
    if std::env::args().skip(1).any(|argument| argument == "--list" || !argument.starts_with('-')) {
        return ExitCode::SUCCESS;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut code = ExitCode::SUCCESS;
    let mut text =
        String::from("\nleft out by `cargo test`: the crates' own tests, unless --workspace is given, and\n");
    for (suite, shows, needs) in SUITES {
        text.push_str(&format!("  {suite:18} {shows}\n  {:18} needs {needs}\n", ""));
        if !root.join(suite).is_file() {
            text.push_str(&format!("  {:18} IS NOT THERE\n", ""));
            code = ExitCode::FAILURE;
        }
    }
    let on_path = |name: &str| std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !on_path("script") {
        text.push_str("  the live demo      of tests/cli.rs: needs script(1), which is not on this machine\n");
    }
    text.push_str("tests/all runs everything but the last, and installs what that needs where it may\n\n");
    print!("{text}");
    code
}
