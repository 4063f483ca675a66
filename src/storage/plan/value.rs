//! The parameters of statements.

use pgrx::datum::{Date, IntoDatum, TimestampWithTimeZone};
use pgrx::pg_sys;
use rust_decimal::Decimal;

use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::decimal_datum;

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// NULL of any type.
    Null,
    /// `text`
    Text(&'a str),
    /// `text` or NULL
    OptText(Option<&'a str>),
    /// `text[]` or NULL
    OptTexts(Option<&'a [String]>),
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `bigint` or NULL
    OptInt8(Option<i64>),
    /// `numeric`
    Amount(Amount),
    /// `numeric` or NULL
    OptAmount(Option<Amount>),
    /// `numeric[]`
    Amounts(&'a [Amount]),
    /// `bigint[]`
    Int8s(&'a [i64]),
    /// `timestamptz[]`
    Times(&'a [Timestamp]),
    /// `uuid[]`
    Uuids(&'a [[u8; 16]]),
    /// `smallint` or NULL
    OptInt2(Option<i16>),
    /// `numeric`
    Decimal(Decimal),
    /// `uuid`
    Uuid([u8; 16]),
    /// `uuid` or NULL
    OptUuid(Option<[u8; 16]>),
    /// `bytea`
    Bytes(&'a [u8]),
    /// `bytea` or NULL
    OptBytes(Option<&'a [u8]>),
    /// `timestamptz`
    Time(Timestamp),
    /// `timestamptz` or NULL
    OptTime(Option<Timestamp>),
    /// `date` or NULL
    OptDate(Option<Date>),
    /// `jsonb`
    Jsonb(Jsonb),
    /// `jsonb` or NULL
    OptJsonb(Option<Jsonb>),
    /// `"char"`
    Char(u8),
    /// `oid`
    Oid(pg_sys::Oid),
    /// `oid[]`
    Oids(&'a [pg_sys::Oid]),
}

impl Value<'_> {
    /// The value as a datum; `None` for NULL.
    pub(in crate::storage) fn datum(&self) -> Option<pg_sys::Datum> {
        match *self {
            Value::Null => None,
            Value::Text(text) => text.into_datum(),
            Value::OptText(text) => text.and_then(IntoDatum::into_datum),
            Value::OptTexts(texts) => texts.and_then(|texts| texts.to_vec().into_datum()),
            Value::Bool(value) => value.into_datum(),
            Value::Int2(value) => value.into_datum(),
            Value::Int4(value) => value.into_datum(),
            Value::Int8(value) => value.into_datum(),
            Value::OptInt8(value) => value.and_then(IntoDatum::into_datum),
            Value::Amount(value) => value.into_datum(),
            Value::OptAmount(value) => value.and_then(IntoDatum::into_datum),
            Value::Amounts(values) => values.to_vec().into_datum(),
            Value::Int8s(values) => values.to_vec().into_datum(),
            Value::Times(times) => times
                .iter()
                .map(|time| TimestampWithTimeZone::try_from(time.0).ok())
                .collect::<Vec<_>>()
                .into_datum(),
            Value::Uuids(ids) => ids
                .iter()
                .map(|id| pgrx::Uuid::from_bytes(*id))
                .collect::<Vec<_>>()
                .into_datum(),
            Value::OptInt2(value) => value.and_then(IntoDatum::into_datum),
            Value::Decimal(value) => Some(decimal_datum(value)),
            Value::Uuid(bytes) => pgrx::Uuid::from_bytes(bytes).into_datum(),
            Value::OptUuid(bytes) => {
                bytes.and_then(|bytes| pgrx::Uuid::from_bytes(bytes).into_datum())
            }
            Value::Bytes(bytes) => bytes.into_datum(),
            Value::OptBytes(bytes) => bytes.and_then(IntoDatum::into_datum),
            Value::Time(time) => Some(pg_sys::Datum::from(time.0)),
            Value::OptTime(time) => time.map(|time| pg_sys::Datum::from(time.0)),
            Value::OptDate(date) => date.and_then(IntoDatum::into_datum),
            Value::Jsonb(jsonb) => jsonb.into_datum(),
            Value::OptJsonb(jsonb) => jsonb.and_then(IntoDatum::into_datum),
            Value::Char(byte) => Some(pg_sys::Datum::from(byte)),
            Value::Oid(oid) => oid.into_datum(),
            Value::Oids(oids) => oids.to_vec().into_datum(),
        }
    }
}
