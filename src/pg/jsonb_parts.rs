//! Splits a `jsonb` at its first level. Nested containers are copied as they are, without being
//! parsed.

use std::convert::Infallible;

use pgrx::pg_sys;
use pgrx::pg_sys::JsonbIteratorToken as Token;
use pgrx::pg_sys::jbvType;

use crate::pg::jsonb::{Json, Jsonb, Tokens, scalar, string};

/// An element of an array or a member of an object.
#[derive(Clone, Debug)]
pub enum Part {
    /// A string, a number, a boolean or null.
    Scalar(Json),
    /// An array or an object.
    Container(Jsonb),
}

/// The elements of an array. `None` if the value is not an array.
pub fn elements(array: Jsonb) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let is_array = walk(array, Token::WJB_BEGIN_ARRAY, |_, part| {
        parts.push(part);
        Ok::<_, Infallible>(())
    });
    matches!(is_array, Ok(true)).then_some(parts)
}

/// Calls `each` for the members of an object, with their names, until a call fails. Returns false
/// if the value is not an object.
pub fn members<E>(object: Jsonb, each: impl FnMut(&str, Part) -> Result<(), E>) -> Result<bool, E> {
    walk(object, Token::WJB_BEGIN_OBJECT, each)
}

/// Calls `each` for the parts of the outermost container if it begins with that token. Returns
/// false otherwise.
fn walk<E>(
    jsonb: Jsonb,
    begin: Token::Type,
    mut each: impl FnMut(&str, Part) -> Result<(), E>,
) -> Result<bool, E> {
    // Nested containers are returned as a whole.
    let mut tokens = Tokens::new(true);
    // SAFETY: the datum is a jsonb, whose tokens live as long as the current memory context.
    unsafe { tokens.begin(jsonb.0, usize::MAX) };
    let mut key = "".into();
    loop {
        // SAFETY: the iteration has begun above and ends with WJB_DONE.
        let (token, mut value) = unsafe { tokens.next() };
        match token {
            Token::WJB_BEGIN_ARRAY | Token::WJB_BEGIN_OBJECT => {
                // SAFETY: WJB_BEGIN_ARRAY fills the array member.
                let is_scalar =
                    token == Token::WJB_BEGIN_ARRAY && unsafe { value.val.array.rawScalar };
                if token != begin || is_scalar {
                    return Ok(false);
                }
            }
            Token::WJB_KEY => {
                // SAFETY: a key is a string of the jsonb, which stays alive.
                key = unsafe { string(&value) };
            }
            Token::WJB_ELEM | Token::WJB_VALUE => {
                let part = if value.type_ == jbvType::jbvBinary {
                    // SAFETY: a complete value; JsonbValueToJsonb copies it into a varlena.
                    let copy = unsafe { pg_sys::JsonbValueToJsonb(&mut value) };
                    Part::Container(Jsonb(pg_sys::Datum::from(copy)))
                } else {
                    Part::Scalar(scalar(&value))
                };
                each(&key, part)?;
            }
            Token::WJB_END_ARRAY | Token::WJB_END_OBJECT => {}
            _ => return Ok(true),
        }
    }
}
