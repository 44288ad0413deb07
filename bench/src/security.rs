//! The flags that say what connections are protected by. Passwords come from the environment or a
//! file: a command line is everybody's to read.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use spate_net::client::{Sasl, Security, SecurityError, Tls, TlsOptions};

/// What connections are protected by.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Security")]
pub struct SecurityOptions {
    /// Encrypt connections, and check the broker's certificate
    #[arg(long)]
    pub tls: bool,
    /// PEM file with the authorities that are trusted [default: the system's]
    #[arg(long, requires = "tls", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file with this client's own certificate chain
    #[arg(long, requires = "tls", requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key of --tls-cert
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The name in the broker's certificate, if it is not the host's
    #[arg(long, requires = "tls", value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// How to say who we are: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, requires = "sasl_user", value_name = "MECHANISM")]
    pub sasl: Option<String>,
    /// Who we are
    #[arg(long, requires = "sasl", value_name = "NAME")]
    pub sasl_user: Option<String>,
    /// File with the password [default: the environment's SPATE_BENCH_PASSWORD]
    #[arg(long, requires = "sasl", value_name = "FILE")]
    pub sasl_password_file: Option<PathBuf>,
}

/// The password's place in the environment.
const PASSWORD_VARIABLE: &str = "SPATE_BENCH_PASSWORD";

/// Why connections could not be protected.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// What was given cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// No password.
    #[error("no password: {0}; give --sasl-password-file or set {PASSWORD_VARIABLE}")]
    Password(String),
}

impl SecurityOptions {
    /// Reads the files.
    pub fn read(&self) -> Result<Security, OptionsError> {
        let certificate = self.tls_cert.clone().zip(self.tls_key.clone());
        let options = TlsOptions {
            ca: self.tls_ca.clone(),
            certificate,
            server_name: self.tls_server_name.clone(),
        };
        let tls = self.tls.then(|| Tls::new(&options)).transpose()?;
        let sasl = match (&self.sasl, &self.sasl_user) {
            (Some(mechanism), Some(user)) => Some(Sasl::new(mechanism, user, &self.password()?)?),
            _ => None,
        };
        Ok(Security { tls, sasl })
    }

    fn password(&self) -> Result<String, OptionsError> {
        let found = match &self.sasl_password_file {
            Some(path) => fs::read_to_string(path).map_err(|error| error.to_string()),
            None => std::env::var(PASSWORD_VARIABLE).map_err(|error| error.to_string()),
        };
        let password = found.map_err(OptionsError::Password)?;
        // An editor ends a file with a line's end.
        Ok(password.trim_end_matches(['\r', '\n']).to_owned())
    }
}
