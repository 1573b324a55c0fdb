//! With which credential requests leave.

use std::net::IpAddr;

use super::Check;
use crate::fields::Fields;
use crate::keys::{ACCESS_KEY, BASIC, CERTIFICATE, MINTED, OAUTH2, PLACEHOLDER, SECRET, SECRET_HEADER, SIGV4, TLS};
use crate::model::{
    AccessKey, Auth, AwsKeys, Claim, ClientAuthStyle, Endpoint, Exec, JwtAlgorithm, Minted, OAuth2, Scheme, Secret,
    SigV4,
};
use crate::raw::{Node, Type};
use crate::values;

impl Check<'_> {
    pub(super) fn auth(&mut self, fields: &Fields<'_>) -> Option<Auth> {
        let auth = self.kind(fields);
        let Some(placeholder) = fields.table("placeholder", &PLACEHOLDER) else { return auth };
        if fields.written("sigv4") || fields.written("mtls") {
            let message = "a signature or a certificate has no place for a placeholder";
            self.report.error("exclusive-keys", fields.key("placeholder"), message, "remove it");
        }
        let of = Box::new(auth?);
        let mut headers = placeholder.all("in", values::edited_header);
        if headers.is_empty() {
            headers.push(match &*of {
                Auth::Header { name, .. } => name.clone(),
                Auth::Jwt(jwt) => jwt.header.clone(),
                _ => "authorization".to_owned(),
            });
        }
        Some(Auth::Placeholder { word: placeholder.parse("word", values::placeholder)?, headers, of })
    }

    fn kind(&mut self, fields: &Fields<'_>) -> Option<Auth> {
        self.one_of(fields, &["bearer", "basic", "header", "oauth2", "jwt", "sigv4", "mtls"]);
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
        if let Some(jwt) = fields.table("jwt", &MINTED) {
            return self.minted(&jwt).map(|jwt| Auth::Jwt(Box::new(jwt)));
        }
        if let Some(sigv4) = fields.table("sigv4", &SIGV4) {
            return self.sigv4(&sigv4).map(|sigv4| Auth::SigV4(Box::new(sigv4)));
        }
        if let Some(mtls) = fields.table("mtls", &CERTIFICATE) {
            let file = |key| mtls.parse(key, values::file);
            return Some(Auth::Mtls { cert: file("cert")?, key: file("key")? });
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

    fn minted(&mut self, fields: &Fields<'_>) -> Option<Minted> {
        let key = fields.table("key", &SECRET).and_then(|secret| self.secret(&secret));
        let mut claims = Vec::new();
        for entry in fields.map("claims") {
            if ["iss", "sub", "aud", "exp", "nbf", "iat"].contains(&entry.key.as_str()) {
                let message = format!("`{}` has a key of its own, or is ours to say", entry.key);
                self.report.error(
                    "misplaced-key",
                    entry.at,
                    message,
                    "use `issuer`, `subject`, `audience`, `lifetime`",
                );
            }
            let Some(scalar) = entry.value.scalar() else { continue };
            let number = (scalar.ty == Type::Int).then(|| scalar.text.parse().ok()).flatten().map(Claim::Int);
            let flag = (scalar.ty == Type::Bool).then(|| Claim::Bool(scalar.text.eq_ignore_ascii_case("true")));
            let text = || Claim::Text(scalar.text.clone());
            claims.push((entry.key.clone(), number.or(flag).unwrap_or_else(text)));
        }
        let prefix = fields.text("prefix").unwrap_or_default();
        if values::header_value(prefix.trim_end()).is_err() {
            let message = "a prefix with control characters";
            self.report.error("bad-value", fields.place("prefix"), message, "keep it on one line");
        }
        let algorithm = match fields.text("algorithm") {
            Some("PS256") => JwtAlgorithm::Ps256,
            Some("ES256") => JwtAlgorithm::Es256,
            Some("EdDSA") => JwtAlgorithm::EdDsa,
            Some("HS256") => JwtAlgorithm::Hs256,
            _ => JwtAlgorithm::Rs256,
        };
        Some(Minted {
            algorithm,
            kid: fields.parse("kid", values::line),
            issuer: fields.parse("issuer", values::line),
            subject: fields.parse("subject", values::line),
            audience: fields.all("audience", values::line),
            lifetime: fields.duration("lifetime"),
            claims,
            header: fields.parse("header", values::edited_header)?,
            prefix: prefix.to_owned(),
            key: key?,
        })
    }

    fn sigv4(&mut self, fields: &Fields<'_>) -> Option<SigV4> {
        self.one_of(fields, &["access_key_id", "credentials"]);
        let mut part = |key| fields.table(key, &SECRET).and_then(|secret| self.secret(&secret));
        let (document, secret, session) = (part("credentials"), part("secret_access_key"), part("session_token"));
        for key in ["secret_access_key", "session_token"] {
            if fields.written(key) && fields.written("credentials") {
                let message = format!("`credentials` has all of them, and `{key}` is given besides");
                self.report.error("exclusive-keys", fields.key(key), message, "keep one");
            }
        }
        if fields.written("access_key_id") && !fields.written("secret_access_key") {
            let message = "`access_key_id` without `secret_access_key`";
            self.report.error("missing-key", fields.key("access_key_id"), message, "add `secret_access_key`");
        }
        let id = fields.table("access_key_id", &ACCESS_KEY).and_then(|id| self.access_key(&id));
        let apart = id.zip(secret).map(|(id, secret)| AwsKeys::Apart { id, secret, session });
        Some(SigV4 {
            region: fields.parse("region", values::scope)?,
            service: fields.parse("service", values::scope)?,
            keys: document.map(AwsKeys::Together).or(apart)?,
            body_limit: fields.size("body_limit"),
        })
    }

    fn access_key(&mut self, fields: &Fields<'_>) -> Option<AccessKey> {
        self.one_of(fields, &["id", "file", "env", "credential"]);
        let file = fields.parse("file", values::file).map(Secret::File);
        let env = fields.parse("env", values::variable).map(Secret::Env);
        let credential = fields.parse("credential", values::credential).map(Secret::Credential);
        let id = fields.parse("id", values::scope).map(AccessKey::Id);
        id.or(file.or(env).or(credential).map(AccessKey::In))
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
