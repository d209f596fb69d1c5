//! What of a vendor's error is a client's business.

use crate::codec::Secrets;
use crate::protocol::{ApiError, ErrorKind};

/// Puts who gave it before an error's message. What a vendor says of our key is no client's business: some quote a
/// part of it; and where another error quotes what it was sent, the `secrets` in it are hidden.
pub fn attributed_to(mut error: ApiError, who: &str, secrets: &Secrets) -> ApiError {
    secrets.hide_in_error(&mut error);
    match error.kind {
        ErrorKind::Authentication => error.message = "it refuses our key".into(),
        // To a model, from a region: the key may be good.
        ErrorKind::Permission => error.message = "it does not permit us this call".into(),
        _ => {}
    }
    error.message = format!("{who}: {}", error.message);
    error
}

/// Whether a vendor will say the same a moment later, too: of our key, or of our name of its model. A quota may be one of
/// a minute.
pub fn is_lasting(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::NotFound)
}

/// The kind that a client is told. What a vendor holds against our key, our account, our names of its models is
/// nothing that the client could mend by another credential.
pub fn client_kind(kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::NotFound | ErrorKind::Quota => {
            ErrorKind::Upstream
        }
        kind => kind,
    }
}
