//! Ways for callers to prove who they are, and the routes that ask for them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Check;
use crate::fields::Fields;
use crate::keys::{
    API_KEY, API_KEYS, AUTHENTICATE, DEFAULT, IDENTITY, JWT, JWT_KEYS, ROUTE, SECRET, USERS, USERS_FILE,
};
use crate::model::{ApiKeys, Authenticate, Identity, Jwt, JwtKeys, KeysUrl, Proof, Scheme, Secret};
use crate::table::nearest;
use crate::values;

/// More would be no difference of clocks.
const MAX_LEEWAY: Duration = Duration::from_secs(600);

impl Check<'_> {
    pub(super) fn identities(&mut self, root: &Fields<'_>) -> Vec<Identity> {
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for item in root.list("identities") {
            let fields = Fields::of(item, &IDENTITY);
            let name = fields.parse("name", values::label);
            if let Some(name) = &name {
                self.unique(&mut names, name, fields.place("name"), "identity");
            }
            self.one_of(&fields, &["jwt", "keys", "basic"]);
            if let (Some(name), Some((proof, forward))) = (name, self.proof(&fields)) {
                all.push(Identity { name, proof, forward });
            }
        }
        self.asked(root, &names);
        all
    }

    fn proof(&mut self, fields: &Fields<'_>) -> Option<(Proof, bool)> {
        if let Some(jwt) = fields.table("jwt", &JWT) {
            return Some((Proof::Jwt(self.jwt(&jwt)?), jwt.flag("forward")));
        }
        if let Some(from) = fields.table("keys", &API_KEYS) {
            let keys = self.api_keys(&from)?;
            let header = from.parse("header", values::edited_header)?.to_ascii_lowercase();
            return Some((Proof::Keys { header, keys }, from.flag("forward")));
        }
        let basic = fields.table("basic", &USERS)?;
        let file = basic.table("users", &USERS_FILE)?.parse("file", values::file)?;
        Some((Proof::Basic(file), basic.flag("forward")))
    }

    fn jwt(&mut self, fields: &Fields<'_>) -> Option<Jwt> {
        self.one_of(fields, &["keys", "secret"]);
        let keys = match fields.table("keys", &JWT_KEYS) {
            Some(keys) => self.jwt_keys(&keys),
            None => fields.table("secret", &SECRET).and_then(|from| self.shared(&from)).map(JwtKeys::Secret),
        };
        let audience = fields.all("audience", values::claim);
        if audience.is_empty() && fields.node("audience").is_some() {
            let help = "write the name that tokens for this proxy, or for what is behind it, have in `aud`";
            self.report.error("bad-value", fields.place("audience"), "no audience", help);
        }
        let leeway = fields.duration("leeway");
        if leeway > MAX_LEEWAY {
            let message = format!("`{}` is out of range", fields.text("leeway").unwrap_or_default());
            self.report.error("out-of-range", fields.place("leeway"), message, "write at most 10m");
        }
        let jwt = Jwt {
            issuer: fields.parse("issuer", values::claim)?,
            audience,
            keys: keys?,
            algorithms: fields.all("algorithms", values::claim),
            leeway,
            header: fields.parse("header", values::edited_header)?.to_ascii_lowercase(),
            require: fields.all("require", values::claim),
            max_age: fields.maybe_duration("max_age"),
        };
        self.signed_by(fields, &jwt);
        Some(jwt)
    }

    /// What both sides of a token know: it is there to be read.
    fn shared(&mut self, fields: &Fields<'_>) -> Option<Secret> {
        let secret = self.secret(fields)?;
        if matches!(secret, Secret::Exec(_)) {
            let help = "write it to a file, or hand it over as a systemd credential";
            self.report.error(
                "bad-value",
                fields.key("exec"),
                "no program is run for a key that tokens are checked with",
                help,
            );
        }
        Some(secret)
    }

    /// A secret signs by HS256 and its like, and nothing else does; nobody gets one by accident.
    fn signed_by(&mut self, fields: &Fields<'_>, jwt: &Jwt) {
        let at = if fields.written("algorithms") { fields.place("algorithms") } else { fields.key("secret") };
        let secret = matches!(jwt.keys, JwtKeys::Secret(_));
        if jwt.algorithms.is_empty() && fields.node("algorithms").is_some() {
            self.report.error("bad-value", at, "no algorithm", "remove `algorithms`, or write at least one");
        } else if secret && !jwt.algorithms.iter().all(|name| name.starts_with("HS")) {
            let message = "a secret signs by HS256, HS384 and HS512 only";
            self.report.error("bad-value", at, message, "add `algorithms: [HS256]`");
        }
    }

    fn jwt_keys(&mut self, fields: &Fields<'_>) -> Option<JwtKeys> {
        self.one_of(fields, &["file", "url"]);
        let (file, ca) = (fields.parse("file", values::file), fields.parse("ca", values::file));
        let Some(url) = fields.parse("url", values::keys_url) else {
            if ca.is_some() && !fields.written("url") {
                self.no_effect(fields, "ca", "the keys are in a file");
            }
            return file.map(JwtKeys::File);
        };
        let near = url.host == "localhost" || url.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if url.scheme == Scheme::Http && !near {
            let message = "whoever is on the way to the keys can put others in their place";
            self.report.warning("plaintext-auth", fields.place("url"), message, "use `https://`");
        }
        if url.scheme == Scheme::Http && ca.is_some() {
            self.no_effect(fields, "ca", "the URL is not `https://`");
        }
        Some(JwtKeys::Url(KeysUrl { ca, ..url }))
    }

    fn api_keys(&mut self, fields: &Fields<'_>) -> Option<ApiKeys> {
        self.one_of(fields, &["list", "file"]);
        if let Some(file) = fields.parse("file", values::file) {
            return Some(ApiKeys::File(file));
        }
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        let mut all = Vec::new();
        for item in fields.list("list") {
            let key = Fields::of(item, &API_KEY);
            let (Some(name), Some(hash)) = (key.parse("name", values::label), key.parse("sha256", values::sha256))
            else {
                continue;
            };
            self.unique(&mut names, &name, key.place("name"), "key");
            if !hashes.insert(hash.clone()) {
                let message = "a second name for the same key";
                self.report.error("duplicate-name", key.place("sha256"), message, "make a key for each");
            }
            all.push((name, hash));
        }
        Some(ApiKeys::List(all))
    }

    /// Routes ask for identities that there are, and each of these is asked for.
    fn asked(&mut self, root: &Fields<'_>, names: &BTreeSet<String>) {
        let routes = root.list("routes").iter().map(|item| Fields::of(item, &ROUTE));
        let mut used = BTreeSet::new();
        for fields in routes.chain([root.section("default", &DEFAULT)]) {
            let Some(asked) = fields.table("authenticate", &AUTHENTICATE) else { continue };
            let by = asked.all("by", values::label);
            if by.is_empty() && asked.node("by").is_some() {
                let help = "write a name of `identities`, or remove it";
                self.report.error("bad-value", asked.place("by"), "`authenticate` by nobody", help);
            }
            for name in by {
                if !names.contains(&name) {
                    let near = nearest(&name, names.iter().map(String::as_str));
                    let help = near
                        .map_or_else(|| "add it to `identities`".to_owned(), |near| format!("did you mean `{near}`?"));
                    self.report.error(
                        "unknown-identity",
                        asked.place("by"),
                        format!("no identity is named `{name}`"),
                        help,
                    );
                }
                used.insert(name);
            }
        }
        for item in root.list("identities") {
            let fields = Fields::of(item, &IDENTITY);
            let Some(name) = fields.parse("name", values::label).filter(|name| !used.contains(name)) else { continue };
            let message = format!("no route asks for identity `{name}`");
            self.report.warning(
                "no-effect",
                fields.place("name"),
                message,
                format!("write `authenticate: {name}` in a route"),
            );
        }
    }
}

/// What a route, or the default, asks of its callers.
pub(super) fn authenticate(fields: &Fields<'_>) -> Option<Authenticate> {
    let asked = fields.table("authenticate", &AUTHENTICATE)?;
    Some(Authenticate { by: asked.all("by", values::label), required: asked.flag("required") })
}
