//! Reads and builds PostgreSQL's `jsonb` in its binary form.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ptr;

use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys::JsonbIteratorToken as Token;
use pgrx::pg_sys::jbvType;
use pgrx::{pg_sys, varlena};
use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::numeric::Number;
use crate::pg::{cards, numeric, raw};

/// The maximum nesting depth of an argument.
pub const MAX_DEPTH: usize = 64;

/// A `jsonb` argument or column that is passed on unchanged.
#[derive(Clone, Copy, Debug)]
pub struct Jsonb(pub pg_sys::Datum);

/// A JSON value read into Rust. Objects have the order of keys in `jsonb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number with all its digits.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The entries of an object.
    pub fn as_object(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// Writes a form that is the same for equal values: keys in the order of `jsonb`, numbers
    /// without trailing zeros. It is the input of fingerprints and is not meant to be parsed.
    pub fn write_canonical(&self, out: &mut String) {
        match self {
            Json::Null => out.push('n'),
            Json::Bool(value) => out.push(if *value { 't' } else { 'f' }),
            Json::Number(Number::Finite {
                negative,
                weight,
                digits,
            }) => {
                let trailing = digits.iter().rev().take_while(|digit| **digit == 0).count();
                let digits = &digits[..digits.len() - trailing];
                out.push_str(if *negative { "#-" } else { "#" });
                out.push_str(itoa::Buffer::new().format(*weight));
                out.push(':');
                for digit in digits {
                    for unit in [1000, 100, 10, 1] {
                        out.push(char::from(b'0' + (digit / unit % 10) as u8));
                    }
                }
                out.push(';');
            }
            Json::Number(_) => out.push('?'),
            Json::String(text) => {
                push_counted(out, text.len(), '"');
                out.push_str(text);
            }
            Json::Array(items) => {
                push_counted(out, items.len(), '[');
                items.iter().for_each(|item| item.write_canonical(out));
            }
            Json::Object(entries) => {
                push_counted(out, entries.len(), '{');
                for (key, value) in entries {
                    push_counted(out, key.len(), '"');
                    out.push_str(key);
                    value.write_canonical(out);
                }
            }
        }
    }
}

/// Writes a count and a letter that says what is counted.
fn push_counted(out: &mut String, count: usize, what: char) {
    out.push_str(itoa::Buffer::new().format(count));
    out.push(what);
}

/// Iterates over the tokens of a `jsonb`. They are fetched in batches, so that one `sigsetjmp`
/// guard suffices for most usage objects.
pub(crate) struct Tokens {
    iterator: *mut pg_sys::JsonbIterator,
    /// Whether nested containers are returned as a whole.
    skip_nested: bool,
    fetched: [(Token::Type, pg_sys::JsonbValue); TOKENS],
    next: usize,
}

/// The number of tokens of an object with six keys.
const TOKENS: usize = 14;

impl Tokens {
    pub(crate) fn new(skip_nested: bool) -> Tokens {
        Tokens {
            iterator: ptr::null_mut(),
            skip_nested,
            fetched: [(Token::WJB_DONE, pg_sys::JsonbValue::default()); TOKENS],
            next: TOKENS,
        }
    }

    /// Returns the size of the value, in bytes. Fetches the first tokens unless it is larger than
    /// `max_bytes`.
    ///
    /// # Safety
    /// The datum is a jsonb.
    pub(crate) unsafe fn begin(&mut self, datum: pg_sys::Datum, max_bytes: usize) -> usize {
        // SAFETY: a jsonb datum points to a varlena. Its raw size is read before detoasting.
        // Detoasting returns a varlena with a 4-byte header that contains a valid Jsonb and lives
        // as long as the current memory context.
        unsafe {
            raw::guarded(|| {
                let size = raw::toast_raw_datum_size(datum);
                if size <= max_bytes {
                    let jsonb = raw::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
                    self.iterator = raw::JsonbIteratorInit(&raw mut (*jsonb).root);
                    self.fetch();
                }
                size
            })
        }
    }

    /// # Safety
    /// The iteration has begun and not ended. Called inside a `sigsetjmp` guard.
    unsafe fn fetch(&mut self) {
        self.next = 0;
        for (token, value) in &mut self.fetched {
            // SAFETY: the iterator came from JsonbIteratorInit.
            *token = unsafe { raw::JsonbIteratorNext(&mut self.iterator, value, self.skip_nested) };
            if *token == Token::WJB_DONE {
                break;
            }
        }
    }

    /// The next token, and its value if it has one.
    ///
    /// # Safety
    /// The iteration has begun, and `WJB_DONE` has not been returned.
    pub(crate) unsafe fn next(&mut self) -> (Token::Type, pg_sys::JsonbValue) {
        if self.next == TOKENS {
            // SAFETY: the last token that was fetched is not the end.
            unsafe { raw::guarded(|| self.fetch()) };
        }
        let next = self.fetched[self.next];
        self.next += 1;
        next
    }
}

fn too_large(argument: &str, size: usize, max_bytes: usize) -> Error {
    Error::argument(format!("{argument} is too large"))
        .detail(format!(
            "It takes {size} bytes; at most {max_bytes} are allowed."
        ))
        .hint("Keep large payloads in a table of your own and refer to them by a key.")
}

fn too_deep(argument: &str) -> Error {
    Error::argument(format!("{argument} is nested too deeply"))
        .detail(format!("At most {MAX_DEPTH} levels are allowed."))
        .hint("Pass the usage object itself, not what contains it.")
}

/// A container that is not complete yet.
enum Open {
    Array(Vec<Json>),
    Object(Vec<(String, Json)>, Option<String>),
}

impl Jsonb {
    /// Reads the whole value. Refuses a value with more than `max_bytes` bytes or [`MAX_DEPTH`]
    /// levels, or with card data. `argument` is its name in the error.
    pub fn read(self, argument: &str, max_bytes: usize) -> Result<Json> {
        self.walk(argument, max_bytes, true)
    }

    /// Reads a value that was checked before, from an argument or a table.
    pub fn reread(self, what: &str) -> Result<Json> {
        self.walk(what, usize::MAX, false)
    }

    fn walk(self, argument: &str, max_bytes: usize, checked: bool) -> Result<Json> {
        let mut tokens = Tokens::new(false);
        // SAFETY: the datum is a jsonb.
        let size = unsafe { tokens.begin(self.0, max_bytes) };
        if size > max_bytes {
            return Err(too_large(argument, size, max_bytes));
        }
        let mut stack: Vec<Open> = Vec::new();
        let mut is_scalar = false;
        loop {
            // SAFETY: the iteration has begun above and ends with WJB_DONE; every string is copied
            // below.
            let (token, value) = unsafe { tokens.next() };
            let finished = match token {
                Token::WJB_BEGIN_ARRAY | Token::WJB_BEGIN_OBJECT => {
                    if stack.len() >= MAX_DEPTH {
                        return Err(too_deep(argument));
                    }
                    if token == Token::WJB_BEGIN_ARRAY {
                        // SAFETY: WJB_BEGIN_ARRAY fills the array member.
                        is_scalar = stack.is_empty() && unsafe { value.val.array.rawScalar };
                        stack.push(Open::Array(Vec::new()));
                    } else {
                        stack.push(Open::Object(Vec::new(), None));
                    }
                    continue;
                }
                Token::WJB_KEY => {
                    if let (Some(Open::Object(_, key)), Json::String(name)) =
                        (stack.last_mut(), scalar(&value))
                    {
                        if checked {
                            cards::refuse_key(argument, &name)?;
                        }
                        *key = Some(name);
                    }
                    continue;
                }
                Token::WJB_VALUE | Token::WJB_ELEM => {
                    let leaf = scalar(&value);
                    if checked {
                        refuse_card_data(argument, &stack, &leaf)?;
                    }
                    leaf
                }
                Token::WJB_END_ARRAY | Token::WJB_END_OBJECT => match stack.pop() {
                    Some(Open::Array(items)) => Json::Array(items),
                    Some(Open::Object(entries, _)) => Json::Object(entries),
                    None => Json::Null,
                },
                _ => return Ok(Json::Null),
            };
            match stack.last_mut() {
                Some(Open::Array(items)) => items.push(finished),
                Some(Open::Object(entries, key)) => {
                    entries.push((key.take().unwrap_or_default(), finished));
                }
                // A scalar at the root is wrapped into an array of one element.
                None => {
                    return Ok(match finished {
                        Json::Array(mut items) if is_scalar => items.pop().unwrap_or(Json::Null),
                        other => other,
                    });
                }
            }
        }
    }

    /// The text that PostgreSQL prints for the value, like `usage::text` in SQL.
    pub fn to_text(self) -> String {
        // SAFETY: as in `read`; the C string is palloc'ed and copied at once.
        unsafe {
            let jsonb = pg_sys::pg_detoast_datum(self.0.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
            let size = varlena::varsize_any_exhdr(jsonb.cast());
            let text = pg_sys::JsonbToCString(
                ptr::null_mut(),
                &raw mut (*jsonb).root,
                i32::try_from(size).unwrap_or(i32::MAX),
            );
            std::ffi::CStr::from_ptr(text)
                .to_string_lossy()
                .into_owned()
        }
    }
}

/// The error WL011 if a leaf looks like card data.
fn refuse_card_data(argument: &str, stack: &[Open], leaf: &Json) -> Result<()> {
    let name = || {
        let keys = stack.iter().rev().filter_map(|open| match open {
            Open::Object(_, key) => key.as_deref(),
            Open::Array(_) => None,
        });
        keys.into_iter().next().unwrap_or(argument)
    };
    match leaf {
        Json::String(text) => cards::refuse_in_text(argument, name(), text),
        Json::Number(number) => cards::refuse_number(argument, name(), number),
        _ => Ok(()),
    }
}

/// A string of the iterator, borrowed from the `jsonb`.
///
/// # Safety
/// The value is a string or key, and its `jsonb` outlives the returned string.
pub unsafe fn string<'a>(value: &pg_sys::JsonbValue) -> Cow<'a, str> {
    // SAFETY: the caller's guarantee: `len` bytes in the server's encoding (UTF-8, which the
    // extension requires).
    let bytes = unsafe {
        let string = value.val.string;
        std::slice::from_raw_parts(
            string.val.cast::<u8>(),
            usize::try_from(string.len).unwrap_or(0),
        )
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// A leaf of the iterator.
pub fn scalar(value: &pg_sys::JsonbValue) -> Json {
    // SAFETY: `type_` says which member of the union is set. Strings are `len` bytes in the
    // server's encoding (UTF-8, which the extension requires) and are copied.
    unsafe {
        match value.type_ {
            jbvType::jbvBool => Json::Bool(value.val.boolean),
            jbvType::jbvNumeric => {
                let datum = pg_sys::Datum::from(value.val.numeric);
                Number::from_datum(datum, false).map_or(Json::Null, Json::Number)
            }
            jbvType::jbvString => Json::String(string(value).into_owned()),
            _ => Json::Null,
        }
    }
}

/// Builds a `jsonb` without converting it from text.
pub struct Builder {
    state: *mut pg_sys::JsonbParseState,
    /// The strings of the value. pushJsonbValue keeps pointers to them until the value is finished.
    strings: HashSet<Box<str>>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            state: ptr::null_mut(),
            strings: HashSet::new(),
        }
    }
}

impl Builder {
    fn push(
        &mut self,
        token: Token::Type,
        value: *mut pg_sys::JsonbValue,
    ) -> *mut pg_sys::JsonbValue {
        // SAFETY: `state` is NULL at first and maintained by pushJsonbValue. `value` is NULL for
        // brackets, and a complete value for keys, members and elements.
        unsafe { pg_sys::pushJsonbValue(&mut self.state, token, value) }
    }

    fn string(&mut self, text: &str) -> pg_sys::JsonbValue {
        if !self.strings.contains(text) {
            self.strings.insert(text.into());
        }
        let mut value = pg_sys::JsonbValue {
            type_: jbvType::jbvString,
            ..Default::default()
        };
        if let Some(kept) = self.strings.get(text) {
            value.val.string = pg_sys::JsonbValue__bindgen_ty_1__bindgen_ty_1 {
                len: i32::try_from(kept.len()).unwrap_or(0),
                val: kept.as_ptr().cast_mut().cast(),
            };
        }
        value
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.push(Token::WJB_BEGIN_OBJECT, ptr::null_mut());
    }

    fn member(&mut self, key: &str, mut value: pg_sys::JsonbValue) {
        let mut key = self.string(key);
        self.push(Token::WJB_KEY, &mut key);
        self.push(Token::WJB_VALUE, &mut value);
    }

    /// Adds a member that is a string or null.
    pub fn text(&mut self, key: &str, value: Option<&str>) {
        let value = match value {
            Some(text) => self.string(text),
            None => pg_sys::JsonbValue {
                type_: jbvType::jbvNull,
                ..Default::default()
            },
        };
        self.member(key, value);
    }

    fn numeric(&mut self, key: &str, datum: pg_sys::Datum) {
        let mut value = pg_sys::JsonbValue {
            type_: jbvType::jbvNumeric,
            ..Default::default()
        };
        value.val.numeric = datum.cast_mut_ptr();
        self.member(key, value);
    }

    /// Adds a member that is true or false.
    pub fn bool(&mut self, key: &str, value: bool) {
        let mut member = pg_sys::JsonbValue {
            type_: jbvType::jbvBool,
            ..Default::default()
        };
        member.val.boolean = value;
        self.member(key, member);
    }

    /// Adds a member that is a number.
    pub fn decimal(&mut self, key: &str, value: Decimal) {
        self.numeric(key, numeric::decimal_datum(value));
    }

    /// Adds a member that is an amount, as a number.
    pub fn amount(&mut self, key: &str, value: Amount) {
        if let Some(datum) = value.into_datum() {
            self.numeric(key, datum);
        }
    }

    /// Closes the object and returns the value.
    pub fn finish_object(mut self) -> Jsonb {
        let root = self.push(Token::WJB_END_OBJECT, ptr::null_mut());
        // SAFETY: closing the outermost bracket returns the finished value; JsonbValueToJsonb
        // copies all of it into one palloc'ed varlena.
        Jsonb(unsafe { pg_sys::Datum::from(pg_sys::JsonbValueToJsonb(root)) })
    }
}

impl FromDatum for Jsonb {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _typoid: pg_sys::Oid,
    ) -> Option<Jsonb> {
        (!is_null).then_some(Jsonb(datum))
    }
}

impl IntoDatum for Jsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

/// The empty object `{}`.
pub fn empty_object() -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    json.finish_object()
}
