use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    fields.iter().map(field).collect()
}

/// Terms of a 200 with this head to a plain request.
fn of(response: &[(&'static str, &str)]) -> Option<Terms> {
    Terms::of(&HeaderMap::new(), StatusCode::OK, &head(response), HOUR, clock::now())
}

fn cached(directives: &str) -> Option<Terms> {
    of(&[("cache-control", directives)])
}

fn after(terms: &Terms, seconds: u64, request: &[(&'static str, &str)]) -> Option<(u64, i64)> {
    let age = terms.allow(&head(request), terms.at + Duration::from_secs(seconds))?;
    Some((age.age.as_secs(), age.ttl))
}

#[test]
fn what_must_not_be_kept_is_not() {
    for directives in [
        "no-store",
        "No-Store",
        "max-age=60, NO-STORE",
        "private",
        "Private",
        "private=\"x-user\"",
        "no-cache",
        "No-Cache=\"set-cookie\"",
        "max-age=0, must-revalidate",
        "s-maxage=0",
        "max-age=10, proxy-revalidate, stale-if-error=60",
    ] {
        assert_eq!(cached(directives), None, "{directives}");
    }
    for fields in [
        &[("set-cookie", "a=b"), ("cache-control", "public, max-age=60")][..],
        &[("vary", "*")],
        &[("vary", "accept, *")],
        &[("vary", "acc ept")],
        &[("pragma", "No-Cache")],
    ] {
        assert_eq!(of(fields), None, "{fields:?}");
    }
    assert!(of(&[]).is_some() && cached("max-age=60").is_some() && cached("public").is_some());
}

#[test]
fn only_whole_successes_are_kept() {
    for (status, kept) in [(200, true), (203, true), (204, true), (301, true), (308, true), (206, false), (304, false)]
    {
        let status = StatusCode::from_u16(status).expect("a status");
        let terms = Terms::of(&HeaderMap::new(), status, &head(&[("cache-control", "max-age=9")]), HOUR, clock::now());
        assert_eq!(terms.is_some(), kept, "{status}");
    }
    for status in [404, 410, 429, 500, 501, 503] {
        let status = StatusCode::from_u16(status).expect("a status");
        let public = head(&[("cache-control", "public, max-age=9")]);
        assert_eq!(Terms::of(&HeaderMap::new(), status, &public, HOUR, clock::now()), None, "{status}");
    }
}

#[test]
fn an_answer_for_somebody_is_kept_only_if_it_says_it_is_for_all() {
    for name in ["authorization", "cookie"] {
        for (directives, kept) in [
            ("max-age=60", false),
            ("public", true),
            ("Public, max-age=60", true),
            ("s-maxage=60", true),
            ("must-revalidate, max-age=60", true),
        ] {
            let request = head(&[(name, "x")]);
            let response = head(&[("cache-control", directives)]);
            let terms = Terms::of(&request, StatusCode::OK, &response, HOUR, clock::now());
            assert_eq!(terms.is_some(), kept, "{name} {directives}");
        }
    }
    let terms = Terms::of(&head(&[("cache-control", "No-Store")]), StatusCode::OK, &head(&[]), HOUR, clock::now());
    assert_eq!(terms, None, "the client asked for it");
}

#[test]
fn stale_is_allowed_by_the_origin_or_the_operator_and_forbidden_by_the_origin() {
    for (directives, last) in [
        ("max-age=10", 10 + 3600),
        ("max-age=10, stale-if-error=60", 70),
        ("max-age=10, Stale-If-Error=60", 70),
        ("max-age=10, stale-if-error=86400", 10 + 3600),
        ("max-age=10, stale-if-error=0", 10),
        ("max-age=10, stale-if-error=many", 10),
        ("max-age=10, must-revalidate", 10),
        ("s-maxage=10, stale-if-error=60", 10),
        ("max-age=10, max-age=20", 10),
        ("stale-if-error=60", 60),
    ] {
        let terms = cached(directives).unwrap_or_else(|| panic!("{directives}"));
        let fresh = after(&terms, last - 1, &[]).map(|(age, _)| age);
        assert_eq!((fresh, after(&terms, last, &[])), (Some(last - 1), None), "{directives}");
        let end = |seconds| terms.is_over(terms.at + Duration::from_secs(seconds));
        assert_eq!((end(last - 1), end(last)), (false, true), "{directives}");
    }
}

#[test]
fn the_age_begins_where_the_answer_came_from() {
    let terms = of(&[("cache-control", "max-age=100, stale-if-error=10"), ("age", "30")]).expect("kept");
    assert_eq!(after(&terms, 5, &[]), Some((35, 65)));
    assert_eq!(after(&terms, 79, &[]), Some((109, -9)));
    assert_eq!(after(&terms, 80, &[]), None);

    let long_ago = httpdate::fmt_http_date(wall(clock::now()) - Duration::from_secs(40));
    let terms = of(&[("cache-control", "max-age=100"), ("date", &long_ago), ("age", "5")]).expect("kept");
    let (age, _) = after(&terms, 0, &[]).expect("given out");
    assert!((40..=41).contains(&age), "{age}");

    assert_eq!(of(&[("cache-control", "max-age=100, must-revalidate"), ("age", "100")]), None, "it came stale");
}

#[test]
fn a_client_may_ask_for_less() {
    let terms = cached("max-age=100").expect("kept");
    for (request, seconds, given) in [
        (&[("cache-control", "No-Cache")][..], 1, false),
        (&[("cache-control", "no-store")], 1, false),
        (&[("pragma", "no-cache")], 1, false),
        (&[("range", "bytes=0-1")], 1, false),
        (&[("if-match", "\"a\"")], 1, false),
        (&[("cache-control", "max-age=50")], 50, true),
        (&[("cache-control", "max-age=50")], 51, false),
        (&[("cache-control", "max-age=0, stale-if-error=60")], 159, true),
        (&[("cache-control", "max-age=0, stale-if-error=60")], 160, false),
        (&[("cache-control", "min-fresh=10")], 90, true),
        (&[("cache-control", "min-fresh=10")], 91, false),
        (&[("cache-control", "max-stale=10")], 109, true),
        (&[("cache-control", "max-stale=10")], 110, false),
        (&[("cache-control", "max-stale")], 3699, true),
        (&[("if-none-match", "\"a\"")], 1, true),
    ] {
        assert_eq!(after(&terms, seconds, request).is_some(), given, "{request:?} {seconds}");
    }
}

#[test]
fn vary_names_each_field_once() {
    assert_eq!(selecting(&head(&[("vary", "Accept, accept , x-a"), ("vary", ",")])).map(|names| names.len()), Some(2));
    assert_eq!(selecting(&HeaderMap::new()), Some(Vec::new()));
}
