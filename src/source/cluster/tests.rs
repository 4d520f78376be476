//! What needs no server; the source against one is in `integration/tests/source`.

mod connect;
mod credentials;
mod machine;
mod store;
