//! The admin listener.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The dashboard's password, as resolved at load.
#[derive(Debug, Clone)]
pub enum Password {
    /// Plain text, from the environment.
    Plain(SecretString),
    /// An argon2 hash (a PHC string), from a file.
    Hash(SecretString),
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(two)) | (Self::Hash(one), Self::Hash(two)) => {
                one.expose_secret() == two.expose_secret()
            }
            _ => false,
        }
    }
}

impl Eq for Password {}

/// The admin listener: metrics, admin API, dashboard. Fixed at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Whether the listener is opened.
    pub enabled: bool,
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The dashboard's user name.
    pub user: String,
    /// Environment variable that holds the dashboard's password.
    pub password_env: String,
    /// File that holds an argon2 hash of the password (as `pointsman password` prints it); wins over the variable.
    pub password_file: Option<PathBuf>,
    /// Hours until a session ends.
    pub session_hours: u64,
    /// The password, as resolved at load; `None` = the dashboard opens by a one-time link, on loopback only. Never
    /// printed, never serialised.
    #[serde(skip)]
    pub password: Option<Password>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3200)),
            user: "admin".into(),
            password_env: "POINTSMAN_ADMIN_PASSWORD".into(),
            password_file: None,
            session_hours: 12,
            password: None,
        }
    }
}
