//! Which tunnels are opened. Whether one is, is decided before any request in it is known: by its host and port alone.

use super::Check;
use crate::fields::Fields;
use crate::keys::ROUTE;
use crate::model::{DefaultRoute, Route};

impl Check<'_> {
    /// Settings that change nothing; whether any tunnel is opened.
    pub(super) fn interception(&mut self, root: &Fields<'_>, routes: &[Route], default: &DefaultRoute) -> bool {
        for (index, (item, route)) in root.list("routes").iter().zip(routes).enumerate() {
            let Some(own) = route.policy.intercept else { continue };
            let first = routes[..index].iter().find(|first| {
                let (one, other) = (&first.matcher, &route.matcher);
                first.policy.intercept.is_some()
                    && one.host == other.host
                    && (one.who.is_none() || one.who == other.who)
            });
            if let Some(first) = first.filter(|first| first.policy.intercept != Some(own)) {
                let why =
                    format!("`{}` ({}) says first whether tunnels to this host are opened", first.name, first.origin);
                self.no_effect(&Fields::of(item, &ROUTE), "intercept", &why);
            }
        }
        let policies = routes.iter().map(|route| &route.policy).chain([&default.policy]);
        let opens = policies.into_iter().any(|policy| policy.intercept == Some(true));
        if !opens && root.written("ca") {
            self.no_effect(root, "ca", "no route has `intercept: true`");
        }
        opens
    }
}
