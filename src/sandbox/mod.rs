//! A simulated world to try the gateway in: stand-in upstreams that speak the real wire formats, with faults on demand,
//! and simulated users who ask, like, dislike and sometimes say so ([`users`]; [`crowd`] sends their requests to a
//! gateway, and [`score`] compares its choices with all others). The same code serves `serve --sandbox`, `demo` and the
//! tests' fake upstream. Nothing here is random at run time (see [`dice`]), but the waits of `bench`'s upstream.
//!
//! **Upstreams.** [`Sandbox::start`] opens one server on loopback for all vendors. A request is checked by the vendor's
//! own rules ([`openai`], [`anthropic`], [`ollama`]; written apart from `codec`, so that a mistake there cannot hide
//! here), answered by [`answer`], delayed by the model's [`profile`], and spoilt by a [`fault`] where one is set.

mod answer;
mod anthropic;
pub mod crowd;
pub mod dice;
mod fault;
mod fixed;
mod frames;
mod ollama;
mod openai;
mod openai_responses;
mod profile;
pub mod prompts;
pub mod score;
mod server;
pub mod skill;
pub mod users;
mod vendor;
mod watch;

pub use fault::{Fault, Faults, Times};
pub use fixed::FixedUpstream;
pub(crate) use fixed::content_length;
pub use profile::{Pace, Profile};
pub use prompts::{Prompt, Task};
pub use server::{KEY, Sandbox, SeenRequest};
pub use skill::Skill;
pub use users::{Change, Drift, Rating, Verdict, Visit, World};
pub use vendor::Vendor;
