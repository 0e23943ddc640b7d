//! Signed documents: any bytes are a document or a named offence, and what was read can be written again.

use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::trust::{
    Codec, Compact, Envelope, encode_assignment, encode_release, encode_root,
};

/// Components of the device that reads.
const COMPONENTS: usize = 4;

/// Reads bytes as an envelope and as the payload of each role.
pub fn run(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::open(bytes) {
        let signatures = envelope.signatures().count();
        assert!(signatures * 72 + envelope.payload.len() <= bytes.len());
        payload(envelope.payload);
    }
    payload(bytes);
}

fn payload(bytes: &[u8]) {
    let mut out = [0; 2 * DOCUMENT_BYTES];
    if let Ok(root) = Compact.root(bytes) {
        let length = encode_root(&root, &mut out).expect("a decoded root fits");
        assert_eq!(Compact.root(&out[..length]), Ok(root));
    }
    if let Ok(assignment) = Compact.assignment::<COMPONENTS>(bytes) {
        let length = encode_assignment(&assignment.head, &assignment.settings, &mut out)
            .expect("a decoded assignment fits");
        assert_eq!(Compact.assignment(&out[..length]), Ok(assignment));
    }
    let Ok((head, reader)) = Compact.release(bytes) else {
        return;
    };
    if let Ok(components) = reader.components::<COMPONENTS>() {
        let length = encode_release(&head, &components, &mut out).expect("a decoded release fits");
        let (again, reader) = Compact
            .release(&out[..length])
            .expect("what was written is read");
        assert_eq!(again, head);
        assert_eq!(reader.components(), Ok(components));
    }
}
