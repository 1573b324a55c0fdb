//! Files that belong together, looked at again and again: what they hold now counts once it is the same twice.
//!
//! Whoever replaces a certificate and its key cannot do both at once, and may write slowly. A look between the two
//! sees something that is gone at the next one, and it is never used, nor complained of.

/// What was seen, and what is in use.
pub(crate) struct Watch<T> {
    used: T,
    pending: Option<T>,
    /// `pending` was given out and is not asked about again.
    judged: bool,
}

impl<T: PartialEq> Watch<T> {
    /// In use now.
    pub(crate) fn new(used: T) -> Self {
        Self { used, pending: None, judged: false }
    }

    /// Another look; something new that was the same twice, once.
    pub(crate) fn look(&mut self, now: T) -> Option<&T> {
        if now == self.used {
            self.pending = None;
        } else if self.pending.as_ref() != Some(&now) {
            (self.pending, self.judged) = (Some(now), false);
        } else if !self.judged {
            self.judged = true;
            return self.pending.as_ref();
        }
        None
    }

    /// What is in use is what lies there.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// What was given out last is in use from now on.
    pub(crate) fn adopt(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.used = pending;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_for_one_look_is_not_read() {
        let mut watch = Watch::new("old");

        assert_eq!(watch.look("half"), None);
        assert_eq!(watch.look("new"), None);
        assert_eq!(watch.look("new"), Some(&"new"));
        watch.adopt();

        assert_eq!(watch.look("new"), None);
        assert!(watch.is_settled());
        assert_eq!(watch.look("old"), None);
        assert_eq!(watch.look("old"), Some(&"old"));
    }

    #[test]
    fn what_was_refused_is_not_asked_about_again_until_it_changes() {
        let mut watch = Watch::new("old");
        watch.look("bad");

        assert_eq!(watch.look("bad"), Some(&"bad"));
        assert_eq!(watch.look("bad"), None);
        assert!(!watch.is_settled());
        assert_eq!(watch.look("worse"), None);
        assert_eq!(watch.look("worse"), Some(&"worse"));

        assert_eq!(watch.look("old"), None);
        assert!(watch.is_settled());
    }
}
