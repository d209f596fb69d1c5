//! Who may come in.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Whether an API token is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Once a token exists every call needs one; until then only loopback is served.
    #[default]
    Auto,
    /// Every call needs a token, even while none exists.
    Required,
    /// Nobody needs a token to chat, whatever the listener's address. To be written down, never a default. The panel
    /// asks for its password all the same, or is open to this machine only.
    Off,
}

/// Tokens and addresses. Live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Whether an API token is asked for.
    pub auth: Auth,
    /// Networks (CIDR, v4 and v6) that may come in; empty = all.
    pub allow: Vec<IpNet>,
    /// Networks that may not; stronger than `allow`.
    pub deny: Vec<IpNet>,
    /// Proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpNet>,
}
