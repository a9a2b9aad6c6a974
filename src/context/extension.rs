//! What goes along with a call or a stream: metadata and trace context.

use super::Context;
use crate::wire::{Extension, METADATA_BYTES_MAX, METADATA_PAIRS_MAX, TraceContext};

/// Metadata and trace context, encoded; nothing is allocated when there is none. The trace is the
/// one that is given, or goes on that of the handler that runs, with a new id from `trace_id`.
pub(crate) fn extension(
    trace_id: impl FnOnce() -> [u8; 8],
    metadata: &[(String, String)],
    trace_parent: Option<&str>,
    context: Option<&Context>,
) -> Result<Vec<u8>, String> {
    let inherited = context.and_then(Context::trace);
    let trace = match trace_parent {
        Some(text) => Some(given_trace(text, inherited)?),
        None => inherited.map(|trace| TraceContext { parent_id: trace_id(), ..trace.clone() }),
    };
    if metadata.is_empty() && trace.is_none() {
        return Ok(Vec::new());
    }
    check_metadata(metadata)?;
    let mut bytes = Vec::new();
    Extension { metadata: metadata.to_vec(), trace }.put(&mut bytes);
    Ok(bytes)
}

fn check_metadata(metadata: &[(String, String)]) -> Result<(), String> {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    let is_key = |key: &str| !key.is_empty() && key.len() <= 255 && key.is_ascii();
    let problem = if metadata.len() > METADATA_PAIRS_MAX {
        format!("{} pairs of metadata; {METADATA_PAIRS_MAX} are allowed", metadata.len())
    } else if bytes > METADATA_BYTES_MAX {
        format!("{bytes} bytes of metadata; {METADATA_BYTES_MAX} are allowed")
    } else if let Some((key, _)) = metadata.iter().find(|(key, _)| !is_key(key)) {
        format!("{key:?} is no key of metadata: those are 1 to 255 bytes of ASCII")
    } else {
        return Ok(());
    };
    Err(problem)
}

/// A trace context that the caller gives; the state of its trace goes with it, if there is one.
fn given_trace(text: &str, inherited: Option<&TraceContext>) -> Result<TraceContext, String> {
    let Some(mut trace) = TraceContext::from_parent(text) else {
        return Err(format!("{text:?} is no W3C traceparent: 00-<trace id>-<span id>-<flags>"));
    };
    if let Some(inherited) = inherited.filter(|inherited| inherited.trace_id == trace.trace_id) {
        trace.state.clone_from(&inherited.state);
    }
    Ok(trace)
}
