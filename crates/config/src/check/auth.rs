//! With which credential requests leave.

use std::net::IpAddr;

use super::Check;
use crate::fields::Fields;
use crate::keys::{BASIC, OAUTH2, SECRET, SECRET_HEADER, TLS};
use crate::model::{Auth, ClientAuthStyle, Endpoint, Exec, OAuth2, Scheme, Secret};
use crate::raw::Node;
use crate::values;

impl Check<'_> {
    pub(super) fn auth(&mut self, fields: &Fields<'_>) -> Option<Auth> {
        self.one_of(fields, &["bearer", "basic", "header", "oauth2"]);
        if let Some(secret) = fields.table("bearer", &SECRET) {
            return self.secret(&secret).map(Auth::Bearer);
        }
        if let Some(basic) = fields.table("basic", &BASIC) {
            let password = basic.table("password", &SECRET).and_then(|s| self.secret(&s));
            return Some(Auth::Basic { user: basic.parse("user", values::user)?, password: password? });
        }
        if let Some(oauth2) = fields.table("oauth2", &OAUTH2) {
            return self.oauth2(&oauth2).map(|oauth2| Auth::OAuth2(Box::new(oauth2)));
        }
        let header = fields.table("header", &SECRET_HEADER)?;
        let value = header.table("value", &SECRET).and_then(|s| self.secret(&s));
        let prefix = header.text("prefix").unwrap_or_default();
        if values::header_value(prefix.trim_end()).is_err() {
            self.report.mask(header.place("prefix"));
            let message = "a prefix with control characters";
            self.report.error("bad-value", header.place("prefix"), message, "keep it on one line");
        }
        let name = header.parse("name", values::edited_header)?;
        Some(Auth::Header { name, prefix: prefix.to_owned(), value: value? })
    }

    pub(super) fn secret(&mut self, fields: &Fields<'_>) -> Option<Secret> {
        self.one_of(fields, &["file", "env", "exec", "credential"]);
        if fields.written("every") && !fields.written("exec") {
            let message = "`every` is for `exec`: files are read whenever they change";
            self.report.error("misplaced-key", fields.key("every"), message, "remove it");
        }
        if fields.node("exec").is_some() {
            let command: Vec<_> = fields.list("exec").iter().filter_map(Node::scalar).map(|w| w.text.clone()).collect();
            if command.first().is_none_or(String::is_empty) {
                let help = "write the program and its arguments: `[/usr/bin/get-token, --plain]`";
                self.report.error("bad-value", fields.place("exec"), "a command without a program", help);
            }
            return Some(Secret::Exec(Exec { command, every: fields.duration("every") }));
        }
        let file = fields.parse("file", values::file).map(Secret::File);
        let env = || fields.parse("env", values::variable).map(Secret::Env);
        file.or_else(env).or_else(|| fields.parse("credential", values::credential).map(Secret::Credential))
    }

    fn oauth2(&mut self, fields: &Fields<'_>) -> Option<OAuth2> {
        let client_secret = fields.table("client_secret", &SECRET).and_then(|secret| self.secret(&secret));
        let token_url = fields.parse("token_url", values::endpoint)?;
        self.confidential(fields, &token_url);
        let tls = self.tls(&fields.section("tls", &TLS));
        Some(OAuth2 {
            token_url,
            client_id: fields.parse("client_id", values::line)?,
            client_secret: client_secret?,
            style: if fields.text("style") == Some("post") { ClientAuthStyle::Post } else { ClientAuthStyle::Basic },
            scope: fields.all("scope", values::line).join(" "),
            audience: fields.parse("audience", values::line),
            resource: fields.all("resource", values::line),
            expires_in: fields.duration("expires_in"),
            timeout: fields.duration("timeout"),
            tls,
        })
    }

    /// The secret goes there, and the token comes back.
    fn confidential(&mut self, fields: &Fields<'_>, to: &Endpoint) {
        let (host, insecure) = (&to.url.host, fields.flag("insecure"));
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if to.url.scheme == Scheme::Https || local {
            return;
        }
        let message = format!("the client's secret goes to `{host}` without encryption");
        if insecure {
            self.report.warning("plaintext-auth", fields.place("token_url"), message, "use `https://`");
        } else {
            let help = "use `https://`, or say `insecure: true` if that network is trusted";
            self.report.error("plaintext-auth", fields.place("token_url"), message, help);
        }
    }
}
