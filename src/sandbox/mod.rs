//! A small world to try the gateway in: stand-in upstreams that speak the real wire formats with faults on demand, and
//! simulated users who ask, like, dislike and sometimes say so. One piece of code behind `serve --sandbox`,
//! `demo` and the tests' fake upstream. Nothing here is random at run time: see [`dice`].

pub mod dice;
pub mod prompts;
pub mod skill;
pub mod users;

pub use prompts::{Prompt, Task};
pub use skill::Skill;
pub use users::{Change, Drift, Rating, Verdict, Visit, World};
