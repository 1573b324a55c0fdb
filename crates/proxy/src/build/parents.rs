//! The proxies that requests leave through, put into what identifies each endpoint.

use std::sync::Arc;

use config::Model;
use config::model;
use exchange::Host;
use upstream::connect::parent::{Choice, Params};
use upstream::connect::{Destination, Parent, Parents};

use super::credential::secret_key;
use super::{Scheme, bracketed};
use crate::house::rule;
use crate::snapshot::{End, Plan};
use crate::state::{SecretKey, State};

/// All of them, in their order.
///
/// # Errors
/// What cannot be used, one line each.
pub(super) fn all(model: &Model, state: &State) -> Result<Parents, String> {
    let choices = model.parents.iter().map(|from| choice(from, state)).collect::<Result<_, _>>()?;
    Ok(Parents::new(choices, model.resolve.keys().map(|host| host.as_str().into()).collect()))
}

/// The secrets they are shown.
pub(super) fn secrets(model: &Model) -> impl Iterator<Item = SecretKey> {
    model.parents.iter().filter_map(|parent| Some(secret_key(parent.auth.as_ref()?)?.1))
}

/// Gives each endpoint of a route the way that leads to it.
pub(super) fn lead(plan: &mut Plan, parents: &Parents) {
    let own = match &mut plan.end {
        End::Targets { targets, .. } => targets.as_mut_slice(),
        End::Hosts(hosts) => {
            hosts.parents = parents.clone();
            &mut []
        }
        End::Redirect { .. } | End::Respond { .. } => &mut [],
    };
    let beside = plan.asides.iter_mut().map(|aside| &mut aside.target);
    for key in own.iter_mut().chain(beside).flat_map(|target| &mut target.endpoints) {
        let Destination { host, port, parent, .. } = &mut key.destination;
        *parent = parents.of(host, *port);
    }
}

fn choice(from: &model::Parent, state: &State) -> Result<Choice, String> {
    let model::Parent { url, auth, only, except, tls } = from;
    let shown = format!("parent {}:{}", bracketed(url), url.port);
    let host = Host::parse(&bracketed(url)).map_err(|error| format!("{shown}: {error}"))?;
    let tls = match url.scheme {
        Scheme::Https => Some(state.tls(tls).map_err(|error| format!("{shown}: tls: {error}"))?),
        Scheme::Http | Scheme::H2c => None,
    };
    let at = Destination::new(host, url.port, tls).map_err(|error| format!("{shown}: {error}"))?;
    let auth = auth.as_ref().and_then(secret_key).map(|(_, key)| {
        let (source, secret) = (format!("{key:?}"), state.secret(key));
        let credential: upstream::connect::parent::Credential =
            Arc::new(move || secret.get(exchange::clock::now).map(|(value, _)| value));
        (source, credential)
    });
    Ok(Choice {
        parent: Parent::new(Params { at, auth }),
        only: only.iter().map(rule).collect(),
        except: except.iter().map(rule).collect(),
    })
}
