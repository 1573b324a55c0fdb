use std::collections::BTreeSet;

use rustls_pki_types::{ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;

use super::*;

const NOW: u64 = 1_800_000_000;

fn host(text: &str) -> Host {
    Host::parse(text).expect("a host")
}

fn authority() -> Authority {
    Authority::ephemeral_at(Duration::from_secs(NOW)).expect("an authority")
}

/// What clients do: a path to the authority, for this name, at this time.
fn verified(leaf: &CertificateDer<'_>, authority: &Authority, name: &str, at: u64) -> Result<(), webpki::Error> {
    let leaf = EndEntityCert::try_from(leaf)?;
    let roots = [anchor_from_trusted_cert(&authority.identity.der)?];
    let algorithms = provider::default_provider().signature_verification_algorithms.all;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    leaf.verify_for_usage(algorithms, &roots, &[], at, KeyUsage::server_auth(), None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name.to_owned()).expect("a name"))
}

fn parsed<T>(der: &[u8], look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    look(&parse_x509_certificate(der).expect("a certificate").1)
}

#[test]
fn a_leaf_is_for_exactly_its_host_and_for_a_day() {
    let authority = authority();

    for (name, other) in [("api.test", "x.api.test"), ("127.0.0.1", "127.0.0.2"), ("::1", "::2")] {
        let (leaf, from, until) = authority.sign(&host(&name.replace("::1", "[::1]")), NOW).expect("signed");

        assert_eq!((NOW - from, until - NOW), (HOUR, DAY), "{name}");
        assert_eq!(verified(&leaf, &authority, name, NOW), Ok(()), "{name}");
        assert_eq!(verified(&leaf, &authority, name, until), Ok(()), "{name}");
        assert!(verified(&leaf, &authority, name, until + 1).is_err(), "{name}");
        assert!(verified(&leaf, &authority, other, NOW).is_err(), "{name}");
        let names =
            parsed(&leaf, |leaf| leaf.subject_alternative_name().expect("one").expect("one").value.general_names.len());
        assert_eq!(names, 1, "{name}");
    }
}

#[test]
fn a_name_that_is_too_long_for_a_common_name_is_signed_all_the_same() {
    let authority = authority();
    let long = format!("{}.{}.test", "a".repeat(60), "b".repeat(60));

    let (leaf, ..) = authority.sign(&host(&long), NOW).expect("signed");

    assert_eq!(verified(&leaf, &authority, &long, NOW), Ok(()));
}

#[test]
fn what_it_is_allowed_is_in_its_certificate() {
    let authority = authority();

    parsed(&authority.identity.der, |own| {
        let constraints = own.basic_constraints().expect("one").expect("one");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = own.key_usage().expect("one").expect("one");
        assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
    });
    let (leaf, ..) = authority.sign(&host("api.test"), NOW).expect("signed");
    parsed(&leaf, |leaf| {
        assert!(!leaf.is_ca());
        let usage = leaf.extended_key_usage().expect("one").expect("one").value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
    });
}

#[test]
fn no_leaf_outlives_the_authority_nor_begins_before_it() {
    let authority = authority();
    let end = authority.identity.until;
    assert_eq!(end - NOW, 7 * DAY);

    let (_, _, until) = authority.sign(&host("api.test"), end - HOUR).expect("signed");
    let (_, from, _) = authority.sign(&host("api.test"), authority.identity.from + 60).expect("signed");

    assert_eq!((until, from), (end, authority.identity.from));
}

#[test]
fn serial_numbers_are_random_and_positive() {
    let authority = authority();
    let serials: BTreeSet<Vec<u8>> = (0..50)
        .map(|_| authority.sign(&host("api.test"), NOW).expect("signed").0)
        .map(|leaf| parsed(&leaf, |leaf| leaf.raw_serial().to_vec()))
        .collect();

    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| serial.len() == SERIAL && serial[0] & 0x80 == 0));
}

#[test]
fn a_leaf_is_kept_for_half_of_its_time_and_hosts_are_bounded() {
    let authority = authority();
    let config = |name: &str, now| authority.config_at(&host(name), now).expect("signed");
    let first = config("api.test", NOW);

    assert!(Arc::ptr_eq(&first, &config("api.test", NOW + DAY / 2 - 1)));
    assert!(!Arc::ptr_eq(&first, &config("other.test", NOW)));
    let second = config("api.test", NOW + DAY / 2);
    assert!(!Arc::ptr_eq(&first, &second), "it is signed anew");
    assert!(!Arc::ptr_eq(&second, &config("api.test", NOW - DAY)), "a clock that was set back does not take it");

    for number in 0..3 * HOSTS {
        config(&format!("h{number}.test"), NOW);
    }
    assert!((HOSTS / 2..=HOSTS).contains(&authority.kept()), "{}", authority.kept());
}

#[test]
fn the_key_is_never_shown() {
    let made = generate().expect("made");
    let dir = tempfile::tempdir().expect("a directory");
    let files = laid(dir.path(), &made);
    let authority = Authority::load(&files).expect("loaded");

    let secret: String = made.key.lines().filter(|line| !line.starts_with('-')).take(1).collect();
    assert!(secret.len() > 32);
    let shown = format!("{authority:?} {:?} {}", authority.identity(), authority.pem());
    assert!(shown.contains("attache local CA") && !shown.contains(&secret), "{shown}");
}

fn laid(dir: &std::path::Path, made: &Generated) -> Files {
    let files = Files { cert: dir.join("ca.crt"), key: dir.join("ca.key") };
    std::fs::write(&files.cert, &made.certificate).expect("written");
    std::fs::write(&files.key, &made.key).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).expect("changed");
    }
    files
}

#[test]
fn what_was_written_signs_again_under_its_own_name() {
    let made = generate().expect("made");
    let dir = tempfile::tempdir().expect("a directory");
    let files = laid(dir.path(), &made);
    let now = clock::calendar().as_secs();

    let authority = Authority::load(&files).expect("loaded");
    let (leaf, ..) = authority.sign(&host("api.test"), now).expect("signed");

    assert_eq!(verified(&leaf, &authority, "api.test", now), Ok(()));
    assert_eq!(authority.pem(), made.certificate);
    assert!(authority.identity().until - now > 364 * DAY);
}

#[test]
fn a_pair_that_cannot_be_used_is_told_with_what_helps() {
    let (made, other) = (generate().expect("made"), generate().expect("made"));
    let dir = tempfile::tempdir().expect("a directory");
    let flaw = |made: &Generated, now: u64| {
        let flaw = Authority::load_at(&laid(dir.path(), made), Duration::from_secs(now)).expect_err("refused");
        assert!(!flaw.help.is_empty());
        flaw.to_string()
    };
    let now = clock::calendar().as_secs();
    let with = |certificate: &str, key: &str| Generated { certificate: certificate.into(), key: key.into() };

    assert!(flaw(&with(&made.certificate, &other.key), now).contains("does not fit"));
    assert!(flaw(&made, now + 366 * DAY).contains("has expired"));
    assert!(flaw(&made, now - DAY).contains("not valid yet"));
    assert!(flaw(&with(&made.certificate, "nothing"), now).contains("no private key"));
    assert!(flaw(&with(&made.key, &made.key), now).contains("no certificate"));
    let leaf = rcgen::generate_simple_self_signed(vec!["api.test".into()]).expect("signed");
    let leaf = with(&leaf.cert.pem(), &leaf.signing_key.serialize_pem());
    assert!(flaw(&leaf, now).contains("CA:TRUE"));
}

/// Not a bound, but what a person sees who runs it: `cargo test -p attache-proxy -- --nocapture what_a_leaf_costs`.
#[test]
fn what_a_leaf_costs() {
    let authority = authority();
    let first = clock::now();
    for number in 0..100 {
        authority.config_at(&host(&format!("h{number}.test")), NOW).expect("signed");
    }
    let signed = clock::now().since(first) / 100;
    let first = clock::now();
    for number in 0..100 {
        authority.config_at(&host(&format!("h{number}.test")), NOW).expect("kept");
    }
    let kept = clock::now().since(first) / 100;
    let first = clock::now();
    for _ in 0..100 {
        KeyPair::generate().expect("a key");
    }
    println!("a leaf {signed:?}, one that is kept {kept:?}, a key pair {:?}", clock::now().since(first) / 100);

    assert!(kept < signed);
}
