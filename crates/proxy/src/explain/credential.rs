//! Which credential a route sends, and where it is from; never the credential.

use config::model::{Auth, ClientAuthStyle};

use crate::keeper::keys;
use crate::secrets::source;

pub(super) fn credential(auth: &Auth) -> String {
    match auth {
        Auth::Bearer(secret) => format!("bearer from {}", source(secret)),
        Auth::Basic { user, password } => format!("basic, user {user}, password from {}", source(password)),
        Auth::Header { name, value, .. } => format!("header {name} from {}", source(value)),
        Auth::OAuth2(from) => {
            let style = match from.style {
                ClientAuthStyle::Basic => "basic",
                ClientAuthStyle::Post => "post",
            };
            let (issuer, id, secret) = (&from.token_url, &from.client_id, source(&from.client_secret));
            let scope = if from.scope.is_empty() { String::new() } else { format!(", scope {}", from.scope) };
            format!("bearer token from {issuer}, client {id} ({style}), secret from {secret}{scope}")
        }
        Auth::Jwt(from) => {
            let lifetime = from.lifetime;
            format!(
                "{:?} token of our own in {}, for {lifetime:?}, key from {}",
                from.algorithm,
                from.header,
                source(&from.key)
            )
        }
        Auth::Mtls { cert, .. } => format!("client certificate {}", cert.display()),
        Auth::Placeholder { word, headers, of } => {
            format!("instead of {word} in {}: {}", headers.join(", "), credential(of))
        }
        Auth::SigV4(from) => {
            format!("signed for {} in {} (AWS SigV4), {}", from.service, from.region, keys::shown(&from.keys))
        }
    }
}
