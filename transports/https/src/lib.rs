//! HTTPS transport: reqwest and rustls on std, reqwless inside the tunnel on no_std.
