//! Servers of blobs, and what a device makes of them.

use super::*;

pub(super) fn a_blob_at_another_place_than_asked_is_misconduct<H: Half>() {
    run(async {
        let head =
            "HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nfghij";
        let (_link, mut reader) = keeper::<H>(head, Then::Stays).await;
        let mut into = [0; 10];
        let digest = Digest([1; 32]);
        assert_eq!(reader.read(&digest, 5, &mut into).await, Ok(5));
        let failure = BlobFailure::Link(Failure::Misbehaved(Misconduct::Sequence));
        assert_eq!(reader.read(&digest, 3, &mut into).await, Err(failure));
    });
}

pub(super) fn a_server_that_ignores_ranges_is_read_from_the_beginning<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdefghij";
        let (_link, mut reader) = keeper::<H>(head, Then::Stays).await;
        let mut into = [0; 10];
        assert_eq!(reader.read(&Digest([1; 32]), 7, &mut into).await, Ok(3));
        assert_eq!(&into[..3], b"hij");
        assert_eq!(reader.read(&Digest([1; 32]), 10, &mut into).await, Ok(0));
    });
}

pub(super) fn a_blob_that_breaks_off_is_a_broken_connection<H: Half>() {
    run(async {
        let broken = BlobFailure::Link(Failure::Unreachable(Unreachable::Broken));
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        ] {
            let (_link, mut reader) = keeper::<H>(head, Then::Closes).await;
            let mut into = [0; 10];
            let digest = Digest([1; 32]);
            assert_eq!(reader.read(&digest, 0, &mut into).await, Ok(3), "{head}");
            let read = soon("the end", reader.read(&digest, 3, &mut into)).await;
            assert_eq!(read, Err(broken), "{head}");
        }
    });
}

pub(super) fn a_blob_in_chunks_is_read_to_its_end<H: Half>() {
    run(async {
        let head =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let (_link, mut reader) = keeper::<H>(head, Then::Stays).await;
        let mut bytes: Vec<u8> = Vec::new();
        let mut into = [0; 10];
        loop {
            let offset = bytes.len() as u64;
            match reader.read(&Digest([1; 32]), offset, &mut into).await {
                Ok(0) => break,
                Ok(len) => bytes.extend(&into[..len]),
                Err(failure) => panic!("{failure}"),
            }
        }
        assert_eq!(bytes, b"abcde");
    });
}

pub(super) fn a_message_does_not_wait_for_a_blob<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        fleet.admit(&credentials(1)).await;
        let blob: Vec<u8> = (0..50_000u32).map(|at| (at / 7) as u8).collect();
        let digest = fleet.keep(blob.clone()).await;
        let (mut link, mut reader, _) = H::start(address);
        link.connect(&credentials(1), Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        let mut into = [0; 1024];
        let mut at = 0;
        for sequence in 0..3 {
            for _ in 0..3 {
                let read = reader.read(&digest, at as u64, &mut into).await;
                let len = read.unwrap();
                assert!(blob[at..at + len] == into[..len], "other bytes at {at}");
                at += len;
            }
            link.send(report(sequence)).unwrap();
            assert_eq!(soon("an outcome", link.next()).await, Event::Sent);
        }
        assert_eq!(fleet.heard().await, [report(0), report(1), report(2)]);
    });
}
