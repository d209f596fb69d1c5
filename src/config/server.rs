//! The proxy listener.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The proxy listener, and the data directory. Fixed at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Directory of the database, tokens and caches.
    pub data_dir: PathBuf,
    /// Seconds that answers in progress get to end after SIGTERM.
    pub drain_s: u64,
    /// Connections served at once; a further one replaces the longest idle, or waits.
    pub max_connections: usize,
    /// Seconds a client may take to send the head of its first request.
    pub header_timeout_s: u64,
    /// Seconds a connection is kept between two requests, up to the head of the second.
    pub keep_alive_s: u64,
    /// Seconds in which a client must read something of its answer.
    pub write_timeout_s: u64,
    /// Origins that browsers may call from (CORS); empty = none, `*` = any.
    pub cors_origins: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3100)),
            data_dir: PathBuf::from("var"),
            drain_s: 30,
            max_connections: 4096,
            header_timeout_s: 15,
            keep_alive_s: 75,
            write_timeout_s: 60,
            cors_origins: Vec::new(),
        }
    }
}
