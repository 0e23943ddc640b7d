//! A listener's end of its queue.

use tokio::sync::mpsc;

use crate::Stream;

/// The other end: connections that wait to be accepted, and who made them.
pub(super) type Queue<T> = mpsc::Sender<(Stream, T)>;

type Close = Box<dyn FnOnce() + Send + Sync>;

/// Closes the port when dropped.
pub(super) struct Acceptor<T> {
    arrivals: mpsc::Receiver<(Stream, T)>,
    close: Option<Close>,
}

impl<T> Acceptor<T> {
    pub(super) fn new(
        arrivals: mpsc::Receiver<(Stream, T)>,
        close: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self {
            arrivals,
            close: Some(Box::new(close)),
        }
    }

    pub(super) async fn next(&mut self) -> Option<(Stream, T)> {
        self.arrivals.recv().await
    }
}

impl<T> std::fmt::Debug for Acceptor<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl<T> Drop for Acceptor<T> {
    fn drop(&mut self) {
        if let Some(close) = self.close.take() {
            close();
        }
    }
}
