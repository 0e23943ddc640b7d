//! Serial transport: COBS frames of postcard over any embedded-io port.
