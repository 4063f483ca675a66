//! The HTTP status of every SQLSTATE, in one place. A test compares it with `wallet.error_codes()`.

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The SQLSTATE. Problems of HTTP itself have none.
    pub sqlstate: Option<&'static str>,
    /// The name, which is the end of `type`.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The title, which is the same for every problem of this kind.
    pub title: &'static str,
}

const fn sql(sqlstate: &'static str, name: &'static str, status: u16, title: &'static str) -> Kind {
    Kind {
        sqlstate: Some(sqlstate),
        name,
        status,
        title,
    }
}

const fn http(name: &'static str, status: u16, title: &'static str) -> Kind {
    Kind {
        sqlstate: None,
        name,
        status,
        title,
    }
}

/// Every SQLSTATE of the extension.
pub const CODES: &[Kind] = &[
    sql("WL001", "insufficient_funds", 402, "Insufficient funds"),
    sql("WL002", "limit_exceeded", 429, "Limit exceeded"),
    sql("WL003", "wallet_not_found", 404, "Wallet not found"),
    sql("WL004", "wallet_not_active", 403, "Wallet not active"),
    sql("WL005", "price_not_found", 422, "Price not found"),
    sql(
        "WL006",
        "idempotency_conflict",
        409,
        "Idempotency key used for another request",
    ),
    sql("WL007", "invalid_usage", 422, "Invalid usage"),
    sql("WL008", "hold_not_open", 409, "Hold not open"),
    sql("WL009", "not_permitted", 403, "Not permitted"),
    sql(
        "WL010",
        "immutable_ledger",
        409,
        "Ledger entries never change",
    ),
    sql("WL011", "card_data_refused", 422, "Card data refused"),
    sql("WL012", "invalid_amount", 422, "Invalid amount"),
    sql("WL013", "funding_not_open", 409, "Funding not open"),
    sql("WL014", "voucher_not_valid", 422, "Voucher not valid"),
    sql("WL015", "rate_not_found", 422, "Exchange rate not found"),
    sql(
        "WL016",
        "not_in_this_tree",
        409,
        "Not in this tree of wallets",
    ),
    sql("0A000", "feature_not_supported", 422, "Not supported"),
    sql("22023", "invalid_parameter_value", 422, "Invalid argument"),
    sql("23505", "unique_violation", 409, "Already exists"),
    sql(
        "40001",
        "serialization_failure",
        503,
        "Other transactions came first",
    ),
    sql("42501", "insufficient_privilege", 403, "Not permitted"),
    sql("42704", "undefined_object", 404, "Not found"),
    sql(
        "55000",
        "object_not_in_prerequisite_state",
        503,
        "The extension has another version",
    ),
    sql("XX000", "internal_error", 500, "Internal error"),
];

/// Data that PostgreSQL cannot read, whichever code of the classes 22 and 54 it has.
pub const INVALID_DATA: Kind = http("invalid_data", 422, "Invalid data");
/// Any other SQLSTATE: a fault of walletd or of the database.
pub const INTERNAL: Kind = http("internal_error", 500, "Internal error");
/// The database cannot be used now. Nothing was booked.
pub const UNAVAILABLE: Kind = http("unavailable", 503, "Temporarily unavailable");
/// The connection broke before the answer came.
pub const UNKNOWN_OUTCOME: Kind = http("unknown_outcome", 503, "The outcome is unknown");
/// No valid key.
pub const UNAUTHORIZED: Kind = http("unauthorized", 401, "No valid key");
/// A request that cannot be read.
pub const BAD_REQUEST: Kind = http("bad_request", 400, "Bad request");
/// A body with fields that are missing, unknown or of another type.
pub const INVALID_BODY: Kind = http("invalid_body", 422, "Invalid body");
/// No such path.
pub const NOT_FOUND: Kind = http("not_found", 404, "Not found");
/// The path has other methods.
pub const METHOD_NOT_ALLOWED: Kind = http("method_not_allowed", 405, "Method not allowed");
/// The body did not arrive in time.
pub const REQUEST_TIMEOUT: Kind = http("request_timeout", 408, "Request timeout");
/// The body is too large.
pub const TOO_LARGE: Kind = http("body_too_large", 413, "Body too large");
/// The body is not JSON.
pub const NOT_JSON: Kind = http("unsupported_media_type", 415, "Unsupported media type");

/// The problems without a SQLSTATE of their own.
pub const OTHERS: &[Kind] = &[
    BAD_REQUEST,
    UNAUTHORIZED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    NOT_JSON,
    INVALID_BODY,
    INVALID_DATA,
    INTERNAL,
    UNAVAILABLE,
    UNKNOWN_OUTCOME,
];

/// The kind of a SQLSTATE, also of those that PostgreSQL itself raises.
pub fn kind_of(sqlstate: &str) -> Kind {
    if let Some(kind) = CODES.iter().find(|kind| kind.sqlstate == Some(sqlstate)) {
        return *kind;
    }
    match sqlstate {
        // The standby of another server, or an extension that is missing.
        "25006" | "42883" | "42P01" | "3F000" => UNAVAILABLE,
        _ if sqlstate.starts_with("22") || sqlstate.starts_with("54") => INVALID_DATA,
        // No memory, no disk space.
        _ if sqlstate.starts_with("53") => UNAVAILABLE,
        _ => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_extension_has_a_status_and_the_same_name() {
        let database = wallet_tests::Database::new();
        let codes = database
            .connect()
            .query("SELECT sqlstate, name FROM wallet.error_codes()", &[])
            .unwrap();
        let theirs: Vec<(String, String)> =
            codes.iter().map(|row| (row.get(0), row.get(1))).collect();
        let ours: Vec<(String, String)> = CODES
            .iter()
            .map(|kind| {
                (
                    kind.sqlstate.unwrap_or_default().to_owned(),
                    kind.name.to_owned(),
                )
            })
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn an_unknown_code_is_never_the_fault_of_the_caller() {
        for (sqlstate, status) in [
            ("22P02", 422),
            ("22021", 422),
            ("54001", 422),
            ("53100", 503),
            ("42601", 500),
            ("58000", 500),
            ("25P02", 500),
            ("25006", 503),
        ] {
            assert_eq!(kind_of(sqlstate).status, status, "{sqlstate}");
        }
    }
}
