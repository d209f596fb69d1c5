//! The proxy's endpoints, one a file. All chat endpoints share one road ([`chat`]).

pub mod body;
pub mod chat;
pub mod count_tokens;
mod dropped;
mod embedders;
pub mod embeddings;
pub mod feedback;
pub mod health;
mod left_early;
pub mod models;
pub mod outcomes;
mod record;
pub mod route;
mod routing_headers;
