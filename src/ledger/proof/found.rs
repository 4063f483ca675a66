//! The findings of `verify`.

/// The result of the pass.
pub struct Proof {
    /// The number of entries that the pass has read, of all lanes.
    pub entries: i64,
    /// The number of lanes that have entries or may have some.
    pub lanes: i64,
    /// The sum of the entries, with twelve decimals; `0` if there are none.
    pub booked: String,
    /// The error in a chain. `None` if all are right.
    pub chain: Option<String>,
    /// The error in a limit's window. `None` if all are right.
    pub limits: Option<String>,
    /// The number of windows that were recounted.
    pub windows: i64,
    /// The error in a refund. `None` if all are right.
    pub refunds: Option<String>,
    /// The error in a price line. `None` if all are right.
    pub lines: Option<String>,
    /// The number of price lines that were recomputed.
    pub lines_count: i64,
    /// The number of entries in the archive.
    pub archived: i64,
    /// The error in the rows of `carried_forward`. `None` if all are right.
    pub archive: Option<String>,
    /// The part of a digest that no longer matches. `None` if all of it matches.
    pub digest: Option<String>,
    /// The number of lanes in the digest.
    pub kept: i64,
    /// The number of entries with a parent or a child.
    pub pooled: i64,
    /// The error in one of them. `None` if the other side has its counterpart.
    pub tree: Option<String>,
}
