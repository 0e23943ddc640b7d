//! A way to a broker that can be taken away.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Gangway {
    pub(crate) address: SocketAddr,
    broker: Arc<OnceLock<SocketAddr>>,
    work: JoinHandle<()>,
}

impl Gangway {
    /// It leads nowhere yet.
    pub(crate) async fn build() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let broker = Arc::new(OnceLock::new());
        let work = tokio::spawn(lead(listener, Arc::clone(&broker)));
        Self {
            address,
            broker,
            work,
        }
    }

    pub(crate) fn lead_to(&self, broker: SocketAddr) {
        self.broker.set(broker).unwrap();
    }

    /// Breaks every connection, and takes no new one.
    pub(crate) async fn take_away(self) {
        self.work.abort();
        assert!(self.work.await.unwrap_err().is_cancelled());
        let refused = TcpStream::connect(self.address).await;
        assert!(refused.is_err(), "nobody listens any more");
    }
}

/// Leads connections to the broker; they break when this is dropped.
async fn lead(listener: TcpListener, broker: Arc<OnceLock<SocketAddr>>) {
    let mut crossings = JoinSet::new();
    loop {
        let (mut here, _) = listener.accept().await.unwrap();
        let broker = broker.get().copied();
        crossings.spawn(async move {
            let mut there = TcpStream::connect(broker?).await.ok()?;
            copy_bidirectional(&mut here, &mut there).await.ok()
        });
    }
}
