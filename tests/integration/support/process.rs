//! The binary itself, running.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// The binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pointsman");

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// `pointsman serve`, in a directory of its own, on free ports. Dropping it kills it.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// What it said before it listened.
    said: Vec<String>,
    /// Where its proxy is.
    pub proxy: String,
    /// Where its admin listener is.
    pub admin: String,
}

impl Process {
    /// Starts `pointsman serve --sandbox` with further arguments, and waits until it listens.
    pub fn sandbox(dir: &Path, args: &[&str]) -> Self {
        Self::start(Command::new(BINARY), dir, &[&["--sandbox"], args].concat()).expect("it ended")
    }

    /// The same with at most so many file descriptors.
    pub fn sandbox_with(dir: &Path, descriptors: usize, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""), BINARY]);
        Self::start(command, dir, &[&["--sandbox"], args].concat()).expect("it ended")
    }

    /// Starts `serve` by a command that runs the binary with the arguments it is given, and waits until it listens;
    /// none if it ended instead.
    pub fn start(mut command: Command, dir: &Path, args: &[&str]) -> Option<Self> {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(args)
            .current_dir(dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // More lines than any test makes it write: with a full pipe it would stand still.
        let (told, lines) = sync_channel(1 << 16);
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let _ = told.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut process = Self { child, lines, said: Vec::new(), proxy: String::new(), admin: String::new() };
        process.proxy = process.address("listens on ")?;
        process.admin = process.address("admin API are on ")?;
        Some(process)
    }

    /// What the next line with this mark says behind it.
    fn address(&mut self, mark: &str) -> Option<String> {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Disconnected) => return None,
                line => line.expect("it does not listen"),
            };
            let address =
                line.split_once(mark).and_then(|(_, rest)| Some(rest.split_whitespace().next()?.to_owned()));
            self.said.push(line);
            if address.is_some() {
                return address;
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.id().to_string()]).status();
    }

    /// Asks it to end, and gives all it said and whether it ended well.
    pub fn stop(mut self) -> (String, bool) {
        self.signal("-TERM");
        let ended = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < ended, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.child.wait().unwrap();
        self.said.extend(self.lines.iter());
        (self.said.join("\n"), status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
