//! URLs of object stores. Credentials come from the environment, never from the URL.
#![cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azblob")),
    allow(dead_code, unused_imports, reason = "there is no scheme to parse for")
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use opendal::{Builder, Operator};
use rpo_storage::{Registry, Storage, StorageError, shown};
use url::Url;

use crate::OpendalStorage;

/// Adds the schemes of this build to a registry:
///
/// - `s3://bucket/prefix?region=…&endpoint=…` (feature `s3`). Credentials and, if not given, region: the `AWS_*`
///   variables, the AWS profile, or the machine's role. Also `profile=…`, `virtual-host-style=yes`, `storage-class=…`,
///   `server-side-encryption=…`.
/// - `gcs://bucket/prefix?endpoint=…` (feature `gcs`). Credentials: `GOOGLE_APPLICATION_CREDENTIALS`, or the machine's.
/// - `azblob://container/prefix?account=…&endpoint=…` (feature `azblob`). Credentials: the `AZURE_STORAGE_*` variables.
///
/// `create-conditions=no` names a server that ignores conditions: see
/// [`OpendalStorage::without_create_conditions`].
pub fn register(registry: &mut Registry) {
    crate::install_transport();
    #[cfg(feature = "s3")]
    registry.register("s3", Arc::new(|url: &Url| open(url, s3)));
    #[cfg(feature = "gcs")]
    registry.register("gcs", Arc::new(|url: &Url| open(url, gcs)));
    #[cfg(feature = "azblob")]
    registry.register("azblob", Arc::new(|url: &Url| open(url, azblob)));
    #[cfg(not(any(feature = "s3", feature = "gcs", feature = "azblob")))]
    let _ = registry;
}

/// A URL taken apart. Each parameter must be taken by somebody.
struct Parts<'a> {
    url: &'a Url,
    bucket: String,
    root: String,
    parameters: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<'a> Parts<'a> {
    fn new(url: &'a Url) -> Result<Self, StorageError> {
        let bad = |why: &str| Err(StorageError::Url { url: shown(url), why: why.to_owned() });
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return bad("takes no user, password or fragment; credentials come from the environment");
        }
        let Some(bucket) = url.host_str().filter(|bucket| !bucket.is_empty()) else {
            return bad("names no bucket: SCHEME://bucket/prefix");
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if parameters.insert(name.to_string(), value.to_string()).is_some() {
                return bad(&format!("gives `{name}` twice"));
            }
        }
        Ok(Self {
            url,
            bucket: bucket.to_owned(),
            root: url.path().to_owned(),
            parameters,
            known: Vec::new(),
        })
    }

    fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.parameters.remove(name)
    }

    fn take_flag(&mut self, name: &'static str, default: bool) -> Result<bool, StorageError> {
        match self.take(name).as_deref() {
            None => Ok(default),
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(_) => Err(self.wrong(format!("`{name}` is `yes` or `no`"))),
        }
    }

    /// The server's address, and the name of what the store then stands on.
    fn take_endpoint(&mut self) -> Result<Option<(String, String)>, StorageError> {
        let Some(endpoint) = self.take("endpoint") else { return Ok(None) };
        let parsed = Url::parse(&endpoint).ok().filter(|url| {
            let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            plain && matches!(url.scheme(), "http" | "https")
        });
        let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
        match host {
            Some((host, port)) => Ok(Some((endpoint.clone(), format!("server {host}:{port}")))),
            None => Err(self
                .wrong("`endpoint` is a URL such as https://s3.example.org:9000, without user".to_owned())),
        }
    }

    fn wrong(&self, why: String) -> StorageError {
        StorageError::Url { url: shown(self.url), why }
    }

    /// Values are not shown: someone may have taken a credential for a parameter.
    fn refuse_the_rest(&self) -> Result<(), StorageError> {
        match self.parameters.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.wrong(format!(
                "unknown parameter `{name}`; known are {}. Credentials come from the environment",
                self.known.join(", ")
            ))),
        }
    }
}

type Finished = Result<(Operator, Option<String>), StorageError>;

fn open(url: &Url, build: fn(&mut Parts<'_>) -> Finished) -> Result<Arc<dyn Storage>, StorageError> {
    let mut parts = Parts::new(url)?;
    let conditions = parts.take_flag("create-conditions", true)?;
    let (operator, device) = build(&mut parts)?;
    let mut store = OpendalStorage::new(operator);
    if !conditions {
        store = store.without_create_conditions();
    }
    if let Some(device) = device {
        store = store.on_device(device);
    }
    Ok(Arc::new(store))
}

fn operator(parts: &Parts<'_>, builder: impl Builder) -> Result<Operator, StorageError> {
    parts.refuse_the_rest()?;
    Operator::new(builder).map_err(|e| {
        parts.wrong(match e.message() {
            said if said.starts_with("region is missing") => {
                "names no region: add region=NAME to it, or set AWS_REGION".to_owned()
            }
            said => said.to_owned(),
        })
    })
}

#[cfg(feature = "s3")]
fn s3(parts: &mut Parts<'_>) -> Finished {
    let mut builder = opendal::services::S3::default().bucket(&parts.bucket).root(&parts.root);
    let endpoint = parts.take_endpoint()?;
    if let Some((endpoint, _)) = &endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(region) = parts.take("region") {
        builder = builder.region(&region);
    }
    if let Some(profile) = parts.take("profile") {
        builder = builder.profile(&profile);
    }
    if let Some(class) = parts.take("storage-class") {
        builder = builder.default_storage_class(&class);
    }
    if let Some(encryption) = parts.take("server-side-encryption") {
        builder = builder.server_side_encryption(&encryption);
    }
    if parts.take_flag("virtual-host-style", false)? {
        builder = builder.enable_virtual_host_style();
    }
    Ok((operator(parts, builder)?, endpoint.map(|(_, device)| device)))
}

#[cfg(feature = "gcs")]
fn gcs(parts: &mut Parts<'_>) -> Finished {
    let mut builder = opendal::services::Gcs::default().bucket(&parts.bucket).root(&parts.root);
    let endpoint = parts.take_endpoint()?;
    if let Some((endpoint, _)) = &endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(class) = parts.take("storage-class") {
        builder = builder.default_storage_class(&class);
    }
    Ok((operator(parts, builder)?, endpoint.map(|(_, device)| device)))
}

#[cfg(feature = "azblob")]
fn azblob(parts: &mut Parts<'_>) -> Finished {
    let mut builder = opendal::services::Azblob::default().container(&parts.bucket).root(&parts.root);
    let endpoint = parts.take_endpoint()?;
    let account = parts.take("account").or_else(|| std::env::var("AZURE_STORAGE_ACCOUNT_NAME").ok());
    match (&endpoint, &account) {
        (Some((endpoint, _)), _) => builder = builder.endpoint(endpoint),
        (None, Some(account)) => {
            builder = builder.endpoint(&format!("https://{account}.blob.core.windows.net"))
        }
        (None, None) => return Err(parts.wrong("names no `account` and no `endpoint`".to_owned())),
    }
    if let Some(account) = &account {
        builder = builder.account_name(account);
    }
    if let Ok(key) = std::env::var("AZURE_STORAGE_ACCOUNT_KEY") {
        builder = builder.account_key(&key);
    }
    Ok((operator(parts, builder)?, endpoint.map(|(_, device)| device)))
}

#[cfg(all(test, feature = "s3"))]
mod tests;
