//! Whether Citus distributes a table. Its rows are then in other tables, mostly of other servers.

use pgrx::pg_sys;

/// Whether the catalog of Citus, if the database has one, names the table. Citus invalidates the
/// descriptor of a table when it begins or ends to distribute it.
pub fn distributes(table: pg_sys::Oid) -> bool {
    // SAFETY: look-ups by name, and the scan of a catalog without an index, as PostgreSQL's own
    // look-ups do. The key has the type of the column, which is a regclass, so an oid.
    unsafe {
        let catalog = pg_sys::get_relname_relid(
            c"pg_dist_partition".as_ptr(),
            pg_sys::PG_CATALOG_NAMESPACE.into(),
        );
        if catalog == pg_sys::InvalidOid {
            return false;
        }
        let column = pg_sys::get_attnum(catalog, c"logicalrelid".as_ptr());
        if column <= 0 || pg_sys::get_atttype(catalog, column) != pg_sys::REGCLASSOID {
            // Another version of Citus than any that is known.
            return true;
        }
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(catalog, lock);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            column,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(table),
        );
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        found
    }
}
