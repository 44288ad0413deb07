//! The socket in the data directory on which a running broker answers `spate stats`.
//!
//! ```text
//! client: {"ask":"statistics"}\n        broker: {"version":...,"pid":...,"statistics":{...}}\n
//! ```
//! One question a connection. Only the owner of the data directory may connect. It is no interface
//! for other programs: the metrics endpoint will be.

use std::{
    fs::Permissions,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, net::UnixStream as BlockingStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::timeout,
};

const NAME: &str = "control.sock";

/// A question is one short line.
const QUESTION_BYTES: u64 = 256;

/// A client on the same machine asks and reads at once; one that does not is broken.
const PATIENCE: Duration = Duration::from_secs(2);

/// The statistics as the broker has them now.
pub type Statistics = Arc<dyn Fn() -> Value + Send + Sync>;

/// The listening socket; its file goes with it.
pub struct Inspector {
    listener: UnixListener,
    path: PathBuf,
}

impl Inspector {
    /// Listens in the data directory, whose lock the caller holds: an older socket is nobody's.
    /// Must be called inside the control thread's runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(data_dir: &Path) -> io::Result<Inspector> {
        let path = data_dir.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = through_directory(data_dir, |short| UnixListener::bind(short))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Inspector { listener, path })
    }

    /// Answers one client; never returns if there is no socket. Cancel-safe: the answer goes on in
    /// a task of its own.
    pub async fn serve_one(inspector: &mut Option<Inspector>, statistics: &Statistics) {
        let Some(present) = inspector else {
            return std::future::pending().await;
        };
        match present.listener.accept().await {
            Ok((stream, _)) => {
                let statistics = Arc::clone(statistics);
                drop(tokio::spawn(timeout(PATIENCE, answer(stream, statistics))));
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket failed; `spate stats` will not work");
                *inspector = None;
            }
        }
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        // Left behind it would only mislead: the next start removes it in any case.
        drop(std::fs::remove_file(&self.path));
    }
}

async fn answer(stream: UnixStream, statistics: Statistics) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(QUESTION_BYTES))
        .read_line(&mut line)
        .await?;
    let question: Value = serde_json::from_str(&line).unwrap_or_default();
    let reply = match question["ask"].as_str() {
        Some("statistics") => json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "statistics": statistics(),
        }),
        _ => json!({ "error": "ask for \"statistics\"" }),
    };
    write.write_all(format!("{reply}\n").as_bytes()).await
}

/// Asks the broker that runs on this data directory.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` if none runs there; what the system says otherwise.
pub fn ask_statistics(data_dir: &Path) -> io::Result<Value> {
    let mut stream = through_directory(data_dir, |short| BlockingStream::connect(short))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"{\"ask\":\"statistics\"}\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Calls `connect` with a short path to the socket: a Unix address holds 107 bytes, and data
/// directories may lie deeper.
fn through_directory<T>(
    data_dir: &Path,
    connect: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let directory = std::fs::File::open(data_dir)?;
    connect(&PathBuf::from(format!(
        "/proc/self/fd/{}/{NAME}",
        directory.as_raw_fd()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_asked_over_a_socket_however_deep_it_lies() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let deep = root.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).expect("created");
        assert_eq!(
            ask_statistics(&deep).expect_err("nobody listens").kind(),
            io::ErrorKind::NotFound
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut inspector = Some(Inspector::listen(&deep).expect("a socket"));
            let statistics: Statistics = Arc::new(|| json!({ "requests": 7 }));
            let directory = deep.clone();
            let client = tokio::task::spawn_blocking(move || ask_statistics(&directory));
            Inspector::serve_one(&mut inspector, &statistics).await;
            let reply = client.await.expect("no panic").expect("an answer");
            assert_eq!(reply["statistics"]["requests"], 7);
            drop(inspector);
            assert!(!deep.join(NAME).exists());
        });
    }
}
