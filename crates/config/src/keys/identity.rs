//! Ways for callers to prove who they are.

use super::{EDITED, FILE, LABEL, SECRET, field, table};
use crate::table::{
    Absent::{Is, Means, Required},
    Field, Form,
    Kind::{self, Bool, Duration, List, OneOrMany, Word},
    Table,
};
use crate::values;

static KEYS_URL: Form = Form {
    expect: "a URL such as `https://issuer.example.com/.well-known/jwks.json`",
    numbers: false,
    check: |text| values::keys_url(text).map(drop),
};
static SHA256: Form =
    Form { expect: "a SHA-256 of 64 hexadecimal digits", numbers: true, check: |text| values::sha256(text).map(drop) };
static CLAIM: Form = Form { expect: "text", numbers: true, check: |text| values::claim(text).map(drop) };

static CLAIM_KIND: Kind = Kind::Form(&CLAIM);
static LABEL_KIND: Kind = Kind::Form(&LABEL);
static API_KEY_KIND: Kind = Kind::Table(&API_KEY);
pub(super) static IDENTITY_KIND: Kind = Kind::Table(&IDENTITY);
static ALGORITHM_KIND: Kind =
    Word(&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512"]);

pub(crate) static IDENTITY: Table = table(
    "identity",
    "A way for callers to prove who they are; one of jwt, keys and basic.",
    None,
    &[&[
        field("name", Kind::Form(&LABEL), Required, "How routes and rules refer to it."),
        field("jwt", Kind::Table(&JWT), Means("none"), "Signed tokens of one issuer."),
        field("keys", Kind::Table(&API_KEYS), Means("none"), "API keys, of which only hashes are kept."),
        field("basic", Kind::Table(&USERS), Means("none"), "Names and passwords, of which only hashes are kept."),
    ]],
);

const FORWARD: Field = field("forward", Bool, Is("false"), "Whether the upstream gets what was accepted.");

pub(crate) static JWT: Table = table(
    "jwt",
    "Signed tokens of one issuer (RFC 7519).",
    None,
    &[&[
        field("issuer", Kind::Form(&CLAIM), Required, "The token's `iss`, letter by letter."),
        field(
            "audience",
            OneOrMany(&CLAIM_KIND),
            Required,
            "Names of ours, one of which must be in the token's `aud`.",
        ),
        field("keys", Kind::Table(&JWT_KEYS), Means("none"), "The issuer's keys, as a JWK set."),
        field(
            "secret",
            Kind::Table(&SECRET),
            Means("none"),
            "Instead of keys: what both sides know, for HS256 and its like.",
        ),
        field(
            "algorithms",
            OneOrMany(&ALGORITHM_KIND),
            Is("[RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA]"),
            "By which a token may be signed; the key decides which of them, and those of a secret must be listed.",
        ),
        field("leeway", Duration(0), Is("30s"), "By how much clocks may differ; 10 minutes at most."),
        field(
            "header",
            Kind::Form(&EDITED),
            Is("authorization"),
            "Where a token stands, unless we are called as a proxy.",
        ),
        field(
            "require",
            OneOrMany(&CLAIM_KIND),
            Is("[]"),
            "Claims that must be there, besides `iss`, `aud` and `exp`.",
        ),
        field("max_age", Duration(1000), Means("any age"), "Since a token was issued."),
        FORWARD,
    ]],
);

pub(crate) static JWT_KEYS: Table = table(
    "jwt_keys",
    "The keys of an issuer, as a JWK set (RFC 7517).",
    None,
    &[&[
        field("file", Kind::Form(&FILE), Means("none"), "A file, read again when it changes."),
        field(
            "url",
            Kind::Form(&KEYS_URL),
            Means("none"),
            "Asked again as its Cache-Control says, from 1m to 1h, and for a key that is not known.",
        ),
        field("ca", Kind::Form(&FILE), Means("the system's roots"), "A PEM bundle to trust instead, for `url`."),
    ]],
);

pub(crate) static API_KEYS: Table = Table {
    secret: true,
    ..table(
        "api_keys",
        "API keys: random, of 256 bits; `attache keys new` makes one.",
        Some("list"),
        &[&[
            field("list", List(&API_KEY_KIND), Means("none"), "The keys."),
            field(
                "file",
                Kind::Form(&FILE),
                Means("none"),
                "A file with a name and a SHA-256 on each line, read again when it changes.",
            ),
            field(
                "header",
                Kind::Form(&EDITED),
                Is("x-api-key"),
                "Where a key stands, unless we are called as a proxy.",
            ),
            FORWARD,
        ]],
    )
};

pub(crate) static API_KEY: Table = Table {
    secret: true,
    ..table(
        "api_key",
        "An API key.",
        None,
        &[&[
            field("name", Kind::Form(&LABEL), Required, "Whose it is."),
            field("sha256", Kind::Form(&SHA256), Required, "The SHA-256 of the key, in hexadecimal digits."),
        ]],
    )
};

pub(crate) static USERS: Table = table(
    "users",
    "Names and passwords (RFC 7617).",
    None,
    &[&[field("users", Kind::Table(&USERS_FILE), Required, "Who they are."), FORWARD]],
);

pub(crate) static USERS_FILE: Table = table(
    "users_file",
    "Names and the bcrypt hashes of their passwords.",
    Some("file"),
    &[&[field("file", Kind::Form(&FILE), Required, "A file as `htpasswd -B` writes it, read again when it changes.")]],
);

pub(crate) static AUTHENTICATE: Table = table(
    "authenticate",
    "Asks callers who they are.",
    Some("by"),
    &[&[
        field("by", OneOrMany(&LABEL_KIND), Required, "Names of `identities`, any of which is enough."),
        field(
            "required",
            Bool,
            Is("true"),
            "Whether a request that shows nothing is refused; one that shows what is not good always is.",
        ),
    ]],
);
