//! Rates and what they count by, and when a second try is sent.

use std::time::Duration;

use super::http::header_name;
use super::{Flaw, flaw};
use crate::model::{HedgeAfter, Per};
use crate::units;

/// The largest number in a rate.
const MOST: u32 = 1_000_000;

/// `100/s`, `1000/m`, `5000/h`.
pub(crate) fn rate(text: &str) -> Result<(u32, Duration), Flaw> {
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '_').collect();
    let (count, unit) = plain.split_once('/').unwrap_or((&plain, ""));
    let seconds = match unit {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        _ => {
            return flaw(
                format!("`{text}` is no rate"),
                "write a number and a time, such as `100/s`, `1000/m` or `5000/h`",
            );
        }
    };
    match count.parse::<u32>() {
        Ok(count @ 1..=MOST) if count.to_string() == plain[..plain.len() - unit.len() - 1] => {
            Ok((count, Duration::from_secs(seconds)))
        }
        _ => {
            flaw(format!("`{text}` is no rate"), format!("write a whole number from 1 to {MOST}, such as `100/{unit}`"))
        }
    }
}

/// What has a rate of its own.
pub(crate) fn per(text: &str) -> Result<Per, Flaw> {
    match text.split_once(':') {
        Some(("header", name)) => header_name(name).map(Per::Header),
        None if text == "route" => Ok(Per::Route),
        None if text == "client" => Ok(Per::Client),
        None if text == "identity" => Ok(Per::Identity),
        None if text == "destination" => Ok(Per::Destination),
        _ => {
            let help = "write `route`, `client`, `identity`, `destination` or `header:x-tenant`";
            flaw(format!("a rate cannot be counted by `{text}`"), help)
        }
    }
}

/// `50ms`, or `p50` to `p99.9`.
pub(crate) fn hedge_after(text: &str) -> Result<HedgeAfter, Flaw> {
    if let Some(percent) = text.strip_prefix('p') {
        let plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        return match percent.parse::<f64>() {
            Ok(percent) if plain && (50.0..=99.9).contains(&percent) => Ok(HedgeAfter::Percentile(percent / 100.0)),
            _ => flaw(format!("`{text}` is no percentile from p50 to p99.9"), "write `p95`, or a time such as `50ms`"),
        };
    }
    match units::duration(text) {
        Ok(wait) if wait >= Duration::from_millis(1) => Ok(HedgeAfter::Fixed(wait)),
        Ok(_) => flaw(format!("`{text}` is shorter than 1ms"), "every request would be sent twice"),
        Err(message) => flaw(message, "write a time such as `50ms`, or a percentile such as `p95`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hedge_waits_for_a_time_or_a_percentile() {
        assert_eq!(hedge_after("50ms").ok(), Some(HedgeAfter::Fixed(Duration::from_millis(50))));
        assert_eq!(hedge_after("p95").ok(), Some(HedgeAfter::Percentile(0.95)));
        assert!(hedge_after("p99.9").is_ok() && hedge_after("p50").is_ok());
        for wrong in ["", "p", "p49", "p100", "p-95", "p+95", "p9e1", "95", "95%", "0ms", "100us", "soon"] {
            assert!(hedge_after(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        let rate = |text| rate(text).ok().map(|(count, period)| (count, period.as_secs()));

        assert_eq!(rate("100/s"), Some((100, 1)));
        assert_eq!(rate("1_000 / m"), Some((1000, 60)));
        assert_eq!(rate("1000000/h"), Some((1_000_000, 3600)));
        for wrong in ["", "100", "/s", "0/s", "1000001/s", "1.5/s", "-1/s", "+1/s", "01/s", "1/d", "1/s/s"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_counted_by() {
        assert_eq!(per("client").ok(), Some(Per::Client));
        assert_eq!(per("header:X-Tenant").ok(), Some(Per::Header("x-tenant".into())));
        for wrong in ["", "header", "header:", "header:a b", "clients", "route:x"] {
            assert!(per(wrong).is_err(), "{wrong}");
        }
    }
}
