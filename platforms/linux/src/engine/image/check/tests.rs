//! Every field of an image's documents, given what it cannot be: one error, which says where and what would be right.

use std::cell::Cell;

use serde::de::value::Error as Stop;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde_json::{Value, json};

use super::super::{
    Artifact, Descriptor, Execution, Healthcheck, ImageConfig, Index, Manifest, Platform, RootFs,
    Written,
};
use crate::engine::Error;
use crate::store::Digest;

/// Where in a document, the field, and what it cannot be.
type Row = (&'static str, &'static str, &'static [&'static str]);

const MANIFEST: &[Row] = &[
    ("", "schemaVersion", &["1", "3", "\"2\"", "-2"]),
    (
        "",
        "mediaType",
        &[
            "7",
            "\"text/html\"",
            "\"application/vnd.oci.image.index.v1+json\"",
        ],
    ),
    ("", "config", &["7", "\"sha256:0\"", "{}"]),
    ("", "layers", &["7", "{}", "[]", "[7]", "[{}]"]),
    (
        "config",
        "mediaType",
        &["7", "\"application/vnd.oci.empty.v1+json\""],
    ),
    (
        "config",
        "digest",
        &["7", "\"sha256:00\"", "\"sha512:00\"", "null"],
    ),
    ("config", "size", &["-1", "1.5", "\"1\"", "null"]),
    ("config", "platform", &["7", "{\"os\":\"linux\"}"]),
    ("config", "annotations", &["7", "{\"a\":1}"]),
    (
        "layers.0",
        "mediaType",
        &[
            "7",
            "\"application/vnd.in-toto+json\"",
            "\"application/vnd.oci.image.layer.v1.tar+gzip+encrypted\"",
        ],
    ),
    ("layers.0", "digest", &["7", "\"sha256:XY\"", "\"md5:00\""]),
    ("layers.0", "size", &["-1", "1.5", "\"1\""]),
    (
        "layers.0",
        "platform",
        &["[]", "{\"architecture\":\"arm\"}"],
    ),
    ("layers.0", "annotations", &["[]", "{\"a\":null}"]),
];

const INDEX: &[Row] = &[
    ("", "schemaVersion", &["1", "\"2\""]),
    (
        "",
        "mediaType",
        &["7", "\"application/vnd.oci.image.manifest.v1+json\""],
    ),
    ("", "manifests", &["7", "{}", "[]", "[{}]"]),
    ("manifests.0", "mediaType", &["7"]),
    ("manifests.0", "digest", &["7", "\"sha256:00\""]),
    ("manifests.0", "size", &["-1", "\"1\""]),
    ("manifests.0", "platform", &["7", "{\"os\":\"linux\"}"]),
    ("manifests.0", "annotations", &["7"]),
    ("manifests.0.platform", "os", &["7", "null"]),
    ("manifests.0.platform", "architecture", &["7", "[]"]),
    ("manifests.0.platform", "variant", &["7", "[]"]),
];

const CONFIGURATION: &[Row] = &[
    ("", "os", &["7", "null", "\"plan9\""]),
    ("", "architecture", &["7", "[]", "\"s390x\""]),
    ("", "variant", &["7", "{}"]),
    ("", "config", &["7", "\"x\""]),
    ("", "rootfs", &["7", "{}"]),
    ("rootfs", "type", &["7", "\"squashfs\""]),
    ("rootfs", "diff_ids", &["7", "[7]", "[\"sha256:00\"]", "[]"]),
    ("config", "User", &["7", "\"a b\"", "\"a\\u0000\""]),
    (
        "config",
        "Env",
        &["7", "[7]", "[\"A\"]", "[\"=x\"]", "[\"A=\\u0000\"]"],
    ),
    (
        "config",
        "Entrypoint",
        &["7", "\"sh\"", "[7]", "[\"\\u0000\"]"],
    ),
    (
        "config",
        "Cmd",
        &["7", "\"sh\"", "[[]]", "[\"a\",\"\\u0000\"]"],
    ),
    ("config", "WorkingDir", &["7", "\"srv\"", "\"/\\u0000\""]),
    ("config", "StopSignal", &["9", "\"SIGNOPE\"", "\"0\""]),
    ("config", "Volumes", &["7", "[\"/data\"]", "{\"data\":{}}"]),
    ("config", "Healthcheck", &["7", "\"curl\""]),
    (
        "config.Healthcheck",
        "Test",
        &[
            "\"curl\"",
            "[7]",
            "[\"CMD\"]",
            "[\"curl\"]",
            "[\"CMD-SHELL\",\"a\",\"b\"]",
        ],
    ),
    (
        "config.Healthcheck",
        "Interval",
        &["\"30s\"", "-1", "999999"],
    ),
    ("config.Healthcheck", "Timeout", &["\"30s\"", "-1", "1"]),
    ("config.Healthcheck", "StartPeriod", &["\"30s\"", "-1", "1"]),
    (
        "config.Healthcheck",
        "StartInterval",
        &["\"30s\"", "-1", "1"],
    ),
    (
        "config.Healthcheck",
        "Retries",
        &["\"3\"", "-1", "99999999999"],
    ),
];

/// Reads nothing, and remembers what fields were asked for.
struct Fields<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        self.0.set(fields);
        Err(Stop::custom("that is all"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields_of<T: Deserialize<'static>>() -> Vec<&'static str> {
    let fields: Cell<&'static [&'static str]> = Cell::new(&[]);
    assert!(T::deserialize(Fields(&fields)).is_err());
    let mut fields = fields.get().to_vec();
    fields.sort_unstable();
    fields
}

fn device() -> Platform {
    Platform::new("amd64", None)
}

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(b"").to_string(), "size": 1})
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
    })
}

fn index() -> Value {
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]})
}

fn configuration() -> Value {
    json!({
        "os": "linux", "architecture": "amd64",
        "config": {"Env": ["A=b"], "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000}},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"").to_string()]},
    })
}

fn read_manifest(document: &Value) -> Result<(), Error> {
    match Artifact::decode(document.to_string().as_bytes(), &device())? {
        Artifact::Manifest(manifest) => manifest.check(),
        Artifact::Index(_) => Ok(()),
    }
}

fn read_configuration(document: &Value) -> Result<(), Error> {
    ImageConfig::decode(document.to_string().as_bytes(), &device(), 1)?.check()
}

/// The document with another value in one place.
fn with(document: &Value, (at, field, _): &Row, value: &str) -> Value {
    let mut document = document.clone();
    let pointer = if at.is_empty() {
        String::new()
    } else {
        format!("/{}", at.replace('.', "/"))
    };
    document.pointer_mut(&pointer).unwrap()[*field] = serde_json::from_str(value).unwrap();
    document
}

fn walk(name: &str, document: &Value, rows: &[Row], read: fn(&Value) -> Result<(), Error>) {
    read(document).unwrap();
    for row in rows {
        for value in row.2 {
            let told = match read(&with(document, row, value)) {
                Err(error) => error.to_string(),
                Ok(()) => panic!("{name}: {}.{} may be {value}", row.0, row.1),
            };
            let at = row.0.replace(".0", "[0]");
            let place = if at.is_empty() {
                row.1.to_owned()
            } else {
                format!("{at}.{}", row.1)
            };
            // Another platform, or another number of layers, is told in words of its own.
            let in_words = told.contains("this device is linux/amd64")
                || told.contains("in the configuration");
            let says_where = told.starts_with(&format!("the image is refused: {name}: {place}"));
            let says_what = ["expected", "missing field", "is not `sha256:`"]
                .iter()
                .any(|what| told.contains(what));
            assert!(
                in_words || says_where && says_what,
                "{place} = {value}: {told}"
            );
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }
}

#[test]
fn a_field_that_is_wrong_is_one_error_that_says_where_and_what_would_be_right() {
    walk("manifest", &manifest(), MANIFEST, read_manifest);
    walk("index", &index(), INDEX, read_manifest);
    walk(
        "configuration",
        &configuration(),
        CONFIGURATION,
        read_configuration,
    );
}

#[test]
fn every_field_that_is_read_is_tried() {
    let tried = |rows: &[Row], at: &str| {
        let mut fields: Vec<&str> = rows
            .iter()
            .filter(|row| row.0 == at)
            .map(|row| row.1)
            .collect();
        fields.sort_unstable();
        fields
    };
    assert_eq!(tried(MANIFEST, ""), fields_of::<Manifest>());
    assert_eq!(tried(MANIFEST, "config"), fields_of::<Descriptor>());
    assert_eq!(tried(MANIFEST, "layers.0"), fields_of::<Descriptor>());
    assert_eq!(tried(INDEX, ""), fields_of::<Index>());
    assert_eq!(tried(INDEX, "manifests.0"), fields_of::<Descriptor>());
    assert_eq!(
        tried(INDEX, "manifests.0.platform"),
        fields_of::<Platform>()
    );
    assert_eq!(tried(CONFIGURATION, ""), fields_of::<Written>());
    assert_eq!(tried(CONFIGURATION, "rootfs"), fields_of::<RootFs>());
    assert_eq!(tried(CONFIGURATION, "config"), fields_of::<Execution>());
    assert_eq!(
        tried(CONFIGURATION, "config.Healthcheck"),
        fields_of::<Healthcheck>()
    );
}

#[test]
fn what_is_missing_or_follows_is_told() {
    for (document, read, field) in [
        (manifest(), read_manifest as fn(&Value) -> _, "config"),
        (manifest(), read_manifest, "layers"),
        (configuration(), read_configuration, "os"),
        (configuration(), read_configuration, "architecture"),
        (configuration(), read_configuration, "rootfs"),
    ] {
        let mut document = document;
        document.as_object_mut().unwrap().remove(field);
        let told = read(&document).unwrap_err().to_string();
        assert!(told.contains(&format!("missing field `{field}`")), "{told}");
    }
    let two = format!("{0}{0}", manifest());
    let told = Artifact::decode(two.as_bytes(), &device())
        .unwrap_err()
        .to_string();
    assert!(told.contains("trailing characters"), "{told}");
}
