//! A trust store for Java: PKCS#12 (RFC 7292) with certificates and nothing else.
//!
//! Java takes a certificate in such a store for trusted only with an attribute of its own beside it. The store holds
//! nothing secret and lies where nobody else can write, so it is neither encrypted nor authenticated, which the format
//! allows and every Java reads: that is plain DER, and no need for the ciphers of a library.

use rustls_pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const BMP_STRING: u8 = 0x1e;
/// `[0] EXPLICIT`.
const INNER: u8 = 0xa0;

/// 1.2.840.113549.1.7.1, data.
const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 1.2.840.113549.1.12.10.1.3, certBag.
const CERT_BAG: &[u8] = &[0x06, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
/// 1.2.840.113549.1.9.22.1, x509Certificate.
const X509: &[u8] = &[0x06, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
/// 1.2.840.113549.1.9.20, friendlyName.
const NAME: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
/// 2.16.840.1.113894.746875.1.1, trusted key usage, as Java has it.
const TRUSTED: &[u8] = &[0x06, 12, 0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1];
/// 2.5.29.37.0, any extended key usage.
const ANY_USAGE: &[u8] = &[0x06, 4, 0x55, 0x1d, 0x25, 0];

/// The store.
pub(super) fn store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let bags: Vec<u8> = certificates.iter().enumerate().flat_map(|(index, der)| bag(der, index)).collect();
    let safe = content(&value(SEQUENCE, &[&bags]));
    let all = content(&value(SEQUENCE, &[&safe]));
    value(SEQUENCE, &[&value(INTEGER, &[&[3]]), &all])
}

/// `ContentInfo` of data that is not encrypted.
fn content(data: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[DATA, &value(INNER, &[&value(OCTETS, &[data])])])
}

/// `SafeBag` of one certificate; every name of a store is another one.
fn bag(der: &[u8], index: usize) -> Vec<u8> {
    let cert = value(SEQUENCE, &[X509, &value(INNER, &[&value(OCTETS, &[der])])]);
    let name: Vec<u8> = format!("ca{index}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let mut attributes = [
        value(SEQUENCE, &[NAME, &value(SET, &[&value(BMP_STRING, &[&name])])]),
        value(SEQUENCE, &[TRUSTED, &value(SET, &[ANY_USAGE])]),
    ];
    attributes.sort();
    value(SEQUENCE, &[CERT_BAG, &value(INNER, &[&cert]), &value(SET, &[&attributes.concat()])])
}

/// Tag, length and contents (X.690 section 8.1).
fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let used = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | used.len() as u8);
            out.extend_from_slice(used);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let out = value(OCTETS, &[&vec![7; length]]);
            assert_eq!((&out[..head.len()], out.len()), (head, head.len() + length));
        }
    }

    #[test]
    fn identifiers_are_as_long_as_they_say() {
        for identifier in [DATA, CERT_BAG, X509, NAME, TRUSTED, ANY_USAGE] {
            assert_eq!(identifier.len(), usize::from(identifier[1]) + 2, "{identifier:02x?}");
        }
    }

    #[test]
    fn an_empty_store_is_what_the_rfc_says() {
        // ContentInfo(data) of no bags, in AuthenticatedSafe, in ContentInfo(data), in PFX of version 3.
        let safe = [&[0x30, 17][..], DATA, &[0xa0, 4, 4, 2, 0x30, 0]].concat();
        let whole =
            [&[0x30, 19 + 2 + 4 + 11 + 2 + 3][..], &[2, 1, 3, 0x30, 36], DATA, &[0xa0, 23, 4, 21, 0x30, 19], &safe]
                .concat();

        assert_eq!(store(&[]), whole);
    }
}
