//! What happens before and after every handler, in this order: the request gets an id, and one line in the log when
//! it is answered ([`request_id`]); a body that is announced and too large is refused ([`oversize`]); the caller is
//! told by address and token ([`caller`]), and refused where it may not come in; its rates are counted ([`limit`]).

pub mod caller;
pub mod ip;
pub mod limit;
pub mod oversize;
pub mod request_id;
