//! What of `status` is about interception: which hosts, by whose certificate, and which clients would not have it.

use config::model::HostMatch;
use exchange::clock;
use policy::Tick;
use serde::Serialize;

use crate::control::Control;
use crate::intercept::{Identity, Refusal};
use crate::snapshot::Snapshot;

/// See the module. The hosts and the counts are always there, so that nobody has to guess.
#[derive(Serialize)]
pub(super) struct Interception {
    /// As the configuration has them; `*` is every host that no other route excepts.
    intercepted: Vec<String>,
    /// That are left alone although others are not.
    not_intercepted: Vec<String>,
    /// Tunnels that were opened.
    intercepted_tunnels: u64,
    /// Tunnels that could not be.
    intercept_failures: u64,
    /// Who signs.
    intercept_ca: Option<Ca>,
    /// Hosts whose clients refused what it signed, the latest first.
    intercept_refused: Vec<RefusedView>,
}

#[derive(Serialize)]
struct Ca {
    file: String,
    subject: String,
    sha256: String,
    /// Unix time in seconds.
    valid_from: u64,
    valid_until: u64,
    days_left: u64,
}

#[derive(Serialize)]
struct RefusedView {
    host: String,
    reason: &'static str,
    count: u64,
    seconds_ago: u64,
    next: &'static str,
}

pub(super) fn of(control: &Control, all: bool, now: Tick) -> Interception {
    let snapshot = control.reloader.current();
    let (intercepted, not_intercepted) = hosts(&snapshot);
    let (intercepted_tunnels, intercept_failures) = control.house.metrics.events().intercepts().totals();
    let authority = snapshot.authority.as_ref();
    let view = |one: Refusal| RefusedView {
        host: one.host.to_string(),
        reason: one.reason.label(),
        count: one.count,
        seconds_ago: now.since(one.last).as_secs(),
        next: one.next(),
    };
    Interception {
        intercepted,
        not_intercepted,
        intercepted_tunnels,
        intercept_failures,
        intercept_ca: authority.map(|authority| ca(authority.identity())),
        intercept_refused: authority
            .filter(|_| all)
            .map(|one| one.refusals().into_iter().map(view).collect())
            .unwrap_or_default(),
    }
}

fn ca(identity: &Identity) -> Ca {
    let Identity { subject, from, until, fingerprint, file, .. } = identity;
    Ca {
        file: file.as_ref().map_or_else(|| "in memory only".into(), |file| file.display().to_string()),
        subject: subject.clone(),
        sha256: fingerprint.clone(),
        valid_from: *from,
        valid_until: *until,
        days_left: until.saturating_sub(clock::calendar().as_secs()) / (24 * 60 * 60),
    }
}

/// Each host of the configuration once, by the first route that says it.
fn hosts(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    if snapshot.authority.is_none() {
        return (Vec::new(), Vec::new());
    }
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    let default = snapshot.model.default.policy.intercept == Some(true);
    let routes = snapshot.model.routes.iter();
    let said = routes.filter_map(|route| Some((shown(&route.matcher.host), route.policy.intercept?)));
    for (host, says) in said.chain([("*".to_owned(), default)]) {
        let known = yes.contains(&host) || no.contains(&host);
        match says {
            _ if known => {}
            true => yes.push(host),
            false if host == "*" => {}
            false => no.push(host),
        }
    }
    (yes, no)
}

fn shown(host: &HostMatch) -> String {
    let with = |host: String, port: &Option<u16>| port.map_or(host.clone(), |port| format!("{host}:{port}"));
    match host {
        HostMatch::Any => "*".into(),
        HostMatch::Exact { host, port } => with(host.clone(), port),
        HostMatch::Suffix { suffix, port } => with(format!("*.{suffix}"), port),
    }
}
