//! Access: API tokens and client addresses.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Whether calls need an API token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// As soon as a token exists, every call needs one; until then only this machine is served.
    #[default]
    Auto,
    /// Every call needs a token, even while none exists.
    Required,
    /// No token is needed to chat, whatever the listener's address. To be set explicitly, never a default. The
    /// dashboard still asks for its password, or without one is open to this machine only.
    Off,
}

/// API tokens and client addresses. Live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Whether calls need an API token.
    pub auth: Auth,
    /// Client networks (CIDR, v4 and v6) let in; empty = all.
    pub allow: Vec<IpNet>,
    /// Client networks kept out; wins over `allow`.
    pub deny: Vec<IpNet>,
    /// Proxies whose `x-forwarded-for` is trusted.
    pub trusted_proxies: Vec<IpNet>,
}
