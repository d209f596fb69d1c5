//! HTTP in, HTTP out (the only home of axum).
