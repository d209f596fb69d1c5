//! The embedded Llama model (the only home of candle): prompt to features, features to predictions.

pub mod stats;
