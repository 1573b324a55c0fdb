//! `check`: is a configuration good? Everything that `serve` would do with it short of opening a socket; with `--online`
//! also what only the network and the machine can tell: names, connections, certificates, secrets.

mod online;

use std::path::PathBuf;
use std::process::ExitCode;

use config::{Diagnostic, Model};
use serde_json::{Value, json};

use self::online::Finding;
use super::{out, source};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// File to check [default: the one `serve` would use].
    file: Option<PathBuf>,
    /// Also resolve and connect to each upstream and read each secret; no request is sent.
    #[arg(long)]
    online: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// All that was found.
#[derive(Default)]
struct Report {
    source: String,
    routes: usize,
    diagnostics: Vec<Diagnostic>,
    /// What the parts refuse that are built from the configuration.
    build: Vec<String>,
    online: Vec<Finding>,
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    let report = report(args.file.clone().or(file), args.online);
    let good = report.good();
    let printed = if args.json { out::json(report.json()) } else { report.say() };
    if good { printed } else { ExitCode::FAILURE }
}

fn report(file: Option<PathBuf>, probe: bool) -> Report {
    let named = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let loaded = match source::Chosen::file(file).checked() {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Report { source: named, diagnostics, ..Report::default() },
    };
    let (mut diagnostics, mut build) = (loaded.warnings, Vec::new());
    for wrong in proxy::check(&loaded.model).err().unwrap_or_default() {
        match wrong.diagnostic(&loaded.origins) {
            Some(diagnostic) => diagnostics.push(diagnostic),
            None => build.push(wrong.to_string()),
        }
    }
    let online =
        if probe && build.is_empty() && source::errors(&diagnostics) == 0 { probed(&loaded.model) } else { Vec::new() };
    let (source, routes) = (loaded.source.to_string(), loaded.model.routes.len());
    Report { source, routes, diagnostics, build, online }
}

fn probed(model: &Model) -> Vec<Finding> {
    match super::runtime() {
        Ok(runtime) => runtime.block_on(online::probe(model)),
        Err(error) => vec![Finding::bad("the network", error)],
    }
}

impl Report {
    fn errors(&self) -> usize {
        source::errors(&self.diagnostics) + self.build.len() + self.online.iter().filter(|f| !f.good).count()
    }

    fn good(&self) -> bool {
        self.errors() == 0
    }

    fn json(&self) -> Value {
        json!({
            "ok": self.good(),
            "source": self.source,
            "diagnostics": self.diagnostics,
            "build": self.build,
            "online": self.online.iter().map(Finding::json).collect::<Vec<_>>(),
        })
    }

    /// One line each for what was probed on stdout, all else on stderr.
    fn say(&self) -> ExitCode {
        self.diagnostics.iter().for_each(out::diagnostic);
        self.build.iter().for_each(out::failure);
        let printed = match self.online.is_empty() {
            true => ExitCode::SUCCESS,
            false => out::data(self.online.iter().map(Finding::line).collect::<Vec<_>>().join("\n")),
        };
        let Self { source, routes, .. } = self;
        let warnings = self.diagnostics.len() - source::errors(&self.diagnostics);
        let warned = if warnings == 0 { String::new() } else { format!(", {}", source::counted(warnings, "warning")) };
        match self.errors() {
            0 => out::message(format_args!("{source}: ok ({}{warned})", source::counted(*routes, "route"))),
            errors => out::failure(format_args!("{}{warned}", source::counted(errors, "error"))),
        }
        printed
    }
}
