//! Vendors' errors as clients may see them.

use crate::codec::Secrets;
use crate::protocol::{ApiError, ErrorKind};

/// Puts the source (`who`) before the error's message and hides `secrets` in it. Messages about our key or
/// permissions are replaced: some vendors quote a part of the key, and it is no client's business.
pub fn attributed_to(mut error: ApiError, who: &str, secrets: &Secrets) -> ApiError {
    secrets.hide_in_error(&mut error);
    match error.kind {
        ErrorKind::Authentication => error.message = "it refuses our key".into(),
        // For this model, or from this region: the key may be good.
        ErrorKind::Permission => error.message = "it does not permit us this call".into(),
        _ => {}
    }
    error.told_by(who)
}

/// Whether the vendor would answer the same a moment later: it refuses our key, or does not know the model. A quota
/// may be one of a minute, so it does not count.
pub fn is_lasting(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::NotFound)
}
