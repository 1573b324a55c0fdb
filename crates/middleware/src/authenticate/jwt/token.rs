//! The compact form of a token (RFC 7515 section 7.1), taken apart and read; nothing of it is trusted yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{algorithm, strict};
use crate::authenticate::presented::MAX;

/// A token, as it says of itself.
pub(super) struct Token<'t> {
    /// What was signed.
    pub message: &'t str,
    /// Still encoded.
    pub signature: &'t str,
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub claims: Map<String, Value>,
}

/// Purposes that a `typ` may give; one for another purpose is not to be taken for a caller's (RFC 8725 section 3.11).
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

impl<'t> Token<'t> {
    /// # Errors
    /// In what it is no token of the kind that is accepted.
    pub(super) fn read(text: &'t str) -> Result<Self, &'static str> {
        if text.len() > MAX {
            return Err("the token is longer than 16 KiB");
        }
        let parts: Vec<&str> = text.splitn(6, '.').collect();
        let (head, payload, signature) = match parts.as_slice() {
            [head, payload, signature] => (*head, *payload, *signature),
            [_, _, _, _, _] => return Err("the token is encrypted, and only signed ones are accepted"),
            _ => return Err("the token is not three parts with dots between"),
        };
        if signature.is_empty() {
            return Err("the token is not signed");
        }
        decoded(signature).map_err(|()| "the token's signature is not base64url")?;
        let header = decoded(head).ok().and_then(|bytes| strict::object(&bytes).ok());
        let header = header.ok_or("the token's header is not one JSON object in base64url")?;
        let (algorithm, kid) = read_header(header)?;
        let claims = decoded(payload).ok().and_then(|bytes| strict::object(&bytes).ok());
        let claims = claims.ok_or("the token's claims are not one JSON object in base64url")?;
        let message = &text[..head.len() + 1 + payload.len()];
        Ok(Self { message, signature, algorithm, kid, claims })
    }
}

/// Strictly: no padding, no other alphabet, no bits left over (RFC 7515 section 2).
fn decoded(text: &str) -> Result<Vec<u8>, ()> {
    URL_SAFE_NO_PAD.decode(text).map_err(drop)
}

fn read_header(mut header: Map<String, Value>) -> Result<(Algorithm, Option<String>), &'static str> {
    // RFC 7515 section 4.1.11: what is critical and not understood refuses the token; there is nothing that we understand.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err("the token asks for an extension that is not known");
    }
    if header.contains_key("zip") || header.contains_key("enc") {
        return Err("the token's header is that of an encrypted one");
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)) => {}
        Some(_) => return Err("the token is of a type for another purpose"),
    }
    if header.contains_key("cty") {
        return Err("the token has another token inside");
    }
    let Some(Value::String(name)) = header.get("alg") else { return Err("the token's header names no algorithm") };
    let algorithm = algorithm(name).ok_or("the token is signed by an algorithm that is not known")?;
    let kid = match header.remove("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid),
        Some(_) => return Err("the token's `kid` is not text"),
    };
    Ok((algorithm, kid))
}
