//! The credentials that a model names, and the cells they will be in.

use config::Model;
use config::model::{self, Auth, Policy};
use http::{HeaderName, header};
use middleware::credentials::{placeholder, sigv4};

use super::parents;
use crate::snapshot::Credential;
use crate::state::{SecretForm, SecretKey, Source, State};

/// The keys of all secrets a model names that become a header.
pub fn secrets(model: &Model) -> Vec<SecretKey> {
    auths(model).filter_map(|auth| Some(secret_key(auth)?.1)).chain(parents::secrets(model)).collect()
}

/// The access keys a model names.
pub fn keys(model: &Model) -> impl Iterator<Item = &model::AwsKeys> {
    auths(model).filter_map(|auth| match auth {
        Auth::SigV4(from) => Some(&from.keys),
        _ => None,
    })
}

fn auths(model: &Model) -> impl Iterator<Item = &Auth> {
    let policies = model.routes.iter().map(|route| &route.policy).chain([&model.default.policy]);
    policies.flat_map(Policy::auths)
}

/// The routes that send a secret.
pub fn users<'a>(model: &'a Model, key: &'a SecretKey) -> impl Iterator<Item = &'a str> {
    routes(model, move |auth| secret_key(auth).is_some_and(|(_, other)| other == *key))
}

/// The routes that sign with these keys.
pub fn signers<'a>(model: &'a Model, keys: &'a model::AwsKeys) -> impl Iterator<Item = &'a str> {
    routes(model, move |auth| matches!(auth, Auth::SigV4(from) if from.keys == *keys))
}

fn routes<'a>(model: &'a Model, sends: impl Fn(&Auth) -> bool + 'a) -> impl Iterator<Item = &'a str> {
    let routes = model.routes.iter().filter(move |route| route.policy.auths().any(&sends));
    routes.map(|route| route.name.as_str())
}

/// What a route sends; reads the issuer's TLS files, to refuse those that are of no use.
pub(super) fn credential(auth: Option<&Auth>, state: &State) -> Result<Option<Credential>, String> {
    let Some(auth) = auth else { return Ok(None) };
    match auth {
        Auth::Placeholder { word, headers, of } => {
            let of = credential(Some(of), state)?;
            // What stands for the secret is replaced by no more than the secret.
            let Some((_, key)) = secret_key(auth) else { return Ok(of) };
            let params = placeholder::Params { word: word.clone(), headers: names(headers) };
            return Ok(Some(Credential::Placeholder { params, secret: state.secret(key) }));
        }
        Auth::SigV4(from) => {
            let model::SigV4 { region, service, keys, body_limit } = &**from;
            let (region, service) = (region.clone(), service.clone());
            let params = sigv4::Params { region, service, body_limit: *body_limit };
            return Ok(Some(Credential::SigV4 { params, keys: state.key(keys) }));
        }
        Auth::OAuth2(from) => {
            // Read again for each token; what is wrong with it is better said now.
            state.tls(&from.tls).map_err(|error| format!("auth.oauth2: {error}"))?;
        }
        Auth::Bearer(_) | Auth::Basic { .. } | Auth::Header { .. } | Auth::Jwt(_) | Auth::Mtls { .. } => {}
    }
    let named = secret_key(auth);
    Ok(named.map(|(header, key)| Credential::Header { header, secret: state.secret(key) }))
}

/// What no other route may be sent, with the headers in which it is looked for.
pub fn placeholders(model: &Model) -> Vec<placeholder::Params> {
    let own = auths(model).filter_map(|auth| match auth {
        Auth::Placeholder { word, headers, .. } => {
            Some(placeholder::Params { word: word.clone(), headers: names(headers) })
        }
        _ => None,
    });
    own.collect()
}

fn names(headers: &[String]) -> Vec<HeaderName> {
    headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}

/// The header that a credential goes in, and where it comes from; absent for what is no header's value.
pub(super) fn secret_key(auth: &Auth) -> Option<(HeaderName, SecretKey)> {
    let text = |secret: &model::Secret| Source::Text(secret.clone());
    let (header, source, form) = match auth {
        Auth::Bearer(secret) => (header::AUTHORIZATION, text(secret), SecretForm::Bearer),
        Auth::Basic { user, password } => {
            (header::AUTHORIZATION, text(password), SecretForm::Basic { user: user.clone() })
        }
        Auth::Header { name, prefix, value } => {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap_or(header::AUTHORIZATION);
            (name, text(value), SecretForm::Header { prefix: prefix.clone() })
        }
        Auth::OAuth2(from) => (header::AUTHORIZATION, Source::OAuth2(from.clone()), SecretForm::Bearer),
        Auth::Jwt(from) => {
            let name = HeaderName::from_bytes(from.header.as_bytes()).unwrap_or(header::AUTHORIZATION);
            (name, Source::Jwt(from.clone()), SecretForm::Header { prefix: from.prefix.clone() })
        }
        Auth::Placeholder { of, .. } => {
            let (header, key) = secret_key(of)?;
            let form = SecretForm::Header { prefix: String::new() };
            return Some((header, SecretKey { source: key.source, form }));
        }
        Auth::SigV4(_) | Auth::Mtls { .. } => return None,
    };
    Some((header, SecretKey { source, form }))
}
