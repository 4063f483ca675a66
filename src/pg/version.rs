//! Checks that the extension's objects in this database are those that the library expects.
//!
//! A package replaces the library for a whole server at once. The objects of each database follow
//! with ALTER EXTENSION … UPDATE. In between, a call would use tables with another definition, so
//! it is refused. Only versions that differ in their last number have the same objects.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::{Code, Error, Result};

const LIBRARY: &str = env!("CARGO_PKG_VERSION");

/// The error 55000 unless the extension's objects in this database are those that the library
/// expects.
pub fn require_known_objects() -> Result<()> {
    let installed = installed().unwrap_or_default();
    if series(&installed) == series(LIBRARY) {
        return Ok(());
    }
    Err(Error::new(
        Code::OtherVersion,
        format!("extension \"wallet\" of this database is not of the library's version {LIBRARY}"),
    )
    .detail(format!(
        "The database has the objects of version {installed}; nothing was read or written."
    ))
    .hint("Run ALTER EXTENSION wallet UPDATE in this database, and connect again."))
}

/// The part of a version on which the objects depend: `0.1` of `0.1.7`.
fn series(version: &str) -> &str {
    version
        .rsplit_once('.')
        .map_or(version, |(series, _)| series)
}

/// The extension's version in pg_extension; `None` if it is not installed.
fn installed() -> Option<String> {
    // SAFETY: scans a catalog by its index, as PostgreSQL's own look-ups do. The version is never
    // NULL and is copied before the scan ends.
    unsafe {
        let catalog = pg_sys::table_open(
            pg_sys::ExtensionRelationId,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_extname as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_NAMEEQ.into(),
            pg_sys::Datum::from(c"wallet".as_ptr()),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            pg_sys::ExtensionNameIndexId.into(),
            true,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let version = (!tuple.is_null()).then(|| {
            let datum = pg_sys::nocachegetattr(
                tuple,
                pg_sys::Anum_pg_extension_extversion as i32,
                (*catalog).rd_att,
            );
            let text = pg_sys::text_to_cstring(datum.cast_mut_ptr());
            let version = CStr::from_ptr(text).to_string_lossy().into_owned();
            pg_sys::pfree(text.cast());
            version
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        version
    }
}

#[cfg(test)]
mod tests {
    use super::series;

    #[test]
    fn the_last_number_does_not_count() {
        assert_eq!(series("0.1.0"), series("0.1.12"));
        assert_ne!(series("0.1.0"), series("0.2.0"));
        assert_ne!(series("1.1.0"), series("2.1.0"));
        assert_ne!(series(""), series("0.1.0"));
    }
}
