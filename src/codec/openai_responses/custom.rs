//! Custom tools, which take plain text. Other dialects get them as functions with one argument, the text.

use serde_json::{Map, Value, json};

use super::super::json::Object;
use crate::protocol::{ApiError, Tool};

/// The name of that argument.
const INPUT: &str = "input";

/// Reads a custom tool. A grammar for the text goes into the description: other dialects cannot enforce one.
pub(super) fn tool(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Tool, ApiError> {
    let name = fields.need_string("name")?;
    let mut description = fields.string("description")?;
    if let Some(mut format) = fields.object("format")?
        && format.need_string("type")? != "text"
    {
        let (syntax, grammar) = (format.need_string("syntax")?, format.need_string("definition")?);
        let told = format!("The text must follow this grammar ({syntax}):\n{grammar}");
        description = Some(description.map_or(told.clone(), |text| format!("{text}\n\n{told}")));
        format.leave(leftovers);
    }
    let text = json!({ "type": "string", "description": "The text that the tool takes, as it is." });
    let parameters = json!({
        "type": "object", "properties": { INPUT: text }, "required": [INPUT], "additionalProperties": false,
    });
    Ok(Tool { name, description, parameters, strict: None, cache_control: None })
}

/// The arguments of a function for a custom tool's text.
pub(super) fn arguments(input: &str) -> String {
    json!({ INPUT: input }).to_string()
}

/// The text in such arguments. Arguments of another form, or cut off, are returned as they are: half a text must not be
/// taken for a whole one.
pub(super) fn input(arguments: &str) -> String {
    match serde_json::from_str(arguments) {
        Ok(Value::String(text)) => text,
        // Called without a text.
        Ok(Value::Object(fields)) if fields.is_empty() => String::new(),
        Ok(Value::Object(mut fields)) if fields.get(INPUT).is_some_and(Value::is_string) => {
            fields.remove(INPUT).and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default()
        }
        _ => arguments.to_owned(),
    }
}
