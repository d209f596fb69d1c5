//! Tools a model may call.

use serde::Deserialize;
use serde_json::Value;

/// A function the model may call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tool {
    /// The function's name.
    pub name: String,
    /// What the function does, for the model to read.
    pub description: Option<String>,
    /// JSON Schema of its arguments object.
    pub parameters: Value,
    /// Whether the vendor must hold the arguments to the schema.
    pub strict: Option<bool>,
    /// Prompt-cache marker on the tool (Anthropic `cache_control`), as written.
    pub cache_control: Option<Value>,
}

impl Tool {
    /// A function of which no more is said than how to call it.
    pub fn new(name: impl Into<String>, parameters: Value) -> Self {
        Self { name: name.into(), description: None, parameters, strict: None, cache_control: None }
    }
}

/// Whether the model must call a tool, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool may be called.
    None,
    /// Some tool must be called (OpenAI `required`, Anthropic `any`).
    Required,
    /// This tool must be called.
    Named(String),
}

impl ToolChoice {
    /// Whether the model must call a tool.
    pub fn demands_call(&self) -> bool {
        matches!(self, Self::Required | Self::Named(_))
    }
}
