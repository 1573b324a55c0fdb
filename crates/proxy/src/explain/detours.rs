//! What is done beside sending the request to its upstream, in words.

use config::model::{self, AsideTo, FallbackWith, On, Policy};

/// One line a rule, in the order in which they are asked.
pub(super) fn fallbacks(policy: &Policy) -> Vec<String> {
    policy.fallback.iter().map(fallback).collect()
}

fn fallback(from: &model::Fallback) -> String {
    let on = from.on.iter().map(|on| match on {
        On::Reason(word) => (*word).to_owned(),
        On::Statuses(first, last) if first == last => first.to_string(),
        On::Statuses(first, last) => format!("{first}-{last}"),
    });
    let with = match &from.with {
        FallbackWith::Upstream(aside) => format!("{}, if it is safe to send it there", beside(aside)),
        FallbackWith::Respond { status, .. } => format!("answered here: {status}"),
        FallbackWith::Stale(stale) => {
            format!("for a GET the last good answer, up to {} after it was fresh", super::shown(stale.max_stale))
        }
    };
    format!("on {}: {with}", on.collect::<Vec<_>>().join(" "))
}

fn beside(aside: &model::Aside) -> String {
    let to = match &aside.to {
        AsideTo::Upstream(name) => format!("upstream {name}"),
        AsideTo::Url(url) => {
            let scheme = match url.scheme {
                model::Scheme::Http => "http",
                model::Scheme::Https => "https",
                model::Scheme::H2c => "h2c",
            };
            let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
            format!("{scheme}://{host}:{}{}", url.port, url.base)
        }
    };
    match &aside.auth {
        Some(auth) => format!("{to}, {}", super::credential::credential(auth)),
        None => to,
    }
}

/// Nobody must overlook it.
pub(super) fn fault(from: &model::Fault) -> String {
    let percent = |share: f64| format!("{}%", share * 100.0);
    let mut parts = Vec::new();
    parts.extend(from.delay.map(|(delay, share)| format!("{} wait {}", percent(share), super::shown(delay))));
    parts.extend(from.reset.map(|share| format!("{} are reset", percent(share))));
    parts.extend(from.abort.map(|abort| format!("{} get {}", percent(abort.share), abort.status.unwrap_or(503))));
    let only: Vec<_> = from.headers.iter().map(|(name, _)| name.as_str()).collect();
    let only = if only.is_empty() { String::new() } else { format!(", of requests with {}", only.join(" and ")) };
    format!("FAULTS ARE INJECTED ON PURPOSE: {}{only}", parts.join(", "))
}

pub(super) fn mirror(from: &model::Mirror) -> String {
    format!(
        "{}% of the requests copied to {}, with bodies up to {} bytes; {} at once, each for {}",
        from.share * 100.0,
        beside(&from.to),
        from.body_limit,
        from.concurrency,
        super::shown(from.timeout),
    )
}
