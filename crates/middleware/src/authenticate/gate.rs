//! The identities of a route, and what becomes of a credential before them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use exchange::identity::Principal;
use exchange::{Error, ErrorKind, Exchange, clock};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use policy::Tick;

use super::presented::{self, Presented};
use super::{Identity, Way, basic};

/// For an issuer's keys, or for a password's turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who may show themselves here.
#[derive(Clone, Debug)]
pub struct Params {
    /// In the order in which they are asked.
    pub identities: Vec<Arc<Identity>>,
    /// A request that shows nothing is refused.
    pub required: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    identities: Vec<Arc<Identity>>,
    required: bool,
    proxy: Challenges,
    origin: Challenges,
}

/// For who shows nothing, and for who shows a token that is not good (RFC 6750 section 3.1).
#[derive(Debug)]
struct Challenges {
    missing: Arc<[HeaderValue]>,
    invalid: Arc<[HeaderValue]>,
}

/// What is known at once.
pub enum Checked {
    /// Nothing was shown, or it had been before.
    Through,
    /// Accepted.
    Known(Known),
    /// Not accepted.
    Refused(Error),
    /// It takes a while.
    Later(Pending),
}

/// Who it is.
pub struct Known {
    /// What was shown.
    pub principal: Arc<Principal>,
    /// The field that goes no further.
    pub spent: Option<HeaderName>,
}

/// A credential that was read.
pub struct Pending {
    value: HeaderValue,
    field: Option<HeaderName>,
}

/// What one identity makes of it.
enum Verdict {
    Accepted(Arc<Principal>),
    Refused(Cow<'static, str>),
    /// Not known at once.
    Unsettled,
}

impl Gate {
    /// A gate with these identities.
    pub fn new(params: Params) -> Self {
        let Params { identities, required } = params;
        let (proxy, origin) = (Challenges::of(&identities, true), Challenges::of(&identities, false));
        Self { identities, required, proxy, origin }
    }

    /// Open to whoever one of these is open to; asks for something if one of them does.
    pub fn any_of(gates: &[&Arc<Self>]) -> Self {
        let mut identities: Vec<Arc<Identity>> = Vec::new();
        for identity in gates.iter().flat_map(|gate| &gate.identities) {
            if !identities.iter().any(|known| Arc::ptr_eq(known, identity)) {
                identities.push(Arc::clone(identity));
            }
        }
        Self::new(Params { identities, required: gates.iter().any(|gate| gate.required) })
    }

    /// The names of its identities, and whether one must be shown.
    pub fn asks(&self) -> (Vec<Arc<str>>, bool) {
        (self.identities.iter().map(|one| Arc::clone(&one.name)).collect(), self.required)
    }

    /// Looks at what a request shows.
    pub fn check(&self, exchange: &Exchange, headers: &HeaderMap) -> Checked {
        let now = exchange.now();
        if exchange.head.door.is_proxy() {
            return match exchange.credential() {
                Some(value) => match self.recall(value, None, now) {
                    Some(known) => Checked::Known(known),
                    None => self.judge(exchange, value, None, now),
                },
                None if self.is_known(exchange) || !self.required => Checked::Through,
                None => Checked::Refused(self.missing(exchange)),
            };
        }
        for identity in &self.identities {
            let mut values = headers.get_all(&identity.header).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Checked::Refused(self.invalid(exchange, "there is more than one credential".into()));
            }
            if let Some(known) = self.recall(value, Some(&identity.header), now) {
                return Checked::Known(known);
            }
            let presented = presented::of(&identity.header, value);
            if identity.knows(&presented, false) || matches!(presented, Presented::Broken(_)) {
                return self.judge(exchange, value, Some(&identity.header), now);
            }
        }
        if self.required { Checked::Refused(self.missing(exchange)) } else { Checked::Through }
    }

    /// A token that was good before is known by its bytes alone; it is not even looked at otherwise.
    fn recall(&self, value: &HeaderValue, field: Option<&HeaderName>, now: Tick) -> Option<Known> {
        let token = presented::token(field, value)?;
        let is_there = |one: &&Arc<Identity>| field.is_none_or(|field| one.header == *field);
        self.identities.iter().filter(is_there).find_map(|identity| match &identity.way {
            Way::Jwt(jwt) => jwt.recall(token, now).map(|principal| known(identity, principal, field)),
            Way::Keys(_) | Way::Basic(_) => None,
        })
    }

    /// Whether what was shown is what this one asks for.
    ///
    /// # Errors
    /// `unauthenticated`: something else was accepted.
    pub fn holds(&self, exchange: &Exchange) -> Result<(), Error> {
        if !self.required || self.is_known(exchange) {
            return Ok(());
        }
        let why = "what is inside this tunnel is not seen, and not every route of its host accepts what was shown";
        Err(Error::new(ErrorKind::Unauthenticated)
            .with_detail(why)
            .with_challenges(Arc::clone(&self.challenges(exchange).missing)))
    }

    /// Inside a tunnel: its CONNECT was accepted by one of these.
    fn is_known(&self, exchange: &Exchange) -> bool {
        exchange.principal().is_some_and(|known| self.identities.iter().any(|one| one.name == known.by))
    }

    /// The identities that `presented` may be meant for.
    fn asked<'g>(
        &'g self,
        presented: &'g Presented<'_>,
        field: Option<&'g HeaderName>,
    ) -> impl Iterator<Item = &'g Arc<Identity>> {
        let is_there = move |one: &&Arc<Identity>| field.is_none_or(|field| one.header == *field);
        self.identities.iter().filter(is_there).filter(move |one| one.knows(presented, field.is_none()))
    }

    fn judge(&self, exchange: &Exchange, value: &HeaderValue, field: Option<&HeaderName>, now: Tick) -> Checked {
        let presented = match field {
            Some(field) => presented::of(field, value),
            None => presented::read(value),
        };
        if let Presented::Broken(why) = presented {
            return Checked::Refused(self.invalid(exchange, why.into()));
        }
        let (mut why, mut unsettled) = (None, false);
        for identity in self.asked(&presented, field) {
            match identity.verdict(&presented, now) {
                Verdict::Accepted(principal) => return Checked::Known(known(identity, principal, field)),
                Verdict::Refused(refusal) => why = why.or(Some(refusal)),
                Verdict::Unsettled => unsettled = true,
            }
        }
        if unsettled {
            return Checked::Later(Pending { value: value.clone(), field: field.cloned() });
        }
        let why = why.unwrap_or(Cow::Borrowed("no identity of this route takes a credential of this form"));
        Checked::Refused(self.invalid(exchange, why))
    }

    /// Waits for what a verdict needs. Cancel-safe.
    ///
    /// # Errors
    /// `unauthenticated`, or `overloaded` if too many passwords wait.
    pub async fn settle(&self, pending: Pending, exchange: &Exchange) -> Result<Known, Error> {
        let Pending { value, field } = pending;
        let presented = match &field {
            Some(field) => presented::of(field, &value),
            None => presented::read(&value),
        };
        let until = exchange.now() + PATIENCE;
        let until = exchange.deadline().map_or(until, |deadline| until.min(deadline));
        exchange.wait();
        let mut why = None;
        for identity in self.asked(&presented, field.as_ref()) {
            match identity.settle(&presented, until).await? {
                Ok(principal) => return Ok(known(identity, principal, field.as_ref())),
                Err(refusal) => why = why.or(Some(refusal)),
            }
        }
        Err(self.invalid(exchange, why.unwrap_or_default()))
    }

    fn challenges(&self, exchange: &Exchange) -> &Challenges {
        if exchange.head.door.is_proxy() { &self.proxy } else { &self.origin }
    }

    fn missing(&self, exchange: &Exchange) -> Error {
        let names: Vec<&str> = self.identities.iter().map(|one| &*one.name).collect();
        Error::new(ErrorKind::Unauthenticated)
            .with_detail(format!("nothing was shown that {} could accept", names.join(" or ")))
            .with_challenges(Arc::clone(&self.challenges(exchange).missing))
    }

    fn invalid(&self, exchange: &Exchange, why: Cow<'static, str>) -> Error {
        Error::new(ErrorKind::Unauthenticated)
            .with_detail(why)
            .with_challenges(Arc::clone(&self.challenges(exchange).invalid))
    }
}

fn known(identity: &Identity, principal: Arc<Principal>, field: Option<&HeaderName>) -> Known {
    Known { principal, spent: field.filter(|_| !identity.forward).cloned() }
}

impl Identity {
    /// A credential of this form may be meant for it.
    fn knows(&self, presented: &Presented<'_>, proxy: bool) -> bool {
        match (&self.way, presented) {
            (Way::Jwt(_) | Way::Keys(_), Presented::Bearer(_)) | (Way::Basic(_), Presented::Basic { .. }) => true,
            // The user information of a proxy's URL is all that most programs can be given.
            (Way::Keys(_), Presented::Basic { .. }) => proxy,
            _ => false,
        }
    }

    fn verdict(&self, presented: &Presented<'_>, now: Tick) -> Verdict {
        let verdict = match (&self.way, presented) {
            (Way::Jwt(jwt), Presented::Bearer(token)) => match jwt.verify(token, now) {
                Ok(principal) => Ok(principal),
                Err(refusal) if jwt.may_learn(&refusal, now + PATIENCE) => return Verdict::Unsettled,
                Err(refusal) => Err(refusal.shown(jwt)),
            },
            (Way::Keys(keys), Presented::Bearer(key)) => keys.verify(key),
            (Way::Keys(keys), Presented::Basic { password, .. }) => keys.verify(password),
            (Way::Basic(users), Presented::Basic { user, password }) => match users.known(user, password) {
                basic::Quick::Known(principal) => Ok(principal),
                basic::Quick::Impossible(why) => Err(why.into()),
                basic::Quick::Unknown => return Verdict::Unsettled,
            },
            _ => Err(Cow::Borrowed("a credential of another form")),
        };
        verdict.map_or_else(Verdict::Refused, Verdict::Accepted)
    }

    async fn settle(
        &self,
        presented: &Presented<'_>,
        until: Tick,
    ) -> Result<Result<Arc<Principal>, Cow<'static, str>>, Error> {
        match (&self.way, presented) {
            (Way::Jwt(jwt), Presented::Bearer(token)) => Ok(jwt.learnt(token, until).await),
            (Way::Basic(users), Presented::Basic { user, password }) => {
                basic::Users::verify(users, user, password, until).await
            }
            _ => Ok(match self.verdict(presented, clock::now()) {
                Verdict::Accepted(principal) => Ok(principal),
                Verdict::Refused(why) => Err(why),
                Verdict::Unsettled => Err(Cow::Borrowed("the credential is not known")),
            }),
        }
    }

    /// What asks for it, without and with the word that a token was not good.
    fn challenge(&self, proxy: bool, invalid: bool) -> String {
        let bearer =
            if invalid { "Bearer realm=\"attache\", error=\"invalid_token\"" } else { "Bearer realm=\"attache\"" };
        match &self.way {
            Way::Basic(_) => BASIC.into(),
            Way::Keys(_) if proxy => BASIC.into(),
            Way::Jwt(_) | Way::Keys(_) if proxy || self.header == header::AUTHORIZATION => bearer.into(),
            // No scheme is registered for a header of its own; a 401 needs a challenge all the same.
            Way::Jwt(_) | Way::Keys(_) => format!("ApiKey realm=\"attache\", header=\"{}\"", self.header),
        }
    }
}

const BASIC: &str = "Basic realm=\"attache\", charset=\"UTF-8\"";

impl Challenges {
    fn of(identities: &[Arc<Identity>], proxy: bool) -> Self {
        let all = |invalid: bool| {
            let mut texts: Vec<String> = Vec::new();
            for identity in identities {
                let text = identity.challenge(proxy, invalid);
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            texts.into_iter().filter_map(|text| HeaderValue::try_from(text).ok()).collect()
        };
        Self { missing: all(false), invalid: all(true) }
    }
}
