//! MQTT by hand: the few packets that a test needs to send which no client would.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A CONNECT of MQTT 5 with a clean start.
pub(crate) fn connect(client: &str, user: &str, password: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0b1100_0010, 0, 60, 0];
    for text in [client, user, password] {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.as_bytes());
    }
    let mut packet = vec![0x10];
    let mut len = body.len();
    while len >= 0x80 {
        packet.push((len % 0x80) as u8 | 0x80);
        len /= 0x80;
    }
    packet.push(len as u8);
    packet.extend(body);
    packet
}

/// Whether a broker takes these credentials; nothing when it does not answer.
pub(crate) async fn is_admitted(broker: SocketAddr, user: &str, password: &str) -> Option<bool> {
    let mut stream = TcpStream::connect(broker).await.ok()?;
    stream
        .write_all(&connect("probe", user, password))
        .await
        .ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.ok()?;
    Some(answer[3] == 0)
}
