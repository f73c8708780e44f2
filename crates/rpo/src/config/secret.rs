//! Where the repository's secret comes from.

use std::path::Path;
use std::process::Command;

use rpo_crypto::Secret;

use super::load::ConfigFileError;
use super::{Config, Encryption};

/// Read when the file names no other way.
const DEFAULT_VARIABLE: &str = "RPO_PASSPHRASE";

impl Config {
    /// The secret that unlocks the repository; `None` if it is explicitly unencrypted.
    ///
    /// # Errors
    /// It cannot be had, or is empty; says from where and what to do.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigFileError> {
        let r = &self.repository;
        if r.encryption == Some(Encryption::None) {
            return Ok(None);
        }
        if let Some(path) = &r.key_file {
            return key_file(path).map(Some);
        }
        let (from, text) = if let Some(path) = &r.passphrase_file {
            let from = format!("passphrase-file {}", path.display());
            let text = std::fs::read_to_string(path)
                .map_err(|e| secret_error(&from, format!("cannot be read: {e}")))?;
            (from, text.lines().next().unwrap_or_default().to_owned())
        } else if let Some(command) = &r.passphrase_command {
            let from = format!("passphrase-command {}", command.join(" "));
            (from.clone(), from_command(command, &from)?)
        } else {
            let variable = r.passphrase_env.as_deref().unwrap_or(DEFAULT_VARIABLE);
            let from = format!("passphrase from environment variable {variable}");
            let text = std::env::var(variable).map_err(|_| {
                secret_error(
                    &from,
                    "it is not set; next: set it, or name a passphrase-file in [repository], or say --no-encryption (encryption = \"none\") if the repository is not encrypted"
                        .to_owned(),
                )
            })?;
            (from, text)
        };
        if text.is_empty() {
            return Err(secret_error(&from, "it is empty".to_owned()));
        }
        Ok(Some(Secret::passphrase(text)))
    }

    /// As [`secret`](Self::secret), for a repository that is about to be made: it must be strong enough, too.
    ///
    /// # Errors
    /// As [`secret`](Self::secret), or it is too short.
    pub fn new_secret(&self) -> Result<Option<Secret>, ConfigFileError> {
        let secret = self.secret()?;
        if let Some(secret) = &secret {
            secret.check_strength().map_err(|error| secret_error("a new repository", error.to_string()))?;
        }
        Ok(secret)
    }
}

fn secret_error(from: &str, why: String) -> ConfigFileError {
    ConfigFileError::Secret { from: from.to_owned(), why }
}

fn key_file(path: &Path) -> Result<Secret, ConfigFileError> {
    let from = format!("key-file {}", path.display());
    let bytes = std::fs::read(path).map_err(|e| secret_error(&from, format!("cannot be read: {e}")))?;
    Secret::parse_key_file(&bytes).map_err(|e| secret_error(&from, e.to_string()))
}

fn from_command(command: &[String], from: &str) -> Result<String, ConfigFileError> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| secret_error(from, "no program is named".to_owned()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| secret_error(from, format!("cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(secret_error(from, format!("ended with {}", output.status)));
    }
    let text =
        String::from_utf8(output.stdout).map_err(|_| secret_error(from, "printed no text".to_owned()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
