//! One user's proxy, or one for several users of a machine.
//!
//! A daemon is shared if it says so, or if it opens a unix socket to others. Then a route that adds a credential must
//! say who may use it, on purpose if that is everybody; and admin, which shows everybody's requests, must be a unix socket,
//! on which the kernel says who asks.

use super::Check;
use crate::fields::Fields;
use crate::keys::{ADMIN, DEFAULT, LISTENER, ROUTE};
use crate::model::{Address, Rights, User};
use crate::values;

/// Everybody but its owner.
const OTHERS: u32 = 0o066;

/// Who reaches admin, and who may do all there.
pub(super) struct Admin {
    pub(super) address: Option<Address>,
    pub(super) rights: Rights,
    pub(super) users: Vec<User>,
}

impl Check<'_> {
    pub(super) fn admin(&mut self, root: &Fields<'_>) -> Admin {
        let Some(fields) = root.table("admin", &ADMIN) else {
            return Admin { address: None, rights: Rights::default(), users: Vec::new() };
        };
        let address = fields.parse("address", values::address);
        if let Some(Address::Tcp(socket)) = &address
            && !socket.ip().to_canonical().is_loopback()
        {
            let message = format!("`{socket}` lets other machines change and watch this proxy");
            let help = "keep admin on loopback or `unix:`; use `metrics` for scraping from elsewhere";
            self.report.error("exposed-admin", fields.place("address"), message, help);
        }
        let unix = matches!(address, Some(Address::Unix(_)));
        let mut rights = self.rights(&fields, unix);
        if unix && rights.mode.is_none() {
            rights.mode = Some(0o660);
        }
        let users = fields.all("users", values::user_of);
        if fields.written("users") && !unix {
            let message = "`users` has no effect over TCP: whoever reaches it may do all";
            self.report.error(
                "misplaced-key",
                fields.key("users"),
                message,
                "use `address: unix:/run/attache/admin.sock`",
            );
        }
        Admin { address, rights, users }
    }

    /// What the file of a unix socket lets others do.
    pub(super) fn rights(&mut self, fields: &Fields<'_>, unix: bool) -> Rights {
        for key in ["mode", "group"].into_iter().filter(|key| !unix && fields.written(key)) {
            let message = format!("`{key}` has no effect on a TCP socket: it belongs to the file of a unix socket");
            self.report.error("misplaced-key", fields.key(key), message, "remove it");
        }
        Rights { mode: fields.parse("mode", values::mode), group: fields.parse("group", values::group) }
    }

    /// Whether several users share this proxy; refuses what would then be everybody's.
    pub(super) fn tenancy(&mut self, root: &Fields<'_>) -> bool {
        let opened = |fields: Fields<'_>| {
            let unix = matches!(fields.parse("address", values::address), Some(Address::Unix(_)));
            let mode = fields.parse("mode", values::mode).is_some_and(|mode| mode & OTHERS != 0);
            unix && (mode || fields.written("group"))
        };
        let listens = || root.list("listen").iter().map(|item| Fields::of(item, &LISTENER)).any(opened);
        let shared = match root.text("tenancy") {
            Some("shared") => true,
            Some(_) => false,
            None => listens() || root.table("admin", &ADMIN).is_some_and(opened),
        };
        if !shared {
            return false;
        }
        let admin = root.table("admin", &ADMIN);
        if let Some(fields) = admin.filter(|one| matches!(one.parse("address", values::address), Some(Address::Tcp(_))))
        {
            let message = "over TCP, admin shows every user everybody's requests, and lets them change things";
            let help = "write `admin: unix:/run/attache/admin.sock`, and `metrics: 127.0.0.1:4782` for scraping";
            self.report.error("shared-admin", fields.place("address"), message, help);
        }
        for item in root.list("routes") {
            let route = Fields::of(item, &ROUTE);
            let who = route.section("match", &crate::keys::MATCH).written("who");
            self.everybodys(&route, who);
        }
        self.everybodys(&root.section("default", &DEFAULT), false);
        true
    }

    /// Refuses a credential that every user of the machine could use.
    fn everybodys(&mut self, fields: &Fields<'_>, who: bool) {
        if fields.written("auth") && !fields.written("allow") && !who {
            let message = "every user of this machine could use this credential";
            let help = "say who may: `allow: user:alice`; or on purpose everybody: `allow: anyone_local`";
            self.report.error("shared-credential", fields.key("auth"), message, help);
        }
    }
}
