//! A disk without room: answers go on, what cannot be kept is counted, no feedback is acknowledged that is not there,
//! and with room again everything is as before.
//!
//! The disk is a small one in memory, in a mount namespace of the server's own; where the kernel gives none to this
//! user, nothing is tried.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pointsman::sandbox::Sandbox;
use serde_json::json;

/// Bytes of the disk.
const DISK: u64 = 24 << 20;

struct Server {
    child: Child,
    proxy: String,
    admin: String,
    http: reqwest::Client,
}

impl Server {
    /// On a small disk.
    fn start(dir: &Path, config: &Path, key: &(String, String)) -> Self {
        // `exec`, so that the child is the server and is what gets killed.
        let script = format!("mount -t tmpfs -o size={DISK} tmpfs data && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script, env!("CARGO_BIN_EXE_pointsman")]);
        Self::spawn(command, dir, config, key, Stdio::null())
    }

    /// `command` runs the binary with the arguments that are added; `stderr` is where its lines go.
    fn spawn(mut command: Command, dir: &Path, config: &Path, key: &(String, String), stderr: Stdio) -> Self {
        let (proxy, admin) = (super::crash::free_address(), super::crash::free_address());
        let child = command
            .args(["serve", "--listen", &proxy, "--admin", &admin, "--config"])
            .arg(config)
            .current_dir(dir)
            .env(&key.0, &key.1)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { child, proxy, admin, http }
    }

    async fn is_ready(&mut self) -> bool {
        for _ in 0..3000 {
            let answer = self.http.get(format!("http://{}/ready", self.proxy)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// The disk as seen from outside.
    fn disk(&self, dir: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}/data", self.child.id(), dir.display()))
    }

    /// Asks; the decision's id, or what went wrong.
    async fn ask(&self, number: u32) -> String {
        let body =
            json!({ "messages": [{ "role": "user", "content": format!("question {number}") }], "max_tokens": 5 });
        let answer =
            self.http.post(format!("http://{}/api/chat", self.proxy)).body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "question {number} got no answer");
        answer.headers()["x-pointsman-decision"].to_str().unwrap().to_owned()
    }

    async fn rate(&self, decision: &str) -> u16 {
        let body = json!({ "decision_id": decision, "score": 1.0 }).to_string();
        let answer = self.http.post(format!("http://{}/api/feedback", self.proxy)).body(body).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Decisions and outcomes that could not be kept so far.
    async fn not_kept(&self) -> f64 {
        let page =
            self.http.get(format!("http://{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap();
        let lines = page.lines().filter(|line| line.contains("log_dropped") && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Writes zeros until there is no room, and then byte by byte.
fn fill(file: &Path) {
    let mut out = std::fs::File::create(file).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while out.write(&vec![0; size]).is_ok_and(|written| written > 0) {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_lines_nobody_takes_serves_all_the_same() {
    let sandbox = Sandbox::remembering().await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("full.toml");
        let settings = format!(
            "{}\n[telemetry]\nlog_format = '{format}'\n[server]\ndata_dir = 'data'\n[classifier]\nenabled = false\n",
            sandbox.settings()
        );
        std::fs::write(&config, settings).unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        let mut server = Server::spawn(command, dir.path(), &config, &Sandbox::variable(), full.into());
        assert!(server.is_ready().await, "{format}: it ended");
        server.ask(0).await;
        let _ = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status();
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{format}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_answers_go_on_and_nothing_is_promised() {
    let sandbox = Sandbox::remembering().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let config = dir.path().join("full.toml");
    let settings = format!("{}\n[server]\ndata_dir = 'data'\n[classifier]\nenabled = false\n", sandbox.settings());
    std::fs::write(&config, settings).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut server = Server::start(dir.path(), &config, &Sandbox::variable());
    if !server.is_ready().await {
        // No namespaces for this user: there is no small disk to try.
        let _ = server.child.kill();
        server.child.wait().unwrap();
        sandbox.stop().await;
        return;
    }
    let first = server.ask(0).await;
    assert_eq!(server.rate(&first).await, 200);
    let disk = server.disk(dir.path());
    let filler = disk.join("filler");
    let mut asked = 0;
    // The second time sled has something new to bring into a snapshot when it is opened.
    for _ in 0..2 {
        fill(&filler);
        // What still fits into the files' slack is kept; go on until it is used up.
        let dropped = server.not_kept().await;
        let mut refused = 0;
        let until = Instant::now() + Duration::from_secs(60);
        while (refused == 0 || server.not_kept().await == dropped) && Instant::now() < until {
            for _ in 0..100 {
                asked += 1;
                let decision = server.ask(asked).await;
                if asked % 25 == 0 {
                    let status = server.rate(&decision).await;
                    // 404: the decision was let go before anybody judged it.
                    assert!([200, 404, 503].contains(&status), "{status}");
                    refused += u32::from(status != 200);
                }
            }
            fill(&filler);
        }
        assert!(refused > 0 && server.not_kept().await > dropped, "the disk never was full after {asked} questions");
        // Long enough for the database to be tried twice.
        tokio::time::sleep(Duration::from_secs(6)).await;
        std::fs::remove_file(&filler).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            asked += 1;
            let decision = server.ask(asked).await;
            if server.rate(&decision).await == 200 {
                break;
            }
            assert!(Instant::now() < until, "there is room again, and nothing is kept");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(server.rate(&first).await, 200, "what was kept before is still there");
        let names: Vec<_> = disk.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("broken")), "{names:?}");
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    sandbox.stop().await;
}
