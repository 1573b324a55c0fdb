//! `https://` through a proxy is a CONNECT, and what is inside is not seen unless the tunnel is opened.

use exchange::{Authority, Door, Exchange, Head};
use http::Method;

use super::{Explanation, asks, egress, of_plan, refused, verdict, who_may};
use crate::permit;
use crate::stack::Site;

/// A request of which only the tunnel is seen.
pub(super) fn explained(site: &Site, mut head: Head, request: String, asked: bool) -> Explanation {
    (head.door, head.method) = (Door::Connect, Method::CONNECT);
    let port = head.authority.port_or(443);
    let door = "https (CONNECT)";
    let target = Authority::new(head.authority.host().clone(), Some(port));
    if !connects(site, &target) {
        return refused(request, door, &format!("CONNECT to port {port} is not in `destinations: connect_ports`: 403"));
    }
    if !site.passes() && !site.table().leads_to(&target) {
        return refused(request, door, "no route leads to this host and port, and the default is deny: 403");
    }
    if let Some(why) = egress::refusal(site, head.authority.host(), port) {
        return refused(request, door, &format!("{why}: 403"));
    }
    let named = site.table().names_host(head.authority.host());
    let way = egress::way_to(&site.snapshot().default, head.authority.host(), port);
    let mut explanation = of_plan(&site.snapshot().default, request, door);
    explanation.layers.clone_from(&site.default_stack().layers);
    explanation.targets = vec![format!("{}:{port}, as it is{way}", head.authority.host())];
    explanation.notes.push("a tunnel: what is inside is not seen, so only the dial is retried".into());
    let gate = site.snapshot().tunnel_gate(&target);
    explanation.authenticate = gate.map(|gate| asks::asks(&gate, door)).unwrap_or_default();
    if named {
        let host = head.authority.host();
        explanation.notes.push(format!(
            "a route names {host}, but its policies do not apply inside a tunnel: call http://{host}/ instead, or set \
             `intercept: true`"
        ));
        explanation.allow =
            site.table().to(&target).flat_map(|index| who_may(&site.snapshot().routes[index])).collect();
    }
    if asked {
        let exchange = Exchange::new(head, None);
        explanation.notes.push(verdict(permit::tunnel(site, &exchange, true)));
    }
    explanation
}

/// Whether CONNECT may go to this port.
pub(super) fn connects(site: &Site, target: &Authority) -> bool {
    let port = target.port_or(443);
    site.connect_ports().iter().any(|(first, last)| (*first..=*last).contains(&port))
}
