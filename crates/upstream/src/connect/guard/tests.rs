use super::*;

const LOCAL: bool = true;
const REMOTE: bool = false;

fn addr(text: &str) -> SocketAddr {
    text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 80).into())).expect("address")
}

fn name(text: &str) -> Host {
    Host::parse(text).expect("host")
}

fn net(text: &str) -> Rule {
    Rule::new(Pattern::Net(text.parse().expect("net")))
}

fn exact(text: &str) -> Rule {
    Rule::new(Pattern::Exact(text.into()))
}

fn guard(deny: Vec<Rule>, allow: Vec<Rule>) -> Guard {
    Guard::new(Params { deny, allow, own: Vec::new() })
}

fn verdict(guard: &Guard, host: &str, addrs: &[&str], local: bool) -> Option<ErrorKind> {
    let addrs: Vec<_> = addrs.iter().map(|text| addr(text)).collect();
    guard.check(&name(host), &addrs, local).err().map(|error| error.kind)
}

const BLOCKED: Option<ErrorKind> = Some(ErrorKind::DestinationBlocked);

#[test]
fn nobody_reaches_reserved_addresses_in_any_form() {
    let guard = guard(vec![], vec![]);

    for text in [
        "169.254.169.254",
        "169.254.0.1",
        "169.254.170.2",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::",
        "fe80::1",
        "febf::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "ff02::1",
        "ff00::",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
        "::ffff:255.255.255.255",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b::0.0.0.0",
        "64:ff9b:1::169.254.169.254",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "2002:0000:0000::1",
        "2001:0:4136:e378:8000:63bf:5601:5601",
        "2001:db8::5efe:169.254.169.254",
        "2001:db8::200:5efe:169.254.169.254",
    ] {
        assert_eq!(verdict(&guard, "rebind.test", &[text], LOCAL), BLOCKED, "{text}");
        assert_eq!(verdict(&guard, "rebind.test", &[text], REMOTE), BLOCKED, "{text} from afar");
    }
}

#[test]
fn neighbours_of_reserved_ranges_are_destinations() {
    let guard = guard(vec![], vec![]);

    for text in [
        "169.253.255.255",
        "169.255.0.0",
        "1.0.0.0",
        "223.255.255.255",
        "240.0.0.1",
        "93.184.216.34",
        "198.18.0.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "2606:2800:220:1::1",
        "64:ff9b::93.184.216.34",
        "2002:5db8:d822::1",
        "2001:0:4136:e378:8000:63bf:a247:27dd",
    ] {
        assert_eq!(verdict(&guard, "public.test", &[text], REMOTE), None, "{text}");
    }
}

#[test]
fn private_ranges_and_loopback_are_for_clients_on_this_machine() {
    let guard = guard(vec![], vec![]);

    for text in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "::1",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
    ] {
        assert_eq!(verdict(&guard, "inside.test", &[text], LOCAL), None, "{text}");
        assert_eq!(verdict(&guard, "inside.test", &[text], REMOTE), BLOCKED, "{text} from afar");
    }
}

#[test]
fn one_bad_answer_refuses_the_name() {
    let guard = guard(vec![], vec![]);

    assert_eq!(verdict(&guard, "mixed.test", &["93.184.216.34", "2606:2800::1", "169.254.169.254"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "mixed.test", &["93.184.216.34", "10.0.0.1"], REMOTE), BLOCKED);
}

#[test]
fn addresses_written_as_the_host_are_judged_alike() {
    let guard = guard(vec![], vec![]);

    assert_eq!(verdict(&guard, "169.254.169.254", &["169.254.169.254"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "[::ffff:a9fe:a9fe]", &["::ffff:a9fe:a9fe"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "10.0.0.1", &["10.0.0.1"], LOCAL), None);
}

#[test]
fn metadata_names_are_refused_before_they_resolve() {
    let plain = guard(vec![], vec![]);
    let opened = guard(vec![], vec![exact("metadata.google.internal")]);

    for text in ["metadata.google.internal", "METADATA.google.internal.", "metadata.goog"] {
        let kind = plain.check_host(&name(text), 80).err().map(|error| error.kind);
        assert_eq!(kind, BLOCKED, "{text}");
    }
    assert!(opened.check_host(&name("metadata.google.internal"), 80).is_ok());
    assert!(plain.check_host(&name("metadata.google.internal.example.com"), 80).is_ok());
}

#[test]
fn an_allowed_network_lifts_every_rule_but_only_for_its_own_addresses() {
    let guard = guard(vec![net("10.0.0.0/8")], vec![net("169.254.169.254/32"), net("10.1.0.0/16")]);

    assert_eq!(verdict(&guard, "a.test", &["169.254.169.254"], REMOTE), None);
    assert_eq!(verdict(&guard, "a.test", &["::ffff:169.254.169.254"], REMOTE), None);
    assert_eq!(verdict(&guard, "a.test", &["169.254.169.253"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "a.test", &["10.1.2.3"], REMOTE), None);
    assert_eq!(verdict(&guard, "a.test", &["10.2.2.3"], LOCAL), BLOCKED);
}

#[test]
fn an_allowed_translation_prefix_does_not_open_what_it_carries() {
    let guard = guard(vec![], vec![net("64:ff9b::/96")]);

    assert_eq!(verdict(&guard, "a.test", &["64:ff9b::a9fe:a9fe"], LOCAL), BLOCKED);
}

#[test]
fn an_allowed_name_lifts_deny_and_private_but_never_metadata() {
    let deny = vec![net("0.0.0.0/0"), net("::/0")];
    let guard = guard(deny, vec![exact("db.test"), Rule::new(Pattern::Suffix("corp.test".into()))]);

    assert_eq!(verdict(&guard, "db.test", &["10.0.0.1"], REMOTE), None);
    assert_eq!(verdict(&guard, "a.b.corp.test", &["93.184.216.34"], REMOTE), None);
    assert_eq!(verdict(&guard, "corp.test", &["93.184.216.34"], REMOTE), BLOCKED);
    assert_eq!(verdict(&guard, "notcorp.test", &["93.184.216.34"], REMOTE), BLOCKED);
    assert_eq!(verdict(&guard, "db.test", &["169.254.169.254"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "other.test", &["93.184.216.34"], LOCAL), BLOCKED);
}

#[test]
fn denied_networks_hold_in_their_ipv6_forms() {
    let guard = guard(vec![net("93.184.216.0/24")], vec![]);

    for text in ["93.184.216.34", "::ffff:93.184.216.34", "64:ff9b::93.184.216.34", "2002:5db8:d822::1"] {
        assert_eq!(verdict(&guard, "a.test", &[text], LOCAL), BLOCKED, "{text}");
    }
}

#[test]
fn a_rule_with_a_port_is_about_that_port() {
    let guard = guard(vec![Rule { pattern: Pattern::Exact("a.test".into()), port: Some(25) }], vec![]);

    assert_eq!(verdict(&guard, "a.test", &["93.184.216.34:25"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "a.test", &["93.184.216.34:80"], LOCAL), None);
}

#[test]
fn a_denied_name_that_is_an_address_is_a_network() {
    let guard = guard(vec![exact("93.184.216.34"), exact("[2001:db8::1]")], vec![]);

    assert_eq!(verdict(&guard, "a.test", &["93.184.216.34"], LOCAL), BLOCKED);
    assert_eq!(verdict(&guard, "a.test", &["2001:db8::1"], LOCAL), BLOCKED);
}

#[test]
fn our_own_listeners_are_a_loop_whatever_is_allowed() {
    let mut guard = guard(vec![], vec![Rule::new(Pattern::Any), net("0.0.0.0/0"), net("::/0")]);
    guard.is_here = |ip| ip.is_loopback() || ip.is_unspecified() || ip == addr("192.168.7.7").ip();
    guard.set_own(vec![addr("127.0.0.1:4780"), addr("0.0.0.0:8080"), addr("[::]:9090"), addr("10.0.0.5:7070")]);

    for (text, looped) in [
        ("127.0.0.1:4780", true),
        ("[::ffff:127.0.0.1]:4780", true),
        ("0.0.0.0:4780", true),
        ("[::]:4780", true),
        ("127.0.0.1:4781", false),
        ("127.0.0.2:4780", false),
        ("[::1]:4780", false),
        ("127.0.0.1:8080", true),
        ("127.9.9.9:8080", true),
        ("192.168.7.7:8080", true),
        ("[::ffff:192.168.7.7]:8080", true),
        ("192.168.7.8:8080", false),
        ("[::1]:9090", true),
        ("127.0.0.1:9090", true),
        ("192.168.7.7:9090", true),
        ("10.0.0.5:7070", true),
        ("10.0.0.6:7070", false),
    ] {
        let kind = verdict(&guard, "self.test", &[text], LOCAL);
        assert_eq!(kind == Some(ErrorKind::Loop), looped, "{text}: {kind:?}");
    }
}

#[test]
fn says_what_was_refused_and_why() {
    let guard = guard(vec![net("93.184.216.0/24")], vec![]);
    let detail = |text: &str| {
        let error = guard.check(&name("a.test"), &[addr(text)], REMOTE).expect_err("refused");
        error.detail().expect("detail")
    };

    assert_eq!(detail("93.184.216.34"), "a.test leads to 93.184.216.34: destinations.deny: 93.184.216.0/24");
    assert_eq!(
        detail("64:ff9b::a9fe:a9fe"),
        "a.test leads to 64:ff9b::a9fe:a9fe, a form of 169.254.169.254: link-local and metadata addresses"
    );
    assert_eq!(
        detail("10.0.0.1"),
        "a.test leads to 10.0.0.1: a private range, which only clients on this machine may reach"
    );
}

#[test]
fn knows_the_addresses_of_this_machine() {
    assert!(is_here(addr("127.0.0.1").ip()));
    assert!(is_here(addr("::1").ip()));
    assert!(!is_here(addr("192.0.2.1").ip()));
}
