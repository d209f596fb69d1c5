//! The neutral forms in the middle: what a request, an answer, a stream event, a price and an id *are*,
//! before any wire format and any vendor.
//!
//! Every dialect decodes into these types and encodes out of them, so N formats need N codecs and not N x N.
//! Nothing here knows a network, a clock, a random source or tokio: all of that comes in as arguments.

mod choice;
mod error;
mod event;
mod ids;
mod literal;
mod message;
mod mode;
mod money;
mod request;
mod requested;
mod response;
mod status;
mod texts;
mod tool;
mod usage;

pub use choice::{Excluded, Shadow};
pub use error::{ApiError, ErrorKind, VendorError};
pub use event::{StreamEvent, ToolCallDelta};
pub use ids::{DecisionId, Dialect, ModelName, RequestId, mix};
pub(crate) use literal::end_of_text;
pub use message::{ImageSource, Message, Part, Role};
pub use mode::Mode;
pub use money::{LongPrompt, Price, Usd};
pub use request::{
    CacheWish, ChatRequest, Effort, NamedObjective, Needs, Objective, Reasoning, ResponseFormat, RoutingOptions,
    Sampling,
};
pub use requested::RequestedModel;
pub use response::{ChatResponse, FinishReason};
pub use status::OutcomeStatus;
pub use tool::{Tool, ToolChoice};
pub use usage::{Compaction, MAX_PLAUSIBLE_TOKENS, Usage};
