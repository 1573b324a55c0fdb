//! Rates, and what they count by.

use std::time::Duration;

use super::http::header_name;
use super::{Flaw, flaw};
use crate::model::Per;

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
        None if text == "destination" => Ok(Per::Destination),
        _ => {
            let help = "write `route`, `client`, `destination` or `header:x-tenant`";
            flaw(format!("a rate cannot be counted by `{text}`"), help)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
