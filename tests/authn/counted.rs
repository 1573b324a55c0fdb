//! Who called, in the metrics: as in the access log, and no more names than allowed.

use serde_json::json;
use testkit::issuer::{self, SigningKey};
use testkit::{Proxy, Upstream};

use crate::{File, claims, config, corp, forward};

const COUNTED: &str = "attache_identity_requests_total";

#[tokio::test]
async fn requests_are_counted_by_the_names_of_the_log_up_to_the_cap() {
    let upstream = Upstream::fixed("good").await;
    let key = SigningKey::ed25519("one");
    let keys = File::new(&issuer::set(&[&key]));
    let text = config(&upstream, &[&corp(&keys, "")], "corp");
    let proxy = Proxy::start(&format!("metrics: {{ identities: 3 }}\n{text}"));
    let silent = Proxy::start(&text);
    let show = |name: &str| {
        let mut said = claims();
        said["sub"] = json!(name);
        format!("Bearer {}", key.token("EdDSA", &said))
    };

    for name in ["ali", "b\"ea\n"] {
        assert_eq!(forward(&proxy, &show(name)).await.status, 200);
    }
    assert_eq!(proxy.get("http://api.test/").await.status, 407, "its process is known");
    for name in ["cy", "dee", "ali"] {
        assert_eq!(forward(&proxy, &show(name)).await.status, 200);
    }
    assert_eq!(forward(&silent, &show("ali")).await.status, 200);

    let metrics = proxy.metrics().await;
    let off = silent.metrics().await;
    let log = proxy.finish();
    let user = log[2]["user"].as_str().expect("who it was");
    let user = if user.parse::<u32>().is_ok() { format!("uid:{user}") } else { format!("user:{user}") };
    for (identity, class, count) in
        [("ali", "2xx", 2.0), ("b\\\"ea\\n", "2xx", 1.0), (&user, "4xx", 1.0), ("_other", "2xx", 2.0)]
    {
        let labels = [("identity", identity), ("route", "api"), ("code_class", class)];
        assert_eq!(metrics.sum(COUNTED, &labels), count, "{identity}: {}", metrics.text());
    }
    assert_eq!((log[0]["identity"].as_str(), log[1]["identity"].as_str()), (Some("ali"), Some("b\"ea\n")));
    assert_eq!(metrics.sum(COUNTED, &[]), 6.0, "nobody else");
    assert_eq!(metrics.sum("attache_requests_total", &[]), 6.0);
    assert!(off.has("attache_requests_total") && !off.has(COUNTED), "off unless asked for");
}
