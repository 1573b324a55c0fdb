//! Which way out a request takes, and whether it may, as far as its name or address tells: nothing is resolved.

use exchange::Host;
use upstream::connect::guard::Guard;

use crate::house::rules;
use crate::snapshot::{End, Plan};
use crate::stack::Site;

/// What stands behind a target that is reached through a parent.
pub(super) fn way(parent: Option<impl std::fmt::Display>) -> String {
    parent.map(|parent| format!(", through {parent}")).unwrap_or_default()
}

/// The same of a host that no route leads elsewhere.
pub(super) fn way_to(plan: &Plan, host: &Host, port: u16) -> String {
    match &plan.end {
        End::Hosts(hosts) => way(hosts.parents.of(host, port)),
        End::Targets { .. } | End::Redirect { .. } | End::Respond { .. } => String::new(),
    }
}

/// Why it may not go there.
pub(super) fn refusal(site: &Site, host: &Host, port: u16) -> Option<String> {
    let model = &site.snapshot().model;
    if model.resolve.contains_key(&host.to_string()) {
        return None;
    }
    let guard = Guard::new(rules(model));
    let checked = match host {
        Host::Name(_) => guard.check_host(host, port),
        Host::Ip(ip) => guard.check(host, &[(*ip, port).into()], true),
    };
    checked.err().and_then(|error| error.detail())
}
