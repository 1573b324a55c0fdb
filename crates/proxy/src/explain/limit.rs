//! How much of a route's requests is sent at once.

use config::model;

use super::shown;
use crate::params;
use crate::snapshot::{End, Plan};

pub(super) fn limit(plan: &Plan) -> String {
    let limit = &plan.policy.limit;
    let of_whom = match plan.end {
        End::Redirect { .. } | End::Respond { .. } => return "none".into(),
        End::Hosts(_) => " to each host",
        End::Targets { .. } => "",
    };
    let mut text = match limit.concurrency {
        places if limit.adaptive => {
            format!("as many in flight{of_whom} as it bears, at most {}", places.unwrap_or(params::CEILING))
        }
        Some(places) => format!("{places} in flight{of_whom}"),
        None => format!("{} in flight to each endpoint", params::CEILING),
    };
    if let Some(queue) = limit.queue {
        text.push_str(&format!(", {} more wait up to {}", queue.size, shown(queue.timeout)));
    }
    if let Some(rate) = &limit.rate {
        let of = match &rate.per {
            model::Per::Route => "in all".into(),
            model::Per::Client => "for each client".into(),
            model::Per::Identity => "for each identity".into(),
            model::Per::Destination => "for each destination".into(),
            model::Per::Header(name) => format!("for each value of {name}"),
        };
        text.push_str(&format!("; {} in {} {of}, {} at once", rate.count, shown(rate.period), rate.burst));
        for one in &rate.special {
            let who = super::callers::who(&one.who);
            text.push_str(&format!("; {} in {} for {who}", one.count, shown(one.period)));
        }
    }
    if limit.pacing {
        text.push_str("; waits for limits that the upstream announces");
    }
    text
}
