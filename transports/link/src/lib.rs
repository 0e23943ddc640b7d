//! The contract of a transport, and the suite every transport must pass.
