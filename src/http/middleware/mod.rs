//! What happens before and after every handler, in this order: the request gets an id, and a log line when it is
//! answered ([`request_id`]); a body announced as too large is refused ([`oversize`]); the caller is identified by
//! address and token ([`caller`]), and refused where it may not call.

pub mod caller;
pub mod ip;
pub mod oversize;
pub mod request_id;
