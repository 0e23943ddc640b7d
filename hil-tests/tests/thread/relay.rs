//! What lies between a device and its fleet, and can be cut: TCP for HTTPS, UDP for the tunnel.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

/// One line that can be cut.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    is_whole: watch::Sender<bool>,
}

impl Relay {
    /// A line to a TCP port.
    pub(crate) async fn tcp(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_whole = watch::Sender::new(true);
        let state = is_whole.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to, state.clone()));
            }
        });
        Self { address, is_whole }
    }

    /// A line to a UDP port.
    pub(crate) async fn udp(to: SocketAddr) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = front.local_addr().unwrap();
        let is_whole = watch::Sender::new(true);
        let state = is_whole.subscribe();
        tokio::spawn(pass(Arc::new(front), to, state));
        Self { address, is_whole }
    }

    /// Cuts it: what is under way breaks off.
    pub(crate) fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, mut state: watch::Receiver<bool>) {
    let whole = *state.borrow_and_update();
    let Some(mut server) = (match whole {
        true => TcpStream::connect(to).await.ok(),
        false => None,
    }) else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = state.changed() => {}
    }
}

async fn pass(front: Arc<UdpSocket>, to: SocketAddr, state: watch::Receiver<bool>) {
    let backs: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((length, from)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        if !*state.borrow() {
            continue;
        }
        let known = backs.lock().unwrap().get(&from).cloned();
        let back = match known {
            Some(back) => back,
            None => {
                let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                backs.lock().unwrap().insert(from, back.clone());
                tokio::spawn(answer(front.clone(), back.clone(), from, state.clone()));
                back
            }
        };
        let _ = back.send_to(&buffer[..length], to).await;
    }
}

async fn answer(
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    from: SocketAddr,
    state: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65536];
    loop {
        if let Ok(length) = back.recv(&mut buffer).await
            && *state.borrow()
        {
            let _ = front.send_to(&buffer[..length], from).await;
        }
    }
}
