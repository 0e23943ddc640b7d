//! What applications and firmware print.

/// What logs are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines of JSON.
    Lines,
    /// Frames of defmt, which only the release's ELF explains.
    Defmt,
}

impl Kind {
    /// The content type that says so.
    #[cfg(any(feature = "std", feature = "device", feature = "post"))]
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Defmt => "application/vnd.lightship.defmt",
        }
    }
}
