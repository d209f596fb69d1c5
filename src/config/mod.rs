//! Configuration: one section file per module that has settings; loading, layering, validation.

mod store;

pub use store::Store;
