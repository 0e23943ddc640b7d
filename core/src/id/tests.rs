use super::*;

#[test]
fn a_uuid_reads_back_from_its_text() {
    let uuid = Uuid::from_random([0xff; 16]);
    let text = uuid.to_text();
    assert_eq!(text.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(text.parse(), Ok(uuid));
    assert_eq!(
        "ffffffff-ffff-4fff-bfff-fffffffffffg".parse::<Uuid>(),
        Err(Malformed)
    );
    assert_eq!(
        "ffffffffffff4fffbfffffffffffffff".parse::<Uuid>(),
        Err(Malformed)
    );
}

#[test]
fn names_hold_nothing_that_a_topic_or_path_could_read_as_structure() {
    for bad in ["", "A", "a/b", "a.b", "..", "a+", "#", "a b", "é", "x\\n"] {
        assert_eq!(Name::new(bad), Err(Malformed), "{bad}");
    }
    assert!(Name::new("web-1_x").is_ok());
    assert!(Name::new("0123456789012345678901234567890123").is_err());
}

#[test]
fn the_public_key_of_rfc_7748_section_6_1() {
    let alice: Digest = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
        .parse()
        .unwrap();
    let public = SecretKey(alice.0).public();
    assert_eq!(
        Digest(public.0),
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
            .parse()
            .unwrap()
    );
}

#[test]
fn secrets_do_not_print_themselves() {
    extern crate std;
    assert_eq!(std::format!("{:?}", ApiKey([7; 32])), "ApiKey(secret)");
}
