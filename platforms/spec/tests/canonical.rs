//! The same application written in another order is the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use lightship_spec::compose::{Input, NoFiles, read};
use proptest::prelude::*;

fn digests(text: &str) -> Vec<String> {
    let (variables, profiles) = (BTreeMap::new(), BTreeSet::new());
    let input = Input {
        file: "f",
        text,
        name: "n",
        variables: &variables,
        profiles: &profiles,
        files: &NoFiles,
    };
    let project = read(&input).unwrap_or_else(|problems| panic!("{problems:#}\n{text}"));
    let services = project.services.values();
    services
        .map(|service| service.spec("").digest().to_string())
        .collect()
}

const FIELDS: [&str; 12] = [
    "    image: a/b:1\n",
    "    ports: [{}]\n",
    "    environment: [{}]\n",
    "    volumes: [{}]\n",
    "    devices: [{}]\n",
    "    cap_add: [{}]\n",
    "    labels: [{}]\n",
    "    group_add: [{}]\n",
    "    sysctls: [{}]\n",
    "    depends_on: [other]\n",
    "    x-lightship: { settable: [{}] }\n",
    "    restart: always\n",
];

const ITEMS: [[&str; 3]; 12] = [
    ["", "", ""],
    ["\"80:80\"", "\"53:53/udp\"", "\"443:443\""],
    ["A=1", "B=2", "C="],
    ["data:/data", "/etc/x:/x:ro", "data:/data/deep"],
    ["/dev/a", "/dev/b:/dev/c", "/dev/d"],
    ["NET_ADMIN", "CAP_CHOWN", "kill"],
    ["x=1", "y=2", "io.balena.features.dbus=1"],
    ["audio", "20", "dialout"],
    ["net.a=1", "net.b=2", "kernel.sem=1"],
    ["", "", ""],
    ["A", "B", "NEW"],
    ["", "", ""],
];

fn file(fields: &[usize], items: &[usize]) -> String {
    let mut text = "volumes: {data: }\nservices:\n  other: {image: o}\n  one:\n".to_owned();
    for field in fields {
        let list: Vec<_> = items.iter().map(|item| ITEMS[*field][*item]).collect();
        text += &FIELDS[*field].replace("{}", &list.join(", "));
    }
    text
}

proptest! {
    #[test]
    fn the_order_of_fields_and_of_sets_does_not_change_the_digest(
        fields in Just((0..FIELDS.len()).collect::<Vec<_>>()).prop_shuffle(),
        items in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let all: Vec<_> = (0..FIELDS.len()).collect();
        prop_assert_eq!(digests(&file(&fields, &items)), digests(&file(&all, &[0, 1, 2])));
    }
}

#[test]
fn another_image_tag_is_the_same_spec_and_another_value_is_not() {
    let one = file(&[0, 2], &[0, 1, 2]);
    assert_eq!(digests(&one), digests(&one.replace("a/b:1", "a/b:2")));
    assert_ne!(digests(&one), digests(&one.replace("A=1", "A=2")));
}
