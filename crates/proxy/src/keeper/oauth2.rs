//! A token from an issuer, for a client's own credentials (RFC 6749 section 4.4).
//!
//! Of what an issuer says, only the `error` code is passed on (RFC 6749 section 5.2), and only if it looks like one: a
//! description may say anything. Redirects are not followed: the secret was meant for this URL.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use config::model::{self, ClientAuthStyle};
use exchange::Host;
use http::{HeaderValue, Method, Request, Response, header};
use serde_json::Value;
use upstream::connect::Destination;
use upstream::fetch;
use zeroize::Zeroizing;

use super::{Failure, Fresh, Tools, answer, text};

/// Of an issuer's answer.
const MOST: usize = 64 * 1024;

/// Asks for one.
///
/// # Errors
/// What went wrong; that it is of no use to wait if the issuer said no.
pub async fn token(from: &model::OAuth2, tools: &Tools) -> Result<Fresh<Zeroizing<String>>, Failure> {
    let secret = text(&from.client_secret).await?;
    let secret = answer::token(&secret.value).map_err(Failure::settled)?.value;
    let request = request(from, line(&secret)).map_err(Failure::settled)?;
    let params = fetch::Params { destination: destination(from, tools)?, within: from.timeout, most: MOST };
    let asked = fetch::fetch(&params, request, &tools.connector).await;
    let answer = asked.map_err(|why| Failure::passing(format!("the issuer {}: {why}", from.token_url.url.host)))?;
    let Fresh { value, lifetime, .. } = read(&answer)?;
    Ok(Fresh { value, lifetime: lifetime.or(Some(from.expires_in)), every: None })
}

/// As a file ends.
fn line(secret: &str) -> &str {
    secret.strip_suffix('\n').map_or(secret, |secret| secret.strip_suffix('\r').unwrap_or(secret))
}

/// The issuer, by what its TLS files hold now.
fn destination(from: &model::OAuth2, tools: &Tools) -> Result<Destination, Failure> {
    let url = &from.token_url.url;
    let wrong = |why: String| Failure::settled(format!("the issuer {}: {why}", url.host));
    let bracketed = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let host = Host::parse(&bracketed).map_err(|error| wrong(error.to_string()))?;
    let tls = (url.scheme == model::Scheme::Https).then(|| tools.state.tls(&from.tls)).transpose();
    let tls = tls.map_err(|error| wrong(error.to_string()))?;
    Destination::new(host, url.port, tls).map_err(|error| wrong(error.to_string()))
}

fn request(from: &model::OAuth2, secret: &str) -> Result<Request<Bytes>, String> {
    let mut form = Form::new();
    form.add("grant_type", "client_credentials");
    if !from.scope.is_empty() {
        form.add("scope", &from.scope);
    }
    if let Some(audience) = &from.audience {
        form.add("audience", audience);
    }
    from.resource.iter().for_each(|resource| form.add("resource", resource));
    let mut basic = None;
    match from.style {
        ClientAuthStyle::Basic => {
            // Encoded first, so that a colon in the id is none (RFC 6749 section 2.3.1).
            let pair = Zeroizing::new(format!("{}:{}", encoded(&from.client_id), encoded(secret)));
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
                .map_err(|_| "the client's secret cannot be sent")?;
            value.set_sensitive(true);
            basic = Some(value);
        }
        ClientAuthStyle::Post => {
            form.add("client_id", &from.client_id);
            form.add("client_secret", secret);
        }
    }
    let mut request = Request::new(Bytes::from(form.0));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = from.token_url.to_string().parse().map_err(|_| "the issuer's URL cannot be asked")?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    basic.map(|basic| headers.insert(header::AUTHORIZATION, basic));
    Ok(request)
}

fn read(answer: &Response<Bytes>) -> Result<Fresh<Zeroizing<String>>, Failure> {
    let status = answer.status();
    let value: Option<Value> = serde_json::from_slice(answer.body()).ok();
    if !status.is_success() {
        let code = value.as_ref().and_then(|value| value.get("error")?.as_str()).filter(|code| is_code(code));
        let detail =
            format!("the issuer answered {}{}", status.as_u16(), code.map(|c| format!(" {c}")).unwrap_or_default());
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        return Err(if passing { Failure::passing(detail) } else { Failure::settled(detail) });
    }
    let value = value.ok_or_else(|| Failure::settled("the issuer's answer is no JSON"))?;
    let token = value.get("access_token").and_then(Value::as_str);
    let token = token.ok_or_else(|| Failure::settled("the issuer's answer has no `access_token`"))?;
    let kind = value.get("token_type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(Failure::settled("the issuer's token is no bearer token"));
    }
    let lifetime = answer::lifetime(&value).map_err(Failure::settled)?;
    Ok(Fresh { value: Zeroizing::new(token.to_owned()), lifetime, every: None })
}

/// As RFC 6749 section 5.2 writes them.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// `application/x-www-form-urlencoded`.
struct Form(String);

impl Form {
    const fn new() -> Self {
        Self(String::new())
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn from(style: ClientAuthStyle) -> model::OAuth2 {
        let url =
            model::Url { scheme: model::Scheme::Https, host: "issuer.test".into(), port: 443, base: String::new() };
        model::OAuth2 {
            token_url: model::Endpoint { url, target: "/o/token/".into() },
            client_id: "a:b c".into(),
            client_secret: model::Secret::Env("S".into()),
            style,
            scope: "read write".into(),
            audience: Some("https://api.test/".into()),
            resource: vec!["urn:a".into(), "urn:b".into()],
            expires_in: Duration::from_secs(300),
            timeout: Duration::from_secs(10),
            tls: model::Tls::default(),
        }
    }

    fn body(request: &Request<Bytes>) -> &str {
        std::str::from_utf8(request.body()).expect("text")
    }

    const ASKED: &str = "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Fapi.test%2F&resource=urn%3Aa&resource=urn%3Ab";

    #[test]
    fn basic_encodes_both_before_it_joins_them() {
        let request = request(&from(ClientAuthStyle::Basic), "p%w+ü/").expect("a request");

        assert_eq!(request.uri(), "https://issuer.test/o/token/");
        assert_eq!(body(&request), ASKED);
        let value = &request.headers()[header::AUTHORIZATION];
        assert!(value.is_sensitive());
        let pair = STANDARD.decode(&value.as_bytes()["Basic ".len()..]).expect("base64");
        assert_eq!(String::from_utf8(pair).expect("text"), "a%3Ab+c:p%25w%2B%C3%BC%2F");
    }

    #[test]
    fn post_has_both_in_the_body() {
        let request = request(&from(ClientAuthStyle::Post), "s&=").expect("a request");

        assert_eq!(body(&request), format!("{ASKED}&client_id=a%3Ab+c&client_secret=s%26%3D"));
        assert!(!request.headers().contains_key(header::AUTHORIZATION));
    }

    fn answered(status: u16, body: &'static str) -> Result<(String, Option<Duration>), (String, bool)> {
        let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
        *answer.status_mut() = status.try_into().expect("a status");
        let read = read(&answer).map(|fresh| (fresh.value.to_string(), fresh.lifetime));
        read.map_err(|failure| (failure.detail, failure.settled))
    }

    #[test]
    fn answers_are_read_strictly() {
        let good = r#"{"access_token": "t", "token_type": "bearer", "expires_in": 5}"#;
        assert_eq!(answered(200, good), Ok(("t".into(), Some(Duration::from_secs(5)))));
        assert_eq!(answered(200, r#"{"access_token": "t"}"#), Ok(("t".into(), None)));
        for bad in ["", "[]", r#"{"access_token": 7}"#, r#"{"access_token": "t", "token_type": "mac"}"#] {
            assert!(answered(200, bad).is_err_and(|(_, settled)| settled), "{bad}");
        }
    }

    #[test]
    fn an_issuer_that_says_no_is_told_from_one_that_is_ill() {
        let no = r#"{"error": "invalid_client", "error_description": "secret hunter2 is wrong"}"#;
        assert_eq!(answered(401, no), Err(("the issuer answered 401 invalid_client".into(), true)));
        assert_eq!(answered(400, r#"{"error": "<b>hunter2</b>"}"#), Err(("the issuer answered 400".into(), true)));
        assert_eq!(answered(503, "busy"), Err(("the issuer answered 503".into(), false)));
        assert_eq!(answered(429, "{}"), Err(("the issuer answered 429".into(), false)));
        assert_eq!(answered(302, "{}"), Err(("the issuer answered 302".into(), true)));
    }
}
