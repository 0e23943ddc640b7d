//! Messages: any bytes are a message or a named rejection, and a message survives both encodings.

use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{self, Down, Up, json};

/// Reads bytes as a message of either direction in either encoding.
pub fn run(bytes: &[u8]) {
    if let Ok(message) = wire::decode_up(bytes) {
        up_survives(&message);
    }
    if let Ok(message) = json::decode_up(bytes) {
        up_survives(&message);
    }
    if let Ok(message) = wire::decode_down(bytes) {
        down_survives(&message);
    }
    let mut scratch = [0; json::TEXT_BYTES];
    if let Ok(message) = json::decode_down(bytes, &mut scratch) {
        down_survives(&message);
    }
}

fn up_survives(message: &Up) {
    let mut out = [0; 2 * MESSAGE_BYTES];
    let bytes = wire::encode(message, &mut out).expect("a decoded message fits");
    assert_eq!(wire::decode_up(bytes).as_ref(), Ok(message));
    let mut out = [0; json::TEXT_BYTES];
    let text = json::encode(message, &mut out).expect("a decoded message fits as text");
    assert_eq!(json::decode_up(text.as_bytes()).as_ref(), Ok(message));
}

fn down_survives(message: &Down<'_>) {
    let mut out = [0; 2 * MESSAGE_BYTES];
    let bytes = wire::encode(message, &mut out).expect("a decoded message fits");
    // What came as JSON may be longer than a device takes in postcard; what came in postcard may not.
    if bytes.len() > MESSAGE_BYTES {
        return;
    }
    assert_eq!(wire::decode_down(bytes).as_ref(), Ok(message));
    let mut out = [0; json::TEXT_BYTES];
    let text = json::encode(message, &mut out).expect("a decoded message fits as text");
    let mut scratch = [0; json::TEXT_BYTES];
    assert_eq!(
        json::decode_down(text.as_bytes(), &mut scratch).as_ref(),
        Ok(message)
    );
}
