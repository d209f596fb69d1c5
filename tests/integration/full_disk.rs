//! A disk without room: answers go on, what cannot be kept is counted, no feedback is acknowledged that is not there,
//! and with room again everything is as before.
//!
//! The disk is a small one in memory, in a mount namespace of the server's own; where the kernel gives none to this
//! user, nothing is tried.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pointsman::sandbox::Sandbox;
use serde_json::json;

use crate::support::process::{BINARY, Process};
use crate::support::{http, nobody};

/// Bytes of the disk.
const DISK: u64 = 24 << 20;

struct Server {
    process: Process,
    http: reqwest::Client,
}

impl Server {
    /// On a small disk; none where this user gets no namespace.
    fn start(dir: &Path) -> Option<Self> {
        // `exec`, so that the child is the server and is what gets killed.
        let script = format!("mount -t tmpfs -o size={DISK} tmpfs data && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script, BINARY]).envs([Sandbox::variable()]);
        let process = Process::start(command, dir, &["--config", "full.toml"])?;
        Some(Self { process, http: http() })
    }

    /// The disk as seen from outside.
    fn disk(&self, dir: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}/data", self.process.id(), dir.display()))
    }

    /// Asks; the decision's id, or what went wrong.
    async fn ask(&self, number: u32) -> String {
        let answer = self.http.post(format!("{}/api/chat", self.process.proxy)).body(question(number));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200, "question {number} got no answer");
        answer.headers()["x-pointsman-decision"].to_str().unwrap().to_owned()
    }

    async fn rate(&self, decision: &str) -> u16 {
        let body = json!({ "decision_id": decision, "score": 1.0 }).to_string();
        let answer = self.http.post(format!("{}/api/feedback", self.process.proxy)).body(body).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Decisions and outcomes that could not be kept so far.
    async fn not_kept(&self) -> f64 {
        let page = self.http.get(format!("{}/metrics", self.process.admin)).send().await.unwrap();
        let page = page.text().await.unwrap();
        let lines = page.lines().filter(|line| line.contains("log_dropped") && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// The body of a question.
fn question(number: u32) -> String {
    json!({ "messages": [{ "role": "user", "content": format!("question {number}") }], "max_tokens": 5 }).to_string()
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
    let http = http();
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let settings = format!(
            "{}\n[telemetry]\nlog_format = '{format}'\n[server]\ndata_dir = 'data'\n[classifier]\nenabled = false\n",
            sandbox.settings()
        );
        std::fs::write(dir.path().join("full.toml"), settings).unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        // Where it listens it cannot say, so it is told.
        let (proxy, admin) = (nobody().to_string(), nobody().to_string());
        let mut server = Command::new(BINARY)
            .args(["serve", "--listen", &proxy, "--admin", &admin, "--config", "full.toml"])
            .current_dir(dir.path())
            .envs([Sandbox::variable()])
            .stderr(full)
            .spawn()
            .unwrap();
        let chat = async || http.post(format!("http://{proxy}/api/chat")).body(question(0)).send().await;
        let until = Instant::now() + Duration::from_secs(30);
        while !chat().await.is_ok_and(|answer| answer.status() == 200) {
            assert_eq!(server.try_wait().unwrap(), None, "{format}: it ended");
            assert!(Instant::now() < until, "{format}: no answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{format}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_answers_go_on_and_nothing_is_promised() {
    let sandbox = Sandbox::remembering().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let settings = format!("{}\n[server]\ndata_dir = 'data'\n[classifier]\nenabled = false\n", sandbox.settings());
    std::fs::write(dir.path().join("full.toml"), settings).unwrap();
    let Some(server) = Server::start(dir.path()) else {
        sandbox.stop().await;
        return;
    };
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
    drop(server);
    sandbox.stop().await;
}
