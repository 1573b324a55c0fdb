//! The same for what a route does beside sending a request to its upstream.

use std::sync::Arc;

use config::model::{FallbackWith, On};
use exchange::error::Injected;
use exchange::{ArcService, ErrorKind, Load};
use http::{HeaderMap, Method};
use middleware::{fallback, fault, headers, mirror, respond, retry, target};

use super::edit;
use crate::snapshot::{Aside, Credential, End, Plan, Snapshot, Target};
use crate::worker::Worker;

/// Only where something is sent. `service` makes what goes to a target beside the route's own.
pub fn fallback(plan: &Plan, service: impl Fn(&Aside) -> ArcService) -> Option<fallback::Params> {
    let from = &plan.policy.fallback;
    if from.is_empty() || matches!(plan.end, End::Redirect { .. } | End::Respond { .. }) {
        return None;
    }
    let mut asides = plan.asides.iter();
    let rules = from.iter().filter_map(|rule| {
        let with = match &rule.with {
            FallbackWith::Upstream(_) => fallback::With::Upstream(service(asides.next()?)),
            FallbackWith::Respond { status, headers, body } => {
                fallback::With::Respond(respond::service(super::respond(*status, headers, body)))
            }
            FallbackWith::Stale(stale) => fallback::With::Stale(fallback::Stale {
                store: plan.stale.clone()?,
                bounds: fallback::Bounds { entries: stale.max_entries, bytes: stale.max_size, body: stale.max_body },
                max_stale: stale.max_stale,
            }),
        };
        Some(fallback::Rule { on: on(&rule.on), with })
    });
    let retry = plan.policy.retry.as_ref();
    let methods =
        retry.map(|retry| retry.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok()));
    let usual = retry::Params::default();
    Some(fallback::Params {
        rules: rules.collect(),
        methods: methods.map_or(usual.methods, Iterator::collect),
        body_limit: retry.map_or(usual.body_limit, |retry| retry.body_limit),
    })
}

/// Only where something is sent. `service` makes what goes to a target beside the route's own, which comes last.
pub fn mirror(
    plan: &Plan,
    worker: &Worker,
    service: impl Fn(&Aside) -> ArcService,
) -> Option<(mirror::Params, mirror::State)> {
    let from = plan.policy.mirror.as_ref()?;
    if matches!(plan.end, End::Redirect { .. } | End::Respond { .. }) {
        return None;
    }
    let params = mirror::Params {
        share: from.share,
        body_limit: from.body_limit,
        timeout: from.timeout,
        concurrency: from.concurrency,
        withheld: config::carries_secret,
    };
    let state = mirror::State {
        service: service(plan.asides.last()?),
        random: worker.context().random.clone(),
        tasks: worker.mirrors().clone(),
        places: plan.mirrors.clone()?,
        stats: worker.stats().route(&plan.name),
    };
    Some((params, state))
}

/// Only where it is asked for.
pub fn fault(plan: &Plan) -> Option<fault::Params> {
    let from = plan.policy.fault.as_ref()?;
    if matches!(plan.end, End::Redirect { .. } | End::Respond { .. }) {
        return None;
    }
    let answer =
        |abort: config::model::Abort| (Injected::Answer { status: abort.status, grpc: abort.grpc }, abort.share);
    let only = plan.faulty.clone();
    Some(fault::Params {
        delay: from.delay,
        abort: from.abort.map(answer),
        reset: from.reset,
        only: only.map(|fields| {
            Arc::new(move |headers: &HeaderMap| fields.iter().all(|field| field.is_in(headers))) as fault::Only
        }),
    })
}

fn on(from: &[On]) -> fallback::On {
    let mut on = fallback::On::default();
    for one in from {
        match one {
            On::Reason(word) => on.kinds.extend(ErrorKind::ALL.iter().find(|kind| kind.label() == *word)),
            On::Statuses(first, last) => on.statuses.push(*first..=*last),
        }
    }
    on
}

/// The route's edits, but for what carries a secret: that is for the route's own target.
pub fn headers_beside(plan: &Plan, snapshot: &Snapshot) -> headers::Params {
    let mut request = plan.policy.headers.request.clone();
    request.set.retain(|(name, _)| !config::carries_secret(name));
    request.add.retain(|(name, _)| !config::carries_secret(name));
    let mut request = edit(&request);
    // What the client sent under that name was meant for us, or is stale; at the route's own target it is replaced.
    request.remove.extend(plan.credential.iter().flat_map(Credential::headers));
    headers::Params { request, ..super::headers(plan, snapshot) }
}

/// Where a request goes beside the route's own target: with its rewritten path, and the host of that target.
pub fn target_beside(plan: &Plan, to: &Target, service: ArcService, load: Arc<dyn Load>) -> target::Params {
    let rewrite = target::Rewrite { host: None, ..super::rewrite(plan) };
    target::Params { rewrite, ..super::target(plan, [(to, service, load)].into_iter()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_configuration_is_a_failure() {
        for word in config::model::REASONS {
            assert_eq!(on(&[On::Reason(word)]).kinds.len(), 1, "{word}");
        }
    }
}
