//! How bytes get to a remote store: HTTP by reqwest, TLS by rustls with ring.

use std::sync::Once;

/// Installs the TLS provider and the HTTP transport for this process, unless the program has installed its own
/// provider. [`register`](crate::register) and [`OpendalStorage::new`](crate::OpendalStorage::new) do it; a program
/// that uses an operator before that calls it itself. Calls after the first do nothing.
pub fn install_transport() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // `Err` says that the program has chosen a provider before: that is its right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        opendal_http_transport_reqwest::install_default();
    });
}
