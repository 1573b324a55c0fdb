//! Answers that are kept for a time when there are none: bounded in number and bytes, the least recently used go first.
//!
//! One for a route, shared by all workers and kept across configurations; the bounds come with each answer. A target
//! has an answer for each combination of the fields that its `Vary` names, up to a few. What a body holds while it
//! passes is counted as well, so all of it together stays below twice the bytes that are configured.
//!
//! Cost: a lock, held for a look-up; nothing is copied under it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use policy::Tick;

use super::terms::{Age, Terms};

/// Of one target.
const VARIANTS: usize = 16;
/// What an entry costs besides its text.
const OVERHEAD: usize = 256;
/// What a field costs besides its text.
const FIELD: usize = 64;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Answers.
    pub entries: usize,
    /// All of them together.
    pub bytes: usize,
    /// The body of one.
    pub body: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Store {
    kept: Mutex<Kept>,
    passing: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    targets: HashMap<Arc<str>, Vec<Variant>>,
    /// By when it was used last.
    order: BTreeMap<u64, Arc<str>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Variant {
    used: u64,
    weight: usize,
    answer: Arc<Answer>,
}

/// An answer that is kept.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) terms: Terms,
    pub(super) asked: Asked,
}

/// What a request said in the fields that an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked(Vec<(HeaderName, Vec<HeaderValue>)>);

impl Asked {
    pub(super) fn of(names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        let values = |name: &HeaderName| request.get_all(name).iter().cloned().collect();
        Self(names.into_iter().map(|name| (name.clone(), values(&name))).collect())
    }

    fn fits(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, values)| request.get_all(name).iter().eq(values))
    }

    fn weight(&self) -> usize {
        let values = |values: &[HeaderValue]| values.iter().map(|value| value.len() + FIELD).sum::<usize>();
        self.0.iter().map(|(name, all)| name.as_str().len() + FIELD + values(all)).sum()
    }
}

impl Answer {
    fn weight(&self, target: &str) -> usize {
        let fields = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
        OVERHEAD + target.len() + self.body.len() + fields.sum::<usize>() + self.asked.weight()
    }
}

impl Store {
    /// Keeps an answer in place of those that the same request would have been given.
    pub(super) fn put(&self, target: &Arc<str>, answer: Answer, request: &HeaderMap, bounds: Bounds) {
        let weight = answer.weight(target);
        let mut kept = self.kept.lock();
        kept.remove(target, |variant| variant.answer.asked.fits(request) || variant.answer.asked == answer.asked);
        if weight > bounds.bytes || bounds.entries == 0 {
            return;
        }
        kept.crowded(target);
        while kept.order.len() >= bounds.entries || kept.bytes + weight > bounds.bytes {
            kept.evict();
        }
        let used = kept.tick(target);
        kept.bytes += weight;
        kept.targets.entry(Arc::clone(target)).or_default().push(Variant { used, weight, answer: Arc::new(answer) });
    }

    /// The answer that may be given to a request with this head now, and its age.
    pub(super) fn find(&self, target: &Arc<str>, request: &HeaderMap, now: Tick) -> Option<(Arc<Answer>, Age)> {
        let mut kept = self.kept.lock();
        kept.remove(target, |variant| variant.answer.terms.is_over(now));
        let variant = kept.targets.get(target)?.iter().find(|variant| variant.answer.asked.fits(request))?;
        let (answer, before) = (Arc::clone(&variant.answer), variant.used);
        let age = answer.terms.allow(request, now)?;
        kept.order.remove(&before);
        let used = kept.tick(target);
        let variants = kept.targets.get_mut(target)?;
        variants.iter_mut().filter(|variant| variant.used == before).for_each(|variant| variant.used = used);
        Some((answer, age))
    }

    /// Forgets what a request with this head would be given; without one, all of the target.
    pub(super) fn forget(&self, target: &Arc<str>, request: Option<&HeaderMap>) {
        let fits = |variant: &Variant| request.is_none_or(|request| variant.answer.asked.fits(request));
        self.kept.lock().remove(target, fits);
    }

    /// Makes room for so many more bytes of a body that passes; false if there is none.
    pub(super) fn reserve(&self, bytes: usize, bounds: Bounds) -> bool {
        let fits = |passing: usize| passing.checked_add(bytes).filter(|all| *all <= bounds.bytes);
        self.passing.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// Gives it back.
    pub(super) fn release(&self, bytes: usize) {
        self.passing.fetch_sub(bytes, Relaxed);
    }

    /// Answers and bytes that are kept.
    pub fn size(&self) -> (usize, usize) {
        let kept = self.kept.lock();
        (kept.order.len(), kept.bytes)
    }

    #[cfg(test)]
    pub(super) fn passing(&self) -> usize {
        self.passing.load(Relaxed)
    }
}

impl Kept {
    /// The next number, given to `target`.
    fn tick(&mut self, target: &Arc<str>) -> u64 {
        self.next += 1;
        self.order.insert(self.next, Arc::clone(target));
        self.next
    }

    fn remove(&mut self, target: &Arc<str>, goes: impl Fn(&Variant) -> bool) {
        let Some(variants) = self.targets.get_mut(target) else { return };
        variants.retain(|variant| {
            let goes = goes(variant);
            if goes {
                self.order.remove(&variant.used);
                self.bytes -= variant.weight;
            }
            !goes
        });
        if variants.is_empty() {
            self.targets.remove(target);
        }
    }

    /// A target with as many variants as it may have loses the one least recently used.
    fn crowded(&mut self, target: &Arc<str>) {
        let variants = self.targets.get(target).map(Vec::as_slice).unwrap_or_default();
        if variants.len() >= VARIANTS
            && let Some(oldest) = variants.iter().map(|variant| variant.used).min()
        {
            self.remove(target, |variant| variant.used == oldest);
        }
    }

    fn evict(&mut self) {
        if let Some((oldest, target)) = self.order.iter().next().map(|(used, target)| (*used, Arc::clone(target))) {
            self.remove(&target, |variant| variant.used == oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exchange::clock;

    use super::*;

    const BOUNDS: Bounds = Bounds { entries: 3, bytes: 10_000, body: 10_000 };

    fn answer(body: &'static str, vary: &[&'static str], request: &HeaderMap) -> Answer {
        let headers = HeaderMap::new();
        let most = Duration::from_secs(60);
        let terms = Terms::of(&HeaderMap::new(), StatusCode::OK, &headers, most, clock::now()).expect("kept");
        let names = vary.iter().map(|name| HeaderName::from_static(name)).collect();
        Answer { status: StatusCode::OK, headers, body: body.into(), terms, asked: Asked::of(names, request) }
    }

    fn put(store: &Store, target: &str, body: &'static str, bounds: Bounds) {
        store.put(&target.into(), answer(body, &[], &HeaderMap::new()), &HeaderMap::new(), bounds);
    }

    fn found(store: &Store, target: &str, request: &HeaderMap) -> Option<Bytes> {
        store.find(&target.into(), request, clock::now()).map(|(answer, _)| answer.body.clone())
    }

    fn has(store: &Store, target: &str) -> bool {
        found(store, target, &HeaderMap::new()).is_some()
    }

    #[test]
    fn the_least_recently_used_goes_when_there_are_too_many() {
        let store = Store::default();
        for target in ["/a", "/b", "/c"] {
            put(&store, target, "x", BOUNDS);
        }
        assert_eq!(store.size().0, 3);
        assert!(has(&store, "/a"));

        put(&store, "/d", "x", BOUNDS);

        assert_eq!(["/a", "/b", "/c", "/d"].map(|target| has(&store, target)), [true, false, true, true]);
        put(&store, "/e", "x", Bounds { entries: 1, ..BOUNDS });
        assert_eq!(store.size().0, 1, "fewer by a reload");
    }

    #[test]
    fn all_together_stay_below_their_bytes() {
        let store = Store::default();
        put(&store, "/a", "0123456789", BOUNDS);
        let (_, one) = store.size();
        for (bytes, kept) in [(2 * one - 1, [false, true]), (2 * one, [true, true])] {
            let store = Store::default();
            for target in ["/a", "/b"] {
                put(&store, target, "0123456789", Bounds { bytes, ..BOUNDS });
            }
            assert_eq!(["/a", "/b"].map(|target| has(&store, target)), kept, "{bytes}");
            assert!(store.size().1 <= bytes);
        }
        put(&store, "/a", "0123456789", Bounds { bytes: one - 1, ..BOUNDS });
        assert_eq!(store.size(), (0, 0), "and what alone is too much replaces nothing, but is not the answer any more");
    }

    #[test]
    fn each_combination_of_what_vary_names_has_its_own_answer() {
        let (store, target) = (Store::default(), Arc::<str>::from("/a"));
        let request = |values: &[&'static str]| -> HeaderMap {
            values.iter().map(|value| (HeaderName::from_static("accept"), HeaderValue::from_static(value))).collect()
        };
        for (body, values) in [("one", &["a"][..]), ("two", &["a", "b"]), ("none", &[])] {
            let request = request(values);
            store.put(&target, answer(body, &["accept"], &request), &request, BOUNDS);
        }

        assert_eq!(store.size().0, 3);
        for (body, values) in [("one", &["a"][..]), ("two", &["a", "b"]), ("none", &[])] {
            assert_eq!(found(&store, "/a", &request(values)).as_deref(), Some(body.as_bytes()));
        }
        assert_eq!(found(&store, "/a", &request(&["b", "a"])), None);
        store.forget(&target, Some(&request(&["a"])));
        assert_eq!(store.size().0, 2);
        store.forget(&target, None);
        assert_eq!(store.size(), (0, 0));
    }

    #[test]
    fn a_target_has_only_so_many() {
        let (store, target) = (Store::default(), Arc::<str>::from("/a"));
        for number in 0..=VARIANTS {
            let request: HeaderMap =
                [(HeaderName::from_static("x-a"), HeaderValue::from(number))].into_iter().collect();
            store.put(&target, answer("x", &["x-a"], &request), &request, Bounds { entries: 100, ..BOUNDS });
        }

        assert_eq!(store.size().0, VARIANTS);
    }

    #[test]
    fn a_newer_answer_replaces_the_older() {
        let store = Store::default();
        put(&store, "/a", "old", BOUNDS);
        put(&store, "/a", "new", BOUNDS);

        assert_eq!((store.size().0, found(&store, "/a", &HeaderMap::new()).as_deref()), (1, Some(&b"new"[..])));
    }

    #[test]
    fn what_is_too_old_is_forgotten_when_it_is_looked_for() {
        let store = Store::default();
        put(&store, "/a", "x", BOUNDS);

        let later = clock::now() + Duration::from_secs(61);
        assert!(store.find(&"/a".into(), &HeaderMap::new(), later).is_none());

        assert_eq!(store.size(), (0, 0));
    }

    #[test]
    fn what_passes_is_bounded_too() {
        let store = Store::default();

        assert!(store.reserve(6_000, BOUNDS) && !store.reserve(4_001, BOUNDS) && store.reserve(4_000, BOUNDS));
        store.release(10_000);

        assert_eq!(store.passing(), 0);
    }
}
