//! Through a parent.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::parent::{Credential, Params as From};
use super::*;

fn parent(host: &str) -> Parent {
    Parent::new(From { at: plain(host, 3128), auth: None })
}

fn behind(dest: Destination, host: &str) -> Destination {
    Destination { parent: Some(parent(host)), ..dest }
}

/// Lets a dial happen, reads what was asked for and answers it.
async fn answering(world: &World, answer: &str) -> String {
    let mut far = loop {
        if let Some(far) = world.far_ends.lock().pop() {
            break far;
        }
        tokio::task::yield_now().await;
    };
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert_ne!(far.read_buf(&mut asked).await.expect("readable"), 0);
    }
    far.write_all(answer.as_bytes()).await.expect("written");
    world.far_ends.lock().push(far);
    String::from_utf8(asked).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_name_is_left_to_the_parent_and_the_parents_own_may_be_private() {
    let world = Arc::new(World::with(&["10.9.9.9"]));
    let connector = connector(&world, Overrides::default());
    let dest = behind(plain("nowhere.test", 8080), "corp.test");

    let (connected, asked) =
        tokio::join!(connector.tunnel(&dest, REMOTE, false, WITHIN), answering(&world, "HTTP/1.1 200 OK\r\n\r\n"));

    connected.expect("a tunnel");
    assert!(asked.starts_with("CONNECT nowhere.test:8080 HTTP/1.1\r\n"), "{asked}");
    assert_eq!(*world.dialed.lock(), [at("10.9.9.9:3128")]);
    assert_eq!(world.asked.load(Ordering::SeqCst), 1, "for the parent alone");
}

#[tokio::test(start_paused = true)]
async fn plain_http_goes_to_the_parent_itself() {
    let world = Arc::new(World::with(&["10.9.9.9"]));
    let connector = connector(&world, Overrides::default());

    let dest = behind(plain("nowhere.test", 80), "corp.test");
    let connected = connector.connect(&dest, Flavour::H1, REMOTE, WITHIN).await.expect("connected");

    assert!(connected.absolute);
    assert_eq!(connected.addr, at("10.9.9.9:3128"));
}

#[tokio::test(start_paused = true)]
async fn what_the_guard_can_see_it_refuses_also_behind_a_parent() {
    let world = Arc::new(World::with(&["10.9.9.9"]));
    let connector = connector(&world, Overrides::default());
    let deny = vec![
        guard::Rule::new(guard::Pattern::Suffix("secret.test".into())),
        guard::Rule::new(guard::Pattern::Net("203.0.113.0/24".parse().expect("a network"))),
    ];
    connector.guard.set_rules(deny, Vec::new());
    let blocked = ErrorKind::DestinationBlocked;

    for (host, local, kind) in [
        ("169.254.169.254", LOCAL, blocked),
        ("[fe80::1]", LOCAL, blocked),
        ("[::ffff:169.254.169.254]", LOCAL, blocked),
        ("metadata.google.internal", LOCAL, blocked),
        ("a.secret.test", LOCAL, blocked),
        ("203.0.113.7", LOCAL, blocked),
        ("10.0.0.1", REMOTE, blocked),
        // What another resolver would read as 169.254.169.254.
        ("2852039166", LOCAL, ErrorKind::Dns),
        ("0xa9.0xfe.0xa9.0xfe", LOCAL, ErrorKind::Dns),
    ] {
        let dest = behind(plain(host, 80), "corp.test");
        let connect = connector.connect(&dest, Flavour::H1, local, WITHIN).await.expect_err(host);
        let tunnel = connector.tunnel(&dest, local, false, WITHIN).await.expect_err(host);
        assert_eq!((connect.kind, tunnel.kind), (kind, kind), "{host}");
    }
    assert!(world.dialed.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_ourselves_or_metadata_is_refused_like_any_other() {
    for (addr, kind) in [("169.254.169.254", ErrorKind::DestinationBlocked), ("127.0.0.1", ErrorKind::Loop)] {
        let world = Arc::new(World::with(&[addr]));
        let connector = connector(&world, Overrides::default());
        let parent = Parent::new(From { at: plain("corp.test", 4780), auth: None });
        let dest = Destination { parent: Some(parent), ..plain("a.test", 80) };

        let error = refused(&connector, &dest, LOCAL).await;

        assert_eq!(error.kind, kind);
        assert!(error.detail().is_some_and(|detail| detail.starts_with("the parent proxy http://corp.test:4780: ")));
        assert!(world.dialed.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_parents_consent_is_part_of_the_time() {
    let world = Arc::new(World::with(&["10.9.9.9"]));
    let connector = connector(&world, Overrides::default());
    let start = Instant::now();

    let error = refused(&connector, &behind(secure("a.test"), "corp.test"), LOCAL).await;

    assert_eq!(error.kind, ErrorKind::ConnectTimeout);
    assert_eq!(Instant::now() - start, WITHIN);
    assert!(error.detail().is_some_and(|detail| detail.contains("http://corp.test:3128 did not answer")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn not_a_byte_of_the_tunnel_goes_before_the_consent() {
    let world = Arc::new(World::with(&["10.9.9.9"]));
    let connector = connector(&world, Overrides::default());
    let dest = behind(secure("a.test"), "corp.test");

    let (error, asked) = tokio::join!(
        connector.connect(&dest, Flavour::Auto, LOCAL, WITHIN),
        answering(&world, "HTTP/1.1 407 x\r\n\r\n")
    );

    assert_eq!(error.expect_err("refused").kind, ErrorKind::ParentProxy);
    let mut far = world.far_ends.lock().pop().expect("a dial");
    let mut more = Vec::new();
    far.read_to_end(&mut more).await.expect("closed");
    assert!(asked.ends_with("\r\n\r\n") && more.is_empty(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn without_its_secret_a_parent_is_not_dialed() {
    let world = Arc::new(World::with(&["10.9.9.9"]));
    let connector = connector(&world, Overrides::default());
    let credential: Credential = Arc::new(|| None);
    let parent = Parent::new(From { at: plain("corp.test", 3128), auth: Some(("file x".into(), credential)) });

    let error = refused(&connector, &Destination { parent: Some(parent), ..plain("a.test", 80) }, LOCAL).await;

    assert_eq!(error.kind, ErrorKind::Credential);
    assert!(world.dialed.lock().is_empty());
}
