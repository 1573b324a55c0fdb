//! The proxies that requests leave through.

use super::Check;
use crate::fields::Fields;
use crate::keys::{BASIC, PARENT, PARENT_AUTH, SECRET, TLS};
use crate::model::{Auth, Parent, Scheme};
use crate::values;

impl Check<'_> {
    pub(super) fn parents(&mut self, root: &Fields<'_>) -> Vec<Parent> {
        let items = root.list("parent");
        let parents = items.iter().filter_map(|item| self.parent(&Fields::of(item, &PARENT))).collect();
        // Nothing gets past the first that takes all.
        let all = |item| {
            let fields = Fields::of(item, &PARENT);
            fields.list("for").is_empty() && fields.list("not_for").is_empty()
        };
        if let Some(first) = items.iter().position(all)
            && let Some(shadowed) = items.get(first + 1)
        {
            let message = "no destination gets here: an earlier parent takes all of them";
            let help = "move it up, or give the earlier one `for` or `not_for`";
            self.report.warning("shadowed-parent", shadowed.at, message, help);
        }
        parents
    }

    fn parent(&mut self, fields: &Fields<'_>) -> Option<Parent> {
        let auth = fields.table("auth", &PARENT_AUTH).and_then(|auth| self.parent_auth(&auth));
        let tls = self.tls(&fields.section("tls", &TLS));
        let url = fields.parse("url", values::parent)?;
        let plain = url.scheme != Scheme::Https;
        if plain && fields.written("tls") {
            self.no_effect(fields, "tls", "the parent is reached by `http://`");
        }
        if plain && auth.is_some() && !is_here(&url.host) {
            let message = format!("the credential goes to `{}` without encryption", url.host);
            let help = "use `https://` if the parent speaks it";
            self.report.warning("plaintext-auth", fields.place("url"), message, help);
        }
        let (only, except) = (fields.all("for", values::destination), fields.all("not_for", values::destination));
        Some(Parent { url, auth, only, except, tls })
    }

    fn parent_auth(&mut self, fields: &Fields<'_>) -> Option<Auth> {
        self.one_of(fields, &["basic", "bearer"]);
        if let Some(secret) = fields.table("bearer", &SECRET) {
            return self.secret(&secret).map(Auth::Bearer);
        }
        let basic = fields.table("basic", &BASIC)?;
        let password = basic.table("password", &SECRET).and_then(|s| self.secret(&s));
        Some(Auth::Basic { user: basic.parse("user", values::user)?, password: password? })
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
