//! An error as a response: status, `Proxy-Status`, `Retry-After` and a body in the form the client asked for
//! (RFC 9457 problem+json, else a short text or page).
//!
//! A gRPC client reads no status but its own: it gets 200 and the outcome in the one HEADERS frame, which its protocol
//! calls trailers-only.

use http::header::{self, HeaderValue};
use http::{Method, Response};

use crate::exchange::Head;
use crate::{Body, Error, ErrorKind, proxy_status, rate};

/// The form of an error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/problem+json`.
    Json,
    /// `text/plain`.
    Text,
    /// `text/html`, for a person at a browser.
    Html,
}

impl Form {
    /// What `Accept` prefers; JSON unless it names one of the others.
    pub fn accepted(accept: Option<&HeaderValue>) -> Self {
        let accept = accept.and_then(|v| v.to_str().ok()).unwrap_or_default();
        for media in accept.split(',').map(|media| media.split(';').next().unwrap_or_default().trim()) {
            match media {
                "text/html" | "application/xhtml+xml" => return Self::Html,
                "text/plain" => return Self::Text,
                "application/json" | "application/problem+json" => return Self::Json,
                _ => {}
            }
        }
        Self::Json
    }
}

/// The response for `error`.
pub fn response(error: &Error, head: &Head, form: Form) -> Response<Body> {
    let mut response = if head.grpc { trailers_only(error, head) } else { page(error, head, form) };
    let headers = response.headers_mut();
    headers.insert("proxy-status", proxy_status::value(error, head.client.local));
    if let Some(after) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(rate::seconds(after)));
    }
    for challenge in error.challenges.iter().flat_map(|all| all.iter()) {
        // RFC 9110 sections 11.6.1 and 11.7.1.
        let field = if head.door.is_proxy() { header::PROXY_AUTHENTICATE } else { header::WWW_AUTHENTICATE };
        headers.append(field, challenge.clone());
    }
    if let Some(rate) = &error.rate {
        headers.insert("ratelimit-policy", rate.policy_field());
        headers.insert("ratelimit", rate.field());
    }
    response
}

/// gRPC over HTTP/2, "Responses".
fn trailers_only(error: &Error, head: &Head) -> Response<Body> {
    let detail = if head.client.local { error.detail() } else { None };
    let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    let message = format!("{}: {}{detail}; id {:016x}", error.kind.label(), error.kind.text(), head.id);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(error.grpc_status()));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&message)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// As gRPC's `Status-Message` wants it: what is not printable ASCII, and `%` itself.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn page(error: &Error, head: &Head, form: Form) -> Response<Body> {
    let status = error.status(head.door);
    let detail = if head.client.local { error.detail() } else { None };
    let reason = error.kind.label();
    let title = error.kind.text();
    let hint = hint(error.kind).unwrap_or_default();
    let (media, body) = match form {
        Form::Json => ("application/problem+json", {
            let mut json = String::with_capacity(256);
            json.push('{');
            member(&mut json, "type", &format!("urn:attache:{reason}"));
            member(&mut json, "title", title);
            json.push_str(&format!("\"status\":{},", status.as_u16()));
            if let Some(detail) = &detail {
                member(&mut json, "detail", detail);
            }
            if !hint.is_empty() {
                member(&mut json, "hint", hint);
            }
            member(&mut json, "reason", reason);
            member(&mut json, "id", &format!("{:016x}", head.id));
            json.pop();
            json.push_str("}\n");
            json
        }),
        Form::Text => ("text/plain; charset=utf-8", {
            let detail = detail.map(|d| format!("\n{d}")).unwrap_or_default();
            let hint = if hint.is_empty() { String::new() } else { format!("\n{hint}") };
            format!("{} {reason}: {title}{detail}{hint}\nid {:016x}\n", status.as_u16(), head.id)
        }),
        Form::Html => ("text/html; charset=utf-8", {
            let detail = detail.map(|d| format!("<p><code>{}</code></p>", escaped(&d))).unwrap_or_default();
            format!(
                "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{code} {reason}</title>\
                 <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color-scheme:light dark}}\
                 code{{overflow-wrap:anywhere}}small{{opacity:.7}}</style>\
                 <h1>{code} {reason}</h1><p>Attaché answered this itself: {title}.</p>{detail}<p>{hint}</p><p><small>id {id:016x}</small></p>\n",
                code = status.as_u16(),
                hint = escaped(hint),
                id = head.id,
            )
        }),
    };
    let length = body.len();
    let mut response = Response::new(if head.method == Method::HEAD { Body::empty() } else { Body::full(body) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The next step, where there is one that fits everybody.
const fn hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::NoRoute => Some(
            "This is an HTTP proxy. Set HTTP_PROXY and HTTPS_PROXY to its address, start a program with `attache run -- CMD`, \
             or add a route and call /r/<name>/.",
        ),
        ErrorKind::DestinationBlocked => Some("See `destinations:` in the configuration."),
        ErrorKind::BreakerOpen => Some("Calls to it failed lately; it is tried again after Retry-After."),
        ErrorKind::Loop => Some("The target of this request leads back to this proxy."),
        _ => None,
    }
}

fn member(json: &mut String, name: &str, value: &str) {
    json.push('"');
    json.push_str(name);
    json.push_str("\":\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push_str("\",");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_message_is_ascii_on_one_line() {
        assert_eq!(percent_encoded("100 %\r\n\u{e9}~"), "100 %25%0D%0A%C3%A9~");
    }

    #[test]
    fn a_browser_gets_a_page_and_a_program_json() {
        let accepted = |text: &'static str| Form::accepted(Some(&HeaderValue::from_static(text)));

        assert_eq!(Form::accepted(None), Form::Json);
        assert_eq!(accepted("*/*"), Form::Json);
        assert_eq!(accepted("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), Form::Html);
        assert_eq!(accepted("text/plain;q=1"), Form::Text);
    }
}
