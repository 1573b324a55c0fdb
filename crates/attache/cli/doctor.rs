//! `doctor`: what of a command, or of the current shell, will go around the proxy, and why.
//!
//! Nothing is run and nothing is sent but one question to the proxy's admin interface. What can be told is told from the
//! environment, the program's file and the configuration; a library that reads no environment inside a runtime that does
//! cannot be seen, and is only named as a possibility. Findings are ordered by severity, and each has one thing to do.
//!
//! Exit codes: 0 nothing that is surely wrong, 1 something is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use config::Model;
use config::model::Address;
use http::Method;
use serde_json::{Value, json};

use super::variables::Inherited;
use super::{admin, out, source, variables};

mod environment;
mod roots;
mod runtime;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: admin::Flags,
    /// Judge the trust in the authority of `intercept` too, though the configuration does not intercept.
    #[arg(long)]
    intercept: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The command to judge; without one, the current shell.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// How sure it is that something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Requests will go around the proxy, or fail.
    Error,
    /// Some will, of some clients.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found, and one thing to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    level: Level,
    /// Stable, for programs.
    id: &'static str,
    what: String,
    action: String,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Finding {
    fn new(level: Level, id: &'static str, what: impl Into<String>, action: impl Into<String>) -> Self {
        Self { level, id, what: what.into(), action: action.into() }
    }
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    let model = match source::Chosen::file(file.clone()).quietly() {
        Ok(loaded) => loaded.model,
        Err(code) => return code,
    };
    let inherited: Inherited<'_> = &variables::inherited;
    let proxy = proxy(&model, inherited);
    let (daemon, mut findings) = match args.admin.address(file) {
        Ok(address) => asked(&address),
        Err(_) => (Value::Null, Vec::new()),
    };
    findings.extend(environment::findings(proxy.as_deref(), inherited));
    let program = args.command.first().map(|name| runtime::recognise(name, inherited));
    if let Some(program) = &program {
        findings.extend(runtime::findings(program, inherited));
    }
    if args.intercept || model.intercepts() || inherited(super::trust::AUTHORITY).is_some() {
        let kind = program.as_ref().map(|program| program.kind);
        findings.extend(roots::findings(&model, kind, inherited));
    }
    findings.sort_by_key(|finding| finding.level);
    let wrong = findings.iter().any(|finding| finding.level == Level::Error);
    let said = if args.json {
        out::json(in_json(proxy.as_deref(), &daemon, program.as_ref(), &findings))
    } else {
        out::data(in_words(proxy.as_deref(), &daemon, program.as_ref(), &findings, out::Paint::stdout()))
    };
    if wrong { ExitCode::FAILURE } else { said }
}

/// Where clients should go: to the `run` that we are a child of, else where the configuration listens.
fn proxy(model: &Model, inherited: Inherited<'_>) -> Option<String> {
    inherited(variables::PROXY).or_else(|| {
        let plain = model.listen.iter().filter(|listener| listener.tls.is_none());
        plain.into_iter().find_map(|listener| match listener.address {
            Address::Tcp(address) if address.port() != 0 => Some(admin::url(address)),
            _ => None,
        })
    })
}

/// What the running proxy says of itself.
fn asked(address: &Address) -> (Value, Vec<Finding>) {
    let shown = admin::shown(address);
    let failed = |why: String| {
        let action = "start it: `attache`, or `attache run -- CMD` for one command";
        (json!({"admin": shown, "reachable": false}), vec![Finding::new(Level::Error, "no-proxy-running", why, action)])
    };
    let answer = match admin::ask(Method::GET, address, "/api/v1/status") {
        Ok(answer) => answer,
        Err(error) => return failed(format!("no proxy answers: {error}")),
    };
    let Some(status) = answer.json().filter(|_| answer.status.is_success()) else {
        return failed(format!("what answers at {shown} is no proxy of ours: {}", answer.status));
    };
    let (running, ours) = (status["product"].as_str().unwrap_or("?").to_owned(), env!("CARGO_PKG_VERSION"));
    let mut findings = Vec::new();
    if running != ours {
        let what = format!("the running proxy is version {running}, this program {ours}");
        findings.push(Finding::new(Level::Warning, "other-version", what, "restart the proxy"));
    }
    (json!({"admin": shown, "reachable": true, "version": running, "mode": status["mode"]}), findings)
}

fn in_json(proxy: Option<&str>, daemon: &Value, program: Option<&runtime::Program>, findings: &[Finding]) -> Value {
    let finding =
        |one: &Finding| json!({"level": one.level.word(), "id": one.id, "what": one.what, "action": one.action});
    json!({
        "version": 1,
        "proxy": proxy,
        "daemon": daemon,
        "program": program.map(|program| json!({"path": program.shown, "runtime": program.kind.name()})),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn in_words(
    proxy: Option<&str>,
    daemon: &Value,
    program: Option<&runtime::Program>,
    findings: &[Finding],
    paint: out::Paint,
) -> String {
    let mut lines = vec![format!("proxy    {}", proxy.unwrap_or("not on a TCP address"))];
    if let Some(version) = daemon["version"].as_str() {
        lines.push(format!("running  {version}, {}", daemon["mode"].as_str().unwrap_or("?")));
    }
    if let Some(program) = program {
        lines.push(format!("command  {} ({})", program.shown, program.kind.name()));
    }
    lines.push(String::new());
    for finding in findings {
        let word = format!("{:8}", finding.level.word());
        let word = match finding.level {
            Level::Error => paint.red(word),
            Level::Warning => paint.yellow(word),
            Level::Note => paint.dim(word),
        };
        lines.push(format!("{word} {}", finding.what));
        lines.push(format!("         -> {}", finding.action));
    }
    if findings.is_empty() {
        lines.push(paint.green("nothing here goes around the proxy, as far as can be told without running it"));
    }
    lines.join("\n")
}
