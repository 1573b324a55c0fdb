//! When a certificate expires: the one field that nothing we depend on shows (RFC 5280 section 4.1.2.5).
//!
//! The certificate was accepted by rustls before; whatever this cannot read has no known end, and nothing is refused
//! for it.

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DAY: u64 = 24 * 60 * 60;

/// Its last second, counted from 1970.
pub(super) fn not_after(mut certificate: &[u8]) -> Option<u64> {
    let (_, mut certificate) = element(&mut certificate)?;
    let (_, mut signed) = element(&mut certificate)?;
    // The version is left out for version 1; then this was the serial number already.
    if element(&mut signed)?.0 == VERSION {
        element(&mut signed)?;
    }
    let (_algorithm, _issuer) = (element(&mut signed)?, element(&mut signed)?);
    let (_, mut validity) = element(&mut signed)?;
    let _not_before = element(&mut validity)?;
    match element(&mut validity)? {
        (UTC_TIME, text) => {
            let (year, rest) = (number(text.get(..2)?)?, text.get(2..)?);
            time(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, text) => time(number(text.get(..4)?)?, text.get(4..)?),
        _ => None,
    }
}

/// Takes one tag with its content off the front.
fn element<'a>(from: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [tag, length, rest @ ..] = *from else { return None };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some((*tag, content))
}

/// `MMDDHHMMSSZ` of a year.
fn time(year: u64, rest: &[u8]) -> Option<u64> {
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let (month, day) = (part(0)?, part(2)?);
    if rest.len() != 11 || rest[10] != b'Z' || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Before 1970 is long ago.
    let days = days(year, month, day).saturating_sub(days(1970, 1, 1));
    Some(days * DAY + part(4)? * 3600 + part(6)? * 60 + part(8)?)
}

/// Days from the first of March of the year 0, so that a leap day is the last of its year.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn ending(year: i32, month: u8, day: u8) -> Option<u64> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(1960, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
        not_after(certificate.der())
    }

    #[test]
    fn both_forms_of_time_and_leap_days_are_read() {
        assert_eq!(ending(1961, 1, 1), Some(0));
        assert_eq!(ending(1970, 1, 2), Some(DAY));
        assert_eq!(ending(2024, 2, 29), Some(1_709_164_800));
        assert_eq!(ending(2049, 12, 31), Some(2_524_521_600));
        assert_eq!(ending(2050, 1, 1), Some(2_524_608_000));
        assert_eq!(ending(2100, 3, 1), Some(4_107_542_400));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("signed").cert.der().to_vec();
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "{end}");
        }
        for bad in [&b"\x30\x80"[..], b"\x30\x84\xff\xff\xff\xff", b"\x30\x85\0\0\0\0\0", b"-----BEGIN"] {
            assert_eq!(not_after(bad), None, "{bad:?}");
        }
    }
}
