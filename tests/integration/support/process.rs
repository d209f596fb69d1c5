//! The binary itself, running.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// `pointsman serve`, in a directory of its own, on free ports.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// Where its proxy is.
    pub proxy: String,
}

impl Process {
    /// Starts `pointsman serve --sandbox` with further arguments, and waits until it listens.
    pub fn sandbox(dir: &Path, args: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_pointsman")), dir, args)
    }

    /// The same with at most so many file descriptors.
    pub fn sandbox_with(dir: &Path, descriptors: usize, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_pointsman")]);
        Self::spawn(command, dir, args)
    }

    fn spawn(mut command: Command, dir: &Path, args: &[&str]) -> Self {
        let mut child = command
            .args(["serve", "--sandbox", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(args)
            .current_dir(dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, lines) = sync_channel(100_000);
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let address = |mark: &str| loop {
            let line: String = lines.recv_timeout(PATIENCE).unwrap();
            if let Some((_, address)) = line.split_once(mark) {
                return address.split_whitespace().next().unwrap().to_owned();
            }
        };
        let proxy = address("listens on ");
        address("admin API are on ");
        Self { child, lines, proxy }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
    }

    /// Asks it to end, and gives what it still said and whether it ended well.
    pub fn stop(mut self) -> (String, bool) {
        self.signal("-TERM");
        let ended = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > ended {
                let _ = self.child.kill();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.child.wait().unwrap();
        let said: Vec<String> = self.lines.iter().collect();
        (said.join("\n"), status.success())
    }
}
