//! The extension area: tagged fields that relays do not read.
//!
//! A field is `tag u8, length u16, value`. A reader skips an even tag that it does not know and
//! refuses the frame for an odd one.

use bytes::{BufMut, Bytes};

/// The most pairs of metadata in one frame.
pub(crate) const METADATA_PAIRS_MAX: usize = 32;
/// The most bytes of metadata in one frame, keys and values together.
pub(crate) const METADATA_BYTES_MAX: usize = 4 << 10;
/// The most bytes of a trace state.
const TRACE_STATE_BYTES_MAX: usize = 512;

/// Tag of one pair of metadata: `key length u8, key, value`.
const METADATA: u8 = 2;
/// Tag of the trace context: trace id 16, parent id 8, flags 1.
const TRACE_PARENT: u8 = 4;
/// Tag of the trace state, text.
const TRACE_STATE: u8 = 6;

/// The W3C trace context of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: [u8; 16],
    pub(crate) parent_id: [u8; 8],
    pub(crate) flags: u8,
    pub(crate) state: String,
}

impl TraceContext {
    /// Reads a `traceparent` of any version; see W3C Trace Context, sections 3.2 and 4.3.
    pub(crate) fn from_parent(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version] = hex(parts.next()?)?;
        let (trace_id, parent_id) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let [flags] = hex(parts.next()?)?;
        // Later versions may add to the end; 255 is none.
        let is_version = version == 0 && parts.next().is_none() || (1..0xff).contains(&version);
        let trace = Self { trace_id, parent_id, flags, state: String::new() };
        (is_version && trace.is_valid()).then_some(trace)
    }

    /// The `traceparent`, in version 0.
    pub(crate) fn to_parent(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("00-{}-{}-{:02x}", hex(&self.trace_id), hex(&self.parent_id), self.flags)
    }

    /// Section 3.2.2: an id of zeros only is invalid.
    fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.parent_id != [0; 8]
    }
}

/// Bytes from exactly as many pairs of lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

/// What an extension area holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extension {
    /// Pairs in the order given; keys may repeat.
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) trace: Option<TraceContext>,
}

impl Extension {
    /// Writes all fields; returns how many bytes that took.
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        for (key, value) in &self.metadata {
            let key_len = u8::try_from(key.len()).unwrap_or(u8::MAX);
            field(out, METADATA, &[&[key_len], key.as_bytes(), value.as_bytes()]);
        }
        if let Some(trace) = &self.trace {
            field(out, TRACE_PARENT, &[&trace.trace_id, &trace.parent_id, &[trace.flags]]);
            if !trace.state.is_empty() {
                field(out, TRACE_STATE, &[trace.state.as_bytes()]);
            }
        }
        out.len() - start
    }

    /// Reads all fields.
    ///
    /// `Err` has the tag of the first field that is malformed, over a limit, or odd and unknown.
    pub(crate) fn read(area: &Bytes) -> Result<Self, u8> {
        let mut extension = Self::default();
        let mut metadata_bytes = 0;
        let mut rest = &area[..];
        while let Some((&tag, after)) = rest.split_first() {
            let (value, after) = split_field(after).ok_or(tag)?;
            rest = after;
            match tag {
                METADATA => {
                    metadata_bytes += value.len();
                    let is_full = extension.metadata.len() == METADATA_PAIRS_MAX;
                    if is_full || metadata_bytes > METADATA_BYTES_MAX + METADATA_PAIRS_MAX {
                        return Err(tag);
                    }
                    extension.metadata.push(pair(value).ok_or(tag)?);
                }
                TRACE_PARENT => extension.trace = Some(trace(value).ok_or(tag)?),
                TRACE_STATE => {
                    let state = std::str::from_utf8(value).map_err(|_| tag)?;
                    let trace = extension.trace.as_mut().ok_or(tag)?;
                    if state.len() > TRACE_STATE_BYTES_MAX {
                        return Err(tag);
                    }
                    state.clone_into(&mut trace.state);
                }
                odd if odd % 2 == 1 => return Err(odd),
                _ => {}
            }
        }
        Ok(extension)
    }
}

fn field(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.put_u8(tag);
    out.put_u16(u16::try_from(len).unwrap_or(u16::MAX));
    for part in parts {
        out.put_slice(part);
    }
}

fn split_field(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = rest.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

fn pair(value: &[u8]) -> Option<(String, String)> {
    let (&key_len, rest) = value.split_first()?;
    let (key, value) = rest.split_at_checked(usize::from(key_len))?;
    if key.is_empty() || !key.is_ascii() {
        return None;
    }
    let text = |bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some((text(key)?, text(value)?))
}

fn trace(value: &[u8]) -> Option<TraceContext> {
    let (&trace_id, rest) = value.split_first_chunk()?;
    let (&parent_id, rest) = rest.split_first_chunk()?;
    let &[flags] = rest else { return None };
    let trace = TraceContext { trace_id, parent_id, flags, state: String::new() };
    trace.is_valid().then_some(trace)
}
