//! Request and response types that server and command line share.
