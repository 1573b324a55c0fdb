//! How many requests of a route ended with which (method, code, reason).
//!
//! Only triples that occur have an entry: a sorted list behind a lock that only a scrape contends for, and the
//! entry of the last request is looked at first. An upstream that invents statuses cannot grow it without end:
//! beyond 512 entries a new triple's code becomes `other`, of which there are methods x reasons at most.

use exchange::ErrorKind;
use http::Method;
use parking_lot::Mutex;

use crate::labels;

/// Entries before codes are folded.
const CAP: usize = 512;

/// Requests by (method, code, reason).
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    sorted: Vec<(Key, u64)>,
    last: usize,
}

/// Method, code and reason as numbers, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u32);

impl Key {
    const fn new(method: u8, code: u16, reason: u8) -> Self {
        Self((method as u32) << 24 | (code as u32) << 8 | reason as u32)
    }

    const fn parts(self) -> (u8, u16, u8) {
        ((self.0 >> 24) as u8, (self.0 >> 8) as u16, self.0 as u8)
    }

    /// The same with code `other`.
    const fn folded(self) -> Self {
        let (method, _, reason) = self.parts();
        Self::new(method, 0, reason)
    }
}

impl Requests {
    pub(crate) fn add(&self, method: &Method, status: u16, reason: Option<ErrorKind>) {
        let key = Key::new(labels::method(method), labels::code(status), labels::reason(reason));
        self.0.lock().add(key, 1);
    }

    pub(crate) fn absorb(&self, other: &Self) {
        let more = other.0.lock().sorted.clone();
        let mut entries = self.0.lock();
        for (key, count) in more {
            entries.add(key, count);
        }
    }

    /// Calls `each` with method, code, reason and count.
    pub(crate) fn each(&self, mut each: impl FnMut(&str, &str, &str, u64)) {
        for (key, count) in &self.0.lock().sorted {
            let (method, code, reason) = key.parts();
            let digits = [b'0' + (code / 100) as u8, b'0' + (code / 10 % 10) as u8, b'0' + (code % 10) as u8];
            let code = if code == 0 { "other" } else { std::str::from_utf8(&digits).unwrap_or("other") };
            each(labels::method_text(method), code, labels::reason_text(reason), *count);
        }
    }
}

impl Entries {
    fn add(&mut self, key: Key, by: u64) {
        if let Some((last, count)) = self.sorted.get_mut(self.last)
            && *last == key
        {
            *count += by;
            return;
        }
        self.last = match self.find(key) {
            Ok(at) => at,
            Err(at) if self.sorted.len() < CAP => self.insert(at, key),
            Err(_) => {
                let key = key.folded();
                self.find(key).unwrap_or_else(|at| self.insert(at, key))
            }
        };
        self.sorted[self.last].1 += by;
    }

    fn find(&self, key: Key) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&key, |(key, _)| *key)
    }

    fn insert(&mut self, at: usize, key: Key) -> usize {
        self.sorted.insert(at, (key, 0));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(requests: &Requests) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        requests.each(|method, code, reason, count| all.push((format!("{method} {code} {reason}"), count)));
        all
    }

    #[test]
    fn each_triple_has_its_own_count() {
        let requests = Requests::default();
        for _ in 0..3 {
            requests.add(&Method::GET, 200, None);
            requests.add(&Method::POST, 502, Some(ErrorKind::Reset));
        }
        requests.add(&Method::GET, 200, None);
        requests.add(&Method::GET, 0, None);
        requests.add(&Method::GET, 999, None);

        let expected = [("GET other ", 2), ("GET 200 ", 4), ("POST 502 reset", 3)];
        assert_eq!(all(&requests), expected.map(|(key, count)| (key.to_owned(), count)));
    }

    #[test]
    fn beyond_the_cap_only_codes_are_folded_and_nothing_is_lost() {
        let requests = Requests::default();
        for method in [Method::GET, Method::PUT, Method::POST] {
            for status in 100..600 {
                requests.add(&method, status, None);
            }
        }
        requests.add(&Method::GET, 503, Some(ErrorKind::Overloaded));
        requests.add(&Method::GET, 200, None);

        let all = all(&requests);

        // 500 GET, 12 PUT, then one folded entry each for POST, PUT and the overloaded GET.
        assert_eq!(all.len(), CAP + 3);
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 1502);
        assert!(all.contains(&("GET 200 ".to_owned(), 2)));
        assert!(all.contains(&("POST other ".to_owned(), 500)), "{all:?}");
        assert!(all.contains(&("GET other overloaded".to_owned(), 1)));
    }

    #[test]
    fn absorbing_adds() {
        let (sum, part) = (Requests::default(), Requests::default());
        part.add(&Method::GET, 200, None);
        sum.add(&Method::GET, 404, None);

        sum.absorb(&part);
        sum.absorb(&part);

        assert_eq!(all(&sum), [("GET 200 ".to_owned(), 2), ("GET 404 ".to_owned(), 1)]);
    }
}
