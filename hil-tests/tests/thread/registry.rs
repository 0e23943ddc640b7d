//! A registry without TLS that is honest, lies, or is not there.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use lightship_core::id::Digest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Honest,
    /// Hangs up on everybody.
    Down,
    /// Other bytes of the same length, whatever is asked for.
    OtherBytes,
    /// Layers with more behind their end.
    Longer,
}

#[derive(Default)]
struct Shelf {
    blobs: HashMap<String, Vec<u8>>,
    manner: Manner,
}

/// See the module. It ends with the runtime.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

/// What this machine is, in OCI's words.
pub(crate) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let shared = shelf.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, shared.clone()));
            }
        });
        Self { address, shelf }
    }

    /// As images name it.
    pub(crate) fn repository(&self) -> String {
        format!("{}/harbour", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.shelf.lock().unwrap().manner = manner;
    }

    fn add(&self, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", Digest::of(bytes));
        let mut shelf = self.shelf.lock().unwrap();
        shelf.blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// An image of busybox and so many bytes more, and no two numbers give the same layer: its layer, its configuration, its manifest.
    pub(crate) fn image(&self, architecture: &str, number: u8, more: usize) -> [Vec<u8>; 3] {
        let mut layer = tar::Builder::new(Vec::new());
        layer
            .append_path_with_name("/bin/busybox", "bin/busybox")
            .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(more as u64);
        header.set_mode(0o644);
        let bytes = vec![number; more];
        let name = format!("data-{number}");
        layer
            .append_data(&mut header, name, bytes.as_slice())
            .unwrap();
        self.image_of(architecture, layer.into_inner().unwrap(), "tar")
    }

    /// An image of so many entries, the first of which are empty files; nobody is to unpack it to the end.
    pub(crate) fn crowd(&self, architecture: &str, entries: usize, files: usize) -> [Vec<u8>; 3] {
        self.image_of(architecture, crowd(entries, files), "tar+gzip")
    }

    fn image_of(&self, architecture: &str, layer: Vec<u8>, kind: &str) -> [Vec<u8>; 3] {
        let digest = self.add(&layer);
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.add(&config), "size": config.len()},
            "layers": [{"mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"), "digest": digest, "size": layer.len()}],
        });
        let manifest = manifest.to_string().into_bytes();
        self.add(&manifest);
        [layer, config, manifest]
    }
}

/// A packed layer of so many empty files, a thousand in each folder, and then of device nodes, which engines
/// leave out: they count, and cost no time.
fn crowd(entries: usize, files: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    // Names and kinds are added to it.
    header.as_mut_bytes()[156] = 0;
    header.as_mut_bytes()[148..156].fill(b' ');
    let rest: u32 = header.as_bytes().iter().map(|byte| u32::from(*byte)).sum();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for number in 0..entries {
        let (folder, kind) = match number < files {
            true => ("all", b'0'),
            false => ("dev", b'3'),
        };
        let name = format!("{folder}/{:04}/{:03}", number / 1000, number % 1000);
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[156] = kind;
        let sum = rest + u32::from(kind) + name.bytes().map(u32::from).sum::<u32>();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        packed.write_all(bytes).unwrap();
    }
    packed.write_all(&[0; 1024]).unwrap();
    packed.finish().unwrap()
}

/// One request, then it hangs up.
async fn serve(mut client: TcpStream, shelf: Arc<Mutex<Shelf>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) if head.len() < 8192 => head.push(byte),
            _ => return,
        }
    }
    let answer = {
        let shelf = shelf.lock().unwrap();
        answer(&String::from_utf8_lossy(&head), &shelf)
    };
    // Whoever has found out a lie hangs up first.
    let _ = client.write_all(&answer).await;
    let _ = client.shutdown().await;
}

fn answer(head: &str, shelf: &Shelf) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let known = path
        .rsplit('/')
        .next()
        .and_then(|name| shelf.blobs.get(name));
    let mut body = match (shelf.manner, known) {
        (Manner::Down, _) => return Vec::new(),
        (_, None) => return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        (Manner::OtherBytes, Some(bytes)) => bytes.iter().map(|byte| byte ^ 0x55).collect(),
        (Manner::Longer, Some(bytes)) if path.contains("/blobs/") => {
            [bytes, &[7; 100][..]].concat()
        }
        (Manner::Longer | Manner::Honest, Some(bytes)) => bytes.clone(),
    };
    // It knows no ranges: a device has to begin again then.
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.append(&mut body);
    answer
}
