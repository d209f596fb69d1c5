//! The measured gateway: a process of its own, so that its memory can be measured, with everything switched on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;

use crate::store::{NewToken, Scope, Tokens, private_directory};

/// How long the start may take.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running gateway.
pub(super) struct Subject {
    /// Where its proxy listens.
    pub(super) address: SocketAddr,
    /// An API token for it.
    pub(super) token: String,
    child: Child,
    dir: PathBuf,
}

impl Subject {
    /// Starts this same binary in front of `upstream`, with API tokens, rules, metrics and log lines.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(super) async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let dir = private_directory("bench").context("a directory for the run")?;
        let mut tokens = Tokens::default();
        let new = NewToken { name: "bench".into(), scopes: vec![Scope::Chat], ..NewToken::default() };
        let (_, token) = tokens.add(new, [7; 20], 0)?;
        tokens.save(&dir)?;
        let address = free_address()?;
        std::fs::write(dir.join("bench.toml"), settings(&dir, address, upstream))?;
        let log = std::fs::File::create(dir.join("log")).context("the file for log lines")?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["serve", "--config", "bench.toml"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        // The user's own settings must not affect the measured gateway.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"POINTSMAN_")) {
            command.env_remove(name);
        }
        command.env("POINTSMAN_BENCH_KEY", "bench");
        let child = command.spawn().context("the gateway cannot be started")?;
        let mut subject = Self { address, token, child, dir };
        subject.wait().await?;
        Ok(subject)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).await.is_err() {
            if self.child.try_wait()?.is_some() || tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                bail!("the gateway did not start:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Memory in MiB as the kernel counts it: `VmRSS` = now, `VmHWM` = the peak. `None` where there is no `/proc`.
    pub(super) fn memory(&self, what: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(what))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
    }
}

/// Ends the gateway and removes its files, also after a failed measurement.
impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A port that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn settings(dir: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "
[server]
listen = '{address}'
data_dir = '{}'
[admin]
listen = '127.0.0.1:0'
[access]
auth = 'required'
[limits]
requests_per_minute = 100000000
[telemetry]
log_format = 'json'
[classifier]
enabled = false
[providers.ollama]
enabled = false
[providers.bench]
base_url = 'http://{upstream}/v1'
key_env = 'POINTSMAN_BENCH_KEY'
[models.bench]
provider = 'bench'
upstream = 'fixed'
price = {{ input = 1.0, output = 2.0 }}
[[rules]]
name = 'secrets'
when = {{ regex = ['(?i)confidential'], keywords = ['secret'] }}
pin = 'bench'
[[rules]]
name = 'long'
when = {{ min_tokens = 100000 }}
forbid = ['bench']
",
        dir.display()
    )
}
