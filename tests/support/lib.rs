//! Support for the tests over real connections.
