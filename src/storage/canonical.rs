//! The bytes that the hash chain covers: binary digests, then a JSON array of strings and nulls,
//! written as `jsonb` prints it. Pure.
//!
//! Every charge writes such an array, so numbers and digits go straight into the bytes to hash.

use crate::money::{Amount, push_digits};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The array during its construction, element by element.
pub struct Canonical {
    out: Vec<u8>,
    has_elements: bool,
}

impl Canonical {
    /// An empty array after some bytes.
    pub fn after(head: &[u8]) -> Canonical {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(head);
        out.push(b'[');
        Canonical {
            out,
            has_elements: false,
        }
    }

    fn next(&mut self) {
        if self.has_elements {
            self.out.extend_from_slice(b", ");
        }
        self.has_elements = true;
    }

    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.next();
        self.out.push(b'"');
        write(&mut self.out);
        self.out.push(b'"');
    }

    /// Adds a string, or null.
    pub fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.quoted(|out| push_escaped(out, text)),
            None => {
                self.next();
                self.out.extend_from_slice(b"null");
            }
        }
    }

    /// Adds bytes in lower-case hexadecimal digits.
    pub fn hex(&mut self, bytes: &[u8]) {
        self.quoted(|out| push_hex(out, bytes));
    }

    /// Adds a uuid as PostgreSQL prints it, or null.
    pub fn uuid(&mut self, value: Option<[u8; 16]>) {
        let mut buffer = [0; 36];
        let text = value.map(|bytes| {
            let uuid = uuid::Uuid::from_bytes(bytes).hyphenated();
            &*uuid.encode_lower(&mut buffer)
        });
        self.text(text);
    }

    /// Adds an integer in decimal digits.
    pub fn number(&mut self, value: i64) {
        self.quoted(|out| {
            if value < 0 {
                out.push(b'-');
            }
            push_digits(out, value.unsigned_abs(), 1);
        });
    }

    /// Adds an amount with all twelve decimals, or null.
    pub fn amount(&mut self, value: Option<Amount>) {
        match value {
            Some(amount) => self.quoted(|out| amount.push_fixed(out)),
            None => self.text(None),
        }
    }

    /// The finished array.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.push(b']');
        self.out
    }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    for (pair, byte) in out[start..].chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The inside of a string as `jsonb` prints it.
pub fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    push_escaped(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes the inside of a string as `jsonb` prints it.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    // Scans all bytes without an early exit, so that the compiler can vectorize the loop.
    if text
        .as_bytes()
        .iter()
        .fold(true, |all, byte| all & plain(byte))
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control @ 0..0x20 => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, &[control]);
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_canonical_form_is_printed_like_jsonb() {
        let mut out = Canonical::after(b"");
        out.text(Some("a\"\\\n\u{1f}é"));
        out.text(None);
        out.number(-12);
        out.number(0);
        out.hex(&[0, 0xaf]);
        out.uuid(Some([0x12; 16]));
        out.amount(Some(Amount::from_units(-1_500_000_000_001).unwrap()));
        assert_eq!(
            String::from_utf8(out.finish()).unwrap(),
            r#"["a\"\\\n\u001fé", null, "-12", "0", "00af", "12121212-1212-1212-1212-121212121212", "-1.500000000001"]"#
        );
    }

    proptest! {
        #[test]
        fn strings_read_back_as_json(text in any::<String>(), number in any::<i64>()) {
            let mut out = Canonical::after(b"");
            out.text(Some(&text));
            out.number(number);
            let read: Vec<String> = serde_json::from_slice(&out.finish()).unwrap();
            prop_assert_eq!(read, vec![text, number.to_string()]);
        }
    }
}
