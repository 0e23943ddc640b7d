//! Servers that say whatever a test wants.

use super::*;

/// A server that answers every request with `head` and then with `body` for ever, if it is not empty.
pub(super) async fn babbler<H: Half>(
    head: &'static str,
    body: &'static [u8],
) -> (H::Link, H::Blobs) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(head.as_bytes()).await;
                while !body.is_empty() && stream.write_all(body).await.is_ok() {}
            });
        }
    });
    let (mut link, reader, _) = H::start(address);
    link.connect(&credentials(1), Known::default());
    (link, reader)
}

/// What a server does with a connection on which it has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stays,
    Closes,
}

/// A fleet that has nothing to say and answers every request for a blob with `answer`.
pub(super) async fn keeper<H: Half>(answer: &'static str, then: Then) -> (H::Link, H::Blobs) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut request = [0; 2048];
                while let Ok(len @ 1..) = stream.read(&mut request).await {
                    let answer = match request[..len].starts_with(b"GET /device/v1/blobs/") {
                        true => answer,
                        false => "HTTP/1.1 304 Same\r\n\r\n",
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if then == Then::Closes {
                        break;
                    }
                }
            });
        }
    });
    let (mut link, reader, _) = H::start(address);
    link.connect(&credentials(1), Known::default());
    assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
    (link, reader)
}
