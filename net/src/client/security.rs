//! How a client makes sure of a broker, and a broker of it: TLS by rustls with the system's or
//! given roots, SASL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) by rsasl.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rsasl::config::SASLConfig;
use rsasl::prelude::{Mechname, SASLClient, Session};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::error::ClientError;
use crate::kafka::api::sasl_authenticate::SaslAuthenticateRequest;
use crate::kafka::api::sasl_handshake::SaslHandshakeRequest;
use crate::kafka::error::ErrorCode;

/// What a connection is protected by; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Encryption, and the broker's certificate.
    pub tls: Option<Tls>,
    /// Who the client is.
    pub sasl: Option<Sasl>,
}

/// How TLS is to be spoken.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM file with the authorities that are trusted; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's own certificate chain and its key, if the broker asks for them.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name in the broker's certificate, if it is not the host's.
    pub server_name: Option<String>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A PEM file that is missing or holds something else.
    #[error("{}: {source}; give a PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// What rustls will not take.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No roots at all.
    #[error("this system has no certificate authorities that could be read ({0}): give a PEM file")]
    NoRoots(String),
    /// A name that no certificate could have.
    #[error("{0:?} is no name of a server")]
    ServerName(String),
    /// A mechanism that is not known.
    #[error("SASL mechanism {0:?} is not known: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")]
    Mechanism(String),
    /// Credentials that the mechanism cannot take.
    #[error("SASL: {0}")]
    Credentials(String),
}

/// TLS, ready for connections. Clones share the configuration and the session tickets.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files.
    pub fn new(options: &TlsOptions) -> Result<Tls, SecurityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(options.ca.as_deref())?);
        let config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let unreadable = |source| SecurityError::Pem {
                    path: key.clone(),
                    source,
                };
                let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                builder.with_client_auth_cert(certificates(chain)?, key)?
            }
        };
        let name = |name: &String| {
            ServerName::try_from(name.clone()).map_err(|_| SecurityError::ServerName(name.clone()))
        };
        Ok(Tls {
            config: Arc::new(config),
            server_name: options.server_name.as_ref().map(name).transpose()?,
        })
    }

    /// A session with the broker of that name.
    pub(super) fn session(
        &self,
        host: Option<&str>,
        peer: SocketAddr,
    ) -> io::Result<ClientConnection> {
        let by_host = || host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
        let name = self.server_name.clone().or_else(by_host);
        let name = name.unwrap_or_else(|| ServerName::from(peer.ip()));
        let mut session =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        // Whoever writes flushes at once: the bound is ours, not the buffer's.
        session.set_buffer_limit(None);
        Ok(session)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let unreadable = |source| SecurityError::Pem {
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    found.collect::<Result<Vec<_>, _>>().map_err(unreadable)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, SecurityError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(SecurityError::NoRoots(errors.join("; ")));
    }
    Ok(roots)
}

/// Who the client is, and how it proves that.
#[derive(Clone)]
pub struct Sasl {
    mechanism: String,
    config: Arc<SASLConfig>,
}

impl std::fmt::Debug for Sasl {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

impl Sasl {
    /// A user with a password.
    pub fn new(mechanism: &str, user: &str, password: &str) -> Result<Sasl, SecurityError> {
        if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism) {
            return Err(SecurityError::Mechanism(mechanism.to_owned()));
        }
        let config = SASLConfig::with_credentials(None, user.to_owned(), password.to_owned());
        Ok(Sasl {
            mechanism: mechanism.to_owned(),
            config: config.map_err(|error| SecurityError::Credentials(error.to_string()))?,
        })
    }

    fn session(&self) -> Result<Session, SecurityError> {
        let wanted = Mechname::parse(self.mechanism.as_bytes())
            .map_err(|_| SecurityError::Mechanism(self.mechanism.clone()))?;
        let client = SASLClient::new(Arc::clone(&self.config));
        client
            .start_suggested(&[wanted])
            .map_err(|error| SecurityError::Credentials(error.to_string()))
    }

    /// The request that begins an exchange.
    pub(super) fn handshake(&self) -> SaslHandshakeRequest {
        SaslHandshakeRequest::default().with_mechanism(self.mechanism.clone().into())
    }

    /// The exchange itself.
    pub(super) fn exchange(&self) -> Result<Exchange, ClientError> {
        let session = self.session().map_err(|error| refused(&error))?;
        let came = (!session.are_we_first()).then(Vec::new);
        Ok(Exchange {
            session,
            came,
            is_done: false,
        })
    }
}

/// An authentication under way.
pub(super) struct Exchange {
    session: Session,
    came: Option<Vec<u8>>,
    is_done: bool,
}

impl Exchange {
    /// The next token for the broker; none if all is said.
    pub(super) fn next(&mut self) -> Result<Option<SaslAuthenticateRequest>, ClientError> {
        if self.is_done {
            return Ok(None);
        }
        let mut token = Vec::new();
        let stepped = self.session.step(self.came.as_deref(), &mut token);
        let state = stepped.map_err(|error| refused(&error))?;
        self.is_done = state.is_finished();
        if self.is_done && !state.has_sent_message() {
            return Ok(None);
        }
        Ok(Some(
            SaslAuthenticateRequest::default().with_auth_bytes(token.into()),
        ))
    }

    /// What the broker said to it.
    pub(super) fn answer(&mut self, bytes: &[u8]) {
        self.came = Some(bytes.to_owned());
    }
}

fn refused(error: &dyn std::fmt::Display) -> ClientError {
    let code = ErrorCode::SaslAuthenticationFailed;
    ClientError::refused("authentication".to_owned(), code, Some(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's side of the examples in RFC 4616 and RFC 7677: the first token.
    #[test]
    fn the_first_token_is_as_the_rfcs_have_it() {
        let sasl = Sasl::new("PLAIN", "tim", "tanstaaftanstaaf").unwrap();
        let mut exchange = sasl.exchange().unwrap();
        let token = exchange.next().unwrap().unwrap().auth_bytes;
        assert_eq!(&token[..], b"\0tim\0tanstaaftanstaaf");
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let sasl = Sasl::new(mechanism, "user", "pencil").unwrap();
            let token = sasl.exchange().unwrap().next().unwrap().unwrap().auth_bytes;
            assert!(token.starts_with(b"n,,n=user,r="), "{token:?}");
        }
    }

    #[test]
    fn a_broker_that_cannot_prove_itself_is_refused() {
        let sasl = Sasl::new("SCRAM-SHA-256", "user", "pencil").unwrap();
        let mut exchange = sasl.exchange().unwrap();
        exchange.next().unwrap().unwrap();
        exchange.answer(b"r=of-its-own,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert!(exchange.next().is_err());
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        assert!(matches!(
            Sasl::new("GSSAPI", "a", "b"),
            Err(SecurityError::Mechanism(_))
        ));
        let missing = TlsOptions {
            ca: Some("/does/not/exist.pem".into()),
            ..TlsOptions::default()
        };
        assert!(matches!(Tls::new(&missing), Err(SecurityError::Pem { .. })));
    }
}
