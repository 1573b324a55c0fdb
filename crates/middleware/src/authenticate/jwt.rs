//! Signed tokens (RFC 7519), read as strictly as RFC 8725 asks.
//!
//! The key decides by which algorithm a token may be signed, and the configuration which of those count; what the token's
//! own header says must agree, and decides nothing. Its `kid` selects among our keys, and no other way to a key is
//! followed. Times are held against the process's clock; the crate that verifies signatures never looks at one.
//!
//! What was verified is remembered with its principal until it expires or the keys change: the whole token is the key of
//! the cache, so nothing but the very same bytes finds it. Only good tokens get in, so nobody can push others out with
//! bad ones.

mod claims;
mod jwk;
mod keyring;
mod strict;
mod token;

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use exchange::clock;
use exchange::identity::{Principal, Proof};
use foldhash::quality::RandomState;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto;
use policy::Tick;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

pub use self::claims::Terms;
pub use self::jwk::{Key, Keys};
pub use self::keyring::{Keyring, Told};
use self::token::Token;

/// Of an identity, in KiB of tokens.
const REMEMBERED: u64 = 4096;
/// Keys that are tried for a token that names none.
const TRIED: usize = 4;

/// What a token must be.
#[derive(Clone, Debug)]
pub struct Params {
    /// By which it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// What it must say.
    pub terms: Terms,
}

/// Verifies the tokens of one issuer.
pub struct Jwt {
    name: Arc<str>,
    params: Params,
    keyring: Arc<Keyring>,
    remembered: Cache<Whole, Verified, KiB, RandomState>,
}

/// A token that was good, to its last byte. It is found by its end, which is a signature and as good as random: to hash
/// all of it would cost more than everything else.
#[derive(PartialEq, Eq)]
struct Whole(Box<[u8]>);

/// A token that may be one of them.
struct Asked<'t>(&'t [u8]);

/// Bytes of the end that is hashed.
const END: usize = 32;

impl Hash for Whole {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked(&self.0).hash(state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.last_chunk::<END>().map_or(self.0, |end| end));
    }
}

impl Equivalent<Whole> for Asked<'_> {
    fn equivalent(&self, known: &Whole) -> bool {
        *self.0 == *known.0
    }
}

/// What a good token showed.
#[derive(Clone)]
struct Verified {
    /// With these keys.
    generation: u64,
    /// Before this second.
    until: u64,
    principal: Arc<Principal>,
}

#[derive(Clone)]
struct KiB;

impl Weighter<Whole, Verified> for KiB {
    fn weight(&self, token: &Whole, _: &Verified) -> u64 {
        1 + token.0.len() as u64 / 1024
    }
}

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not what it must be.
    Token(&'static str),
    /// None of our keys, of this generation, is the one it was signed with.
    Key(u64),
}

impl Refusal {
    pub(super) fn shown(&self, jwt: &Jwt) -> Cow<'static, str> {
        match self {
            Self::Token(why) => Cow::Borrowed(why),
            Self::Key(_) => jwt.keyring.shown(&jwt.name),
        }
    }
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Jwt {
    /// For the identity of this name.
    ///
    /// # Errors
    /// The bound of the cache does not fit it, which no bound of ours does.
    pub fn new(name: Arc<str>, params: Params, keyring: Arc<Keyring>) -> Result<Self, String> {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(REMEMBERED as usize)
            .weight_capacity(REMEMBERED)
            .build()
            .map_err(|error| error.to_string())?;
        let remembered = Cache::with_options(options, KiB, RandomState::default(), DefaultLifecycle::default());
        Ok(Self { name, params, keyring, remembered })
    }

    /// Its keys.
    pub const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Verifies, with the keys there are.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, text: &str, now: Tick) -> Result<Arc<Principal>, Refusal> {
        if let Some(principal) = self.recall(text.as_bytes(), now) {
            return Ok(principal);
        }
        let (verified, principal) = self.verify_anew(text, clock::wall(now).as_secs())?;
        self.remembered.insert(Whole(text.as_bytes().into()), verified);
        Ok(principal)
    }

    /// Whom a token showed that was verified before, if it still holds. What was not verified is not here, so nothing has
    /// to be known of `token`.
    pub(super) fn recall(&self, token: &[u8], now: Tick) -> Option<Arc<Principal>> {
        let verified = self.remembered.get(&Asked(token))?;
        if verified.generation == self.keyring.generation() && clock::wall(now).as_secs() < verified.until {
            return Some(verified.principal);
        }
        self.remembered.remove(&Asked(token));
        None
    }

    fn verify_anew(&self, text: &str, at: u64) -> Result<(Verified, Arc<Principal>), Refusal> {
        let token = Token::read(text).map_err(Refusal::Token)?;
        // Cheap, and says more than that a key is not known.
        let fits = self.params.terms.hold(&token.claims, at).map_err(Refusal::Token)?;
        if !self.params.algorithms.contains(&token.algorithm) {
            return Err(Refusal::Token("the token is signed by an algorithm that is not accepted"));
        }
        let keys = self.keyring.keys();
        let mut candidates = keys.candidates(token.kid.as_deref(), token.algorithm);
        if candidates.is_empty() {
            return Err(match keys.names(token.kid.as_deref()) {
                true => Refusal::Token("the key is not for the algorithm that the token is signed by"),
                false => Refusal::Key(keys.generation),
            });
        }
        if candidates.len() > TRIED {
            return Err(Refusal::Token("the token names no key, and too many could be meant"));
        }
        let signed = candidates.any(|key| is_signed(&token, key));
        if !signed {
            return Err(match &token.kid {
                // Without a name it may be of a key that is yet to come.
                None => Refusal::Key(keys.generation),
                Some(_) => Refusal::Token("the token's signature is not valid"),
            });
        }
        let name = fits.subject.unwrap_or_default().into();
        let (until, claims) = (fits.until, token.claims);
        let principal = Arc::new(Principal { proof: Proof::Jwt, by: Arc::clone(&self.name), name, claims });
        Ok((Verified { generation: keys.generation, until, principal: Arc::clone(&principal) }, principal))
    }

    /// Whether other keys than those that refused it are here, or may be by then.
    pub(super) fn may_learn(&self, refusal: &Refusal, by: Tick) -> bool {
        match refusal {
            Refusal::Token(_) => false,
            Refusal::Key(generation) => self.keyring.generation() != *generation || self.keyring.is_asked(by),
        }
    }

    /// Verifies as often as keys come, until one is known or no more come in time.
    pub(super) async fn learnt(&self, text: &str, until: Tick) -> Result<Arc<Principal>, Cow<'static, str>> {
        loop {
            let (mut news, generation) = (self.keyring.news(), self.keyring.generation());
            let refusal = match self.verify(text, clock::now()) {
                Ok(principal) => return Ok(principal),
                Err(refusal) => refusal,
            };
            if !self.may_learn(&refusal, until) {
                return Err(refusal.shown(self));
            }
            if self.keyring.generation() != generation {
                continue;
            }
            let came = tokio::time::timeout_at(clock::instant(until), news.changed()).await;
            if !matches!(came, Ok(Ok(()))) {
                return Err(refusal.shown(self));
            }
        }
    }
}

fn is_signed(token: &Token<'_>, key: &Key) -> bool {
    crypto::verify(token.signature, token.message.as_bytes(), key.verifier(), token.algorithm).unwrap_or(false)
}

/// The algorithm of this name; `none` is not one.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        // RFC 9864 section 2.2 gives it a name of its own.
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// What an unknown key waits for, at most, once the next refresh may come.
pub const EARLY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
