//! The first level of a `jsonb`: what stands deeper is cut out as it is, without being read.

use pgrx::pg_sys;
use pgrx::pg_sys::JsonbIteratorToken as Token;
use pgrx::pg_sys::jbvType;

use crate::storage::jsonb::{Json, Jsonb, scalar};

/// An element of an array or a member of an object.
#[derive(Clone, Debug)]
pub enum Part {
    /// A string, a number, a truth value or null.
    Scalar(Json),
    /// An array or an object.
    Container(Jsonb),
}

/// The elements of an array; nothing when it is none.
pub fn elements(array: Jsonb) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let kind = walk(array, |_, part| parts.push(part));
    (kind == Some(Token::WJB_BEGIN_ARRAY)).then_some(parts)
}

/// The members of an object; nothing when it is none.
pub fn members(object: Jsonb) -> Option<Vec<(String, Part)>> {
    let mut parts = Vec::new();
    let kind = walk(object, |key, part| parts.push((key, part)));
    (kind == Some(Token::WJB_BEGIN_OBJECT)).then_some(parts)
}

/// Calls `each` for the parts of the outermost container and gives what kind it is.
fn walk(jsonb: Jsonb, mut each: impl FnMut(String, Part)) -> Option<Token::Type> {
    // SAFETY: detoasting gives a varlena that holds a valid Jsonb, alive as long as the current
    // memory context; the iterator is used until WJB_DONE.
    let mut iterator = unsafe {
        let jsonb = pg_sys::pg_detoast_datum(jsonb.0.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        pg_sys::JsonbIteratorInit(&raw mut (*jsonb).root)
    };
    let mut kind = None;
    let mut key = String::new();
    loop {
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: see above. Containers within are skipped and given as a whole.
        let token = unsafe { pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) };
        match token {
            Token::WJB_BEGIN_ARRAY => {
                // SAFETY: WJB_BEGIN_ARRAY fills the array member.
                if unsafe { value.val.array.rawScalar } {
                    return None;
                }
                kind = Some(token);
            }
            Token::WJB_BEGIN_OBJECT => kind = Some(token),
            Token::WJB_KEY => {
                if let Json::String(name) = scalar(&value) {
                    key = name;
                }
            }
            Token::WJB_ELEM | Token::WJB_VALUE => {
                let part = if value.type_ == jbvType::jbvBinary {
                    // SAFETY: a filled value; JsonbValueToJsonb copies it into a varlena.
                    let copy = unsafe { pg_sys::JsonbValueToJsonb(&mut value) };
                    Part::Container(Jsonb(pg_sys::Datum::from(copy)))
                } else {
                    Part::Scalar(scalar(&value))
                };
                each(std::mem::take(&mut key), part);
            }
            Token::WJB_END_ARRAY | Token::WJB_END_OBJECT => {}
            _ => return kind,
        }
    }
}
