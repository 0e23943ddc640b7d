//! How long a connection of the operating system may live: as long as the device at its other end is let in.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};

/// A connection's share of its own end. It can be ended from outside through [`Life::end`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Life(Arc<Mutex<Inner>>);

/// The other end of a [`Life`], which does not keep it.
#[derive(Debug, Clone)]
pub(crate) struct Reins(Weak<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    is_over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Life {
    pub(crate) fn reins(&self) -> Reins {
        Reins(Arc::downgrade(&self.0))
    }

    /// # Errors
    /// [`io::ErrorKind::ConnectionReset`] once it is over; whoever waits is woken then.
    pub(crate) fn check_read(&self, cx: &Context<'_>) -> io::Result<()> {
        self.check(|inner| inner.reader = Some(cx.waker().clone()))
    }

    /// # Errors
    /// As [`Self::check_read`].
    pub(crate) fn check_write(&self, cx: &Context<'_>) -> io::Result<()> {
        self.check(|inner| inner.writer = Some(cx.waker().clone()))
    }

    fn check(&self, wait: impl FnOnce(&mut Inner)) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.is_over {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        wait(&mut inner);
        Ok(())
    }
}

impl Reins {
    /// The connection is still there.
    pub(crate) fn holds(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Ends the connection.
    pub(crate) fn end(&self) {
        let Some(inner) = self.0.upgrade() else {
            return;
        };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.is_over = true;
        let waiting = [inner.reader.take(), inner.writer.take()];
        drop(inner);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_and_told_that_it_is_over() {
        let life = Life::default();
        let cx = Context::from_waker(Waker::noop());
        life.check_read(&cx).unwrap();
        life.check_write(&cx).unwrap();
        let reins = life.reins();
        assert!(reins.holds());
        reins.end();
        let over = life.check_read(&cx).unwrap_err();
        assert_eq!(over.kind(), io::ErrorKind::ConnectionReset);
        assert!(life.check_write(&cx).is_err());
        drop(life);
        assert!(!reins.holds());
    }
}
