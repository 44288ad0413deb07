//! A node from its start to its end.

use crate::config::{Config, address::HostPort};

/// Where a node can be reached, once it can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listening {
    /// The address it is bound to, with the port it got.
    pub bound: HostPort,
    /// The address that clients are told.
    pub advertised: HostPort,
}

/// Why a node did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// This build has no broker in it.
    #[error("this build has only the command line in it")]
    OnlyCommandLine,
}

/// Serves until a signal ends it; calls `ready` once it accepts connections.
///
/// # Errors
/// [`ServeError`]
pub fn serve(_config: Config, _ready: impl FnOnce(&Listening)) -> Result<(), ServeError> {
    Err(ServeError::OnlyCommandLine)
}
