//! The firmware image: header, digest, signature.
