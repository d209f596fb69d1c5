//! The embedded database (the only home of sled).
