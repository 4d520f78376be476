//! Tests that need no server. Tests of the source with a server are in `integration/tests/source`.

mod connect;
mod credentials;
mod machine;
mod store;
