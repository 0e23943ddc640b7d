//! Two-phase rotation as the hub sees it (design.md, section 3.4).
//!
//! A key that is offered is accepted beside the one in use, for as long as it takes; only its first use retires the old one.
//! So a packet or a whole device may be lost at any point, and whichever of the two keys the device comes back with, it gets in.

/// The value in use, and the one that may replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted<T> {
    current: T,
    next: Option<T>,
}

impl<T: PartialEq + Clone> Accepted<T> {
    pub(super) fn new(current: T) -> Self {
        Self {
            current,
            next: None,
        }
    }

    pub(super) fn current(&self) -> &T {
        &self.current
    }

    pub(super) fn next(&self) -> Option<&T> {
        self.next.as_ref()
    }

    /// What is accepted now.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.current).chain(&self.next)
    }

    #[cfg(test)]
    fn accepts(&self, value: &T) -> bool {
        self.iter().any(|accepted| accepted == value)
    }

    /// Accepts `next` too. Returns the earlier offer that it displaces, which is accepted no longer.
    pub(super) fn offer(&mut self, next: T) -> Option<T> {
        if next == self.current {
            return self.next.take();
        }
        self.next
            .replace(next)
            .filter(|old| Some(old) != self.next.as_ref())
    }

    /// `value` was used and proved. Returns the old value when this retires it.
    pub(super) fn used(&mut self, value: &T) -> Option<T> {
        if self.next.as_ref() != Some(value) {
            return None;
        }
        let next = self.next.take()?;
        Some(std::mem::replace(&mut self.current, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_accepted_until_the_new_one_is_used() {
        let mut keys = Accepted::new('a');
        assert_eq!(keys.offer('b'), None);
        assert_eq!(keys.used(&'a'), None);
        assert!(keys.accepts(&'a') && keys.accepts(&'b'));
        assert_eq!(keys.used(&'b'), Some('a'));
        assert!(!keys.accepts(&'a') && keys.accepts(&'b'));
    }

    #[test]
    fn a_second_offer_displaces_the_first() {
        let mut keys = Accepted::new('a');
        keys.offer('b');
        assert_eq!(keys.offer('b'), None);
        assert_eq!(keys.offer('c'), Some('b'));
        assert!(keys.accepts(&'a') && !keys.accepts(&'b') && keys.accepts(&'c'));
    }

    #[test]
    fn offering_the_key_in_use_withdraws_the_offer() {
        let mut keys = Accepted::new('a');
        keys.offer('b');
        assert_eq!(keys.offer('a'), Some('b'));
        assert_eq!(keys.iter().collect::<Vec<_>>(), [&'a']);
    }

    #[test]
    fn a_key_that_was_never_offered_retires_nothing() {
        let mut keys = Accepted::new('a');
        keys.offer('b');
        assert_eq!(keys.used(&'c'), None);
        assert!(keys.accepts(&'a') && keys.accepts(&'b'));
    }
}
