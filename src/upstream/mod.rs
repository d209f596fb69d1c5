//! Provider calls (the only home of reqwest).
