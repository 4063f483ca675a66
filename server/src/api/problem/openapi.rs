//! The problems of an operation in the OpenAPI document.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::Parts;
use super::table::{self, Kind};

/// The problems that every operation has.
const EVERY: &[u16] = &[400, 401, 403, 422, 500, 503];
/// Those of an operation with a body.
const BODY: &[u16] = &[408, 413, 415];
/// Those of an operation that names an object.
const ID: &[u16] = &[404];
/// Those of an operation that books.
const WRITE: &[u16] = &[402, 409, 429];

/// The problems of an operation that reads.
pub struct ReadProblems;
/// The problems of a body.
pub struct BodyProblems;
/// The problems of an id.
pub struct IdProblems;
/// The problems of a booking.
pub struct WriteProblems;

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(EVERY)
    }
}

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(BODY)
    }
}

impl IntoResponses for IdProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(ID)
    }
}

impl IntoResponses for WriteProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(WRITE)
    }
}

fn responses(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let described = statuses
        .iter()
        .map(|status| (status.to_string(), response(*status).into()));
    described.collect()
}

/// A response with the kinds of problems that have a status.
fn response(status: u16) -> Response {
    let kinds: Vec<&Kind> = table::CODES
        .iter()
        .chain(table::OTHERS)
        .filter(|kind| kind.status == status)
        .collect();
    let names: Vec<String> = kinds
        .iter()
        .map(|kind| match kind.sqlstate {
            Some(sqlstate) => format!("{} ({sqlstate})", kind.name),
            None => kind.name.to_owned(),
        })
        .collect();
    let mut example = json!({
        "type": format!("urn:walletd:{}", kinds.first().map_or("problem", |kind| kind.name)),
        "title": kinds.first().map_or("Problem", |kind| kind.title),
        "status": status,
        "detail": "The numbers and names of this problem.",
    });
    if let Some(sqlstate) = kinds.first().and_then(|kind| kind.sqlstate) {
        example["sqlstate"] = json!(sqlstate);
    }
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Parts::name())))
        .example(Some(example))
        .build();
    let mut builder = ResponseBuilder::new()
        .description(names.join(", "))
        .content("application/problem+json", content);
    let header = |kind: Type, description: &str| {
        let schema = ObjectBuilder::new()
            .schema_type(SchemaType::Type(kind))
            .build();
        HeaderBuilder::new()
            .schema(schema)
            .description(Some(description))
            .build()
    };
    if status == 401 {
        let text = "Bearer, and error=\"invalid_token\" if the key is not valid.";
        builder = builder.header("WWW-Authenticate", header(Type::String, text));
    }
    if status == 429 || status == 503 {
        let text = "Seconds to wait. A limit that never resets has none.";
        builder = builder.header("Retry-After", header(Type::Integer, text));
    }
    builder.build()
}
