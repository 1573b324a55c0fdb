//! `Max-Forwards` (RFC 9110 section 7.6.2): how many more proxies an OPTIONS or a TRACE may pass.
//!
//! With any other method the field has no meaning to a proxy and stays as it is. An OPTIONS that ends here is told what
//! may be asked for; a TRACE that ends here is refused: reflecting it is only a SHOULD, and an echo of a request's
//! fields is a way to read what somebody else put into them.

use exchange::{Body, Error, ErrorKind};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response};

/// Every method that has a meaning here; others are passed on as well, but not advertised.
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT");

/// Counts this proxy; `true` if the request goes no further.
pub(super) fn count(parts: &mut Parts) -> Result<bool, Error> {
    if parts.method != Method::OPTIONS && parts.method != Method::TRACE {
        return Ok(false);
    }
    let mut values = parts.headers.get_all(header::MAX_FORWARDS).iter();
    let left = match (values.next(), values.next()) {
        (None, _) => return Ok(false),
        (Some(value), None) => number(value),
        _ => None,
    };
    match left {
        None => Err(Error::new(ErrorKind::BadRequest).with_detail("Max-Forwards is not one number")),
        Some(0) if parts.method == Method::TRACE => {
            Err(Error::new(ErrorKind::Unsupported).with_detail("a TRACE that ends here is not reflected"))
        }
        Some(0) => Ok(true),
        Some(left) => {
            parts.headers.insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(false)
        }
    }
}

/// The answer to an OPTIONS that ends here.
pub(super) fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response
}

/// Digits alone; more of them than fit stand for the largest that does.
fn number(value: &HeaderValue) -> Option<u32> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn counted(method: &str, values: &[&'static str]) -> (Result<bool, ErrorKind>, Vec<String>) {
        let mut parts = Request::builder().method(method).body(()).expect("a request").into_parts().0;
        for value in values {
            parts.headers.append(header::MAX_FORWARDS, HeaderValue::from_static(value));
        }
        let outcome = count(&mut parts).map_err(|error| error.kind);
        let left = parts.headers.get_all(header::MAX_FORWARDS).iter();
        (outcome, left.map(|value| value.to_str().expect("text").to_owned()).collect())
    }

    #[test]
    fn each_proxy_takes_one_and_the_last_one_answers() {
        assert_eq!(counted("OPTIONS", &["1"]), (Ok(false), vec!["0".into()]));
        assert_eq!(counted("TRACE", &["010"]), (Ok(false), vec!["9".into()]));
        assert_eq!(counted("OPTIONS", &["99999999999999999999"]), (Ok(false), vec!["4294967294".into()]));
        assert_eq!(counted("OPTIONS", &["0"]).0, Ok(true));
        assert_eq!(counted("TRACE", &["0"]).0, Err(ErrorKind::Unsupported));
        assert_eq!(counted("OPTIONS", &[]), (Ok(false), vec![]));
    }

    #[test]
    fn what_is_no_number_is_refused_and_other_methods_are_let_alone() {
        for values in [&["-1"][..], &["+1"], &[""], &["1, 2"], &["1", "1"]] {
            assert_eq!(counted("OPTIONS", values).0, Err(ErrorKind::BadRequest), "{values:?}");
        }
        assert_eq!(counted("GET", &["0"]), (Ok(false), vec!["0".into()]));
    }
}
