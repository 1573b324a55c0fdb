use std::fs;

use super::*;

fn held(dir: &Path, proof: &str) -> (Identities, Arc<Gate>, Arc<Held>, Arc<Identity>) {
    let text = format!(
        "identities: [{{ name: who, {} }}]\nroutes: [{{ match: a.test, authenticate: who }}]\n",
        proof.replace("DIR", &dir.display().to_string())
    );
    let model = config::parse(&text, "test", config::Format::Yaml).expect("a model").model;
    let identities = Identities::default();
    let gate = identities.gate(model.routes[0].policy.authenticate.as_ref(), &model.identities, |_| Err("no".into()));
    let gate = gate.expect("built").expect("asked for");
    let (held, identity) = identities.all().remove(0);
    (identities, gate, held, identity)
}

fn entries(identities: &Identities) -> (Option<usize>, bool) {
    let shown = identities.shown().remove(0);
    (shown.entries, shown.error.is_some())
}

#[test]
fn a_file_is_used_once_it_is_the_same_twice_and_a_bad_one_never() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    let (identities, _gate, ..) = held(dir.path(), "keys: { file: DIR/keys }");
    identities.refresh();
    assert_eq!(entries(&identities), (None, true), "there is no file");
    let line = |name: &str| format!("{name} {}\n", name.repeat(64));

    fs::write(&path, line("a")).expect("written");
    identities.refresh();
    assert_eq!(entries(&identities), (Some(1), false), "the first one at once");

    fs::write(&path, line("a") + &line("b")).expect("written");
    identities.refresh();
    assert_eq!(entries(&identities), (Some(1), false), "it may still be written");
    identities.refresh();
    assert_eq!(entries(&identities), (Some(2), false));

    for bad in ["c secret", "\u{0}"] {
        fs::write(&path, bad).expect("written");
        identities.refresh();
        identities.refresh();
        assert_eq!(entries(&identities), (Some(2), true), "{bad}");
        assert!(!identities.shown()[0].error.as_ref().is_some_and(|error| error.contains("secret")));
    }
    fs::write(&path, vec![b'#'; MOST + 1]).expect("written");
    identities.refresh();
    identities.refresh();
    assert_eq!(entries(&identities), (Some(2), true));
    fs::write(&path, line("b")).expect("written");
    identities.refresh();
    identities.refresh();
    assert_eq!(entries(&identities), (Some(1), false));
}

#[test]
fn what_stays_the_same_in_a_configuration_stays_and_keys_outlive_what_is_asked_of_tokens() {
    let dir = tempfile::tempdir().expect("a directory");
    let jwt = "jwt: { issuer: i, audience: a, keys: { file: DIR/keys } }";
    let (identities, gate, held, identity) = held(dir.path(), jwt);
    let again = |from: &model::Identity| identities.identity(from, |_| Err("no".into())).expect("built");
    let mut changed = held.from.clone();
    let Proof::Jwt(asked) = &mut changed.proof else { panic!("a jwt") };
    asked.audience.push("b".into());

    let same = again(&held.from);
    let other = again(&changed);

    assert!(Arc::ptr_eq(&same, &identity) && !Arc::ptr_eq(&other, &identity));
    match (&same.way, &other.way) {
        (Way::Jwt(one), Way::Jwt(other)) => assert!(Arc::ptr_eq(one.keyring(), other.keyring())),
        _ => panic!("two jwts"),
    }
    drop((gate, identity, same));
    let left: Vec<_> = identities.all().into_iter().map(|(held, _)| held.from.clone()).collect();
    assert_eq!(left, [changed], "what nobody uses is forgotten");
}
