//! Makes tar streams and images, honest and not.

use std::io::Write as _;

use lightshipd::store::Digest;

/// A tar stream under construction.
#[derive(Clone, Default)]
pub(crate) struct Archive(Vec<u8>);

impl Archive {
    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, b'0', "", 0o644, content)
    }

    pub(crate) fn program(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, b'0', "", 0o755, content)
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(path, b'5', "", 0o755, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, b'2', target, 0o777, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, b'1', target, 0o644, b"")
    }

    pub(crate) fn device(self, path: &str) -> Self {
        self.entry(path, b'4', "", 0o666, b"")
    }

    /// A pax header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while format!("{length}{rest}").len() != length {
                length += 1;
            }
            body.push_str(&format!("{length}{rest}"));
        }
        self.entry("pax", b'x', "", 0o644, body.as_bytes())
    }

    /// GNU's long name for the next entry.
    pub(crate) fn long_name(self, name: &str) -> Self {
        let mut body = name.as_bytes().to_vec();
        body.push(0);
        self.entry("././@LongLink", b'L', "", 0o644, &body)
    }

    pub(crate) fn entry(
        mut self,
        path: &str,
        kind: u8,
        link: &str,
        mode: u32,
        content: &[u8],
    ) -> Self {
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000001");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image: blobs by digest, and the manifest's.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) artifact: Digest,
    /// Digests of the compressed layers.
    pub(crate) layers: Vec<Digest>,
}

/// Makes an image of these tar streams, with this JSON for its `config`.
pub(crate) fn image(architecture: &str, layers: &[Vec<u8>], config: &str) -> Image {
    let packed: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    image_of(architecture, packed, &diff_ids, config)
}

/// The same, when what is unpacked need not be what is described.
pub(crate) fn image_of(
    architecture: &str,
    packed: Vec<Vec<u8>>,
    diff_ids: &[Digest],
    config: &str,
) -> Image {
    let diff_ids: Vec<String> = diff_ids
        .iter()
        .map(|digest| format!("\"{digest}\""))
        .collect();
    let config = format!(
        r#"{{"os":"linux","architecture":"{architecture}","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let describe = |kind: &str, bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{}","size":{}}}"#,
            Digest::of(bytes),
            bytes.len()
        )
    };
    let described: Vec<String> = packed
        .iter()
        .map(|layer| describe("layer.v1.tar+gzip", layer))
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        describe("config.v1+json", config.as_bytes()),
        described.join(",")
    );
    let artifact = Digest::of(manifest.as_bytes());
    let layers = packed.iter().map(|layer| Digest::of(layer)).collect();
    let mut blobs = packed;
    blobs.push(config.into_bytes());
    blobs.push(manifest.into_bytes());
    Image {
        blobs,
        artifact,
        layers,
    }
}

/// This machine, in an image's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
