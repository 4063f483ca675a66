//! PostgreSQL's functions without wrappers, for code that calls several of them in a row.
//!
//! Each function of `pg_sys` calls `sigsetjmp` to catch PostgreSQL's errors. That takes longer than
//! many of the functions themselves. Here one `sigsetjmp` ([`guarded`]) protects several calls. The
//! signatures are those of `pg_sys`; the compiler compares them.

use std::ffi::c_char;

use pgrx::pg_sys;

/// Runs `work` inside a `sigsetjmp` guard: a PostgreSQL error in it becomes a Rust unwind that
/// starts here.
///
/// # Safety
/// `work` calls functions of this module. It must not panic between these calls and must own
/// nothing that implements `Drop`, since an error jumps over it.
pub(crate) unsafe fn guarded<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's guarantee.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(work) }
}

/// Declares functions of PostgreSQL, and checks that `pg_sys` has them with these signatures.
macro_rules! as_they_are {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        unsafe extern "C-unwind" {
            $($(#[$attribute])* pub(crate) fn $name($($argument: $type),*) $(-> $result)?;)*
        }
        $($(#[$attribute])* const _: unsafe fn($($type),*) $(-> $result)? = pg_sys::$name;)*
    };
}

as_they_are! {
    fn table_open(relation: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;
    fn table_close(relation: pg_sys::Relation, lock: pg_sys::LOCKMODE);
    fn index_open(relation: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;
    fn index_close(relation: pg_sys::Relation, lock: pg_sys::LOCKMODE);

    fn PreventCommandIfReadOnly(command: *const c_char);
    fn PreventCommandIfParallelMode(command: *const c_char);

    fn GetTransactionSnapshot() -> pg_sys::Snapshot;
    fn RegisterSnapshot(snapshot: pg_sys::Snapshot) -> pg_sys::Snapshot;
    fn UnregisterSnapshot(snapshot: pg_sys::Snapshot);

    fn ScanKeyEntryInitialize(
        entry: pg_sys::ScanKey,
        flags: i32,
        column: pg_sys::AttrNumber,
        strategy: pg_sys::StrategyNumber,
        subtype: pg_sys::Oid,
        collation: pg_sys::Oid,
        procedure: pg_sys::RegProcedure,
        argument: pg_sys::Datum,
    );
    #[cfg(not(feature = "pg18"))]
    fn index_beginscan(
        table: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: pg_sys::Snapshot,
        keys: i32,
        orders: i32,
    ) -> pg_sys::IndexScanDesc;
    #[cfg(feature = "pg18")]
    fn index_beginscan(
        table: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: pg_sys::Snapshot,
        searches: *mut pg_sys::IndexScanInstrumentation,
        keys: i32,
        orders: i32,
    ) -> pg_sys::IndexScanDesc;
    fn index_rescan(
        scan: pg_sys::IndexScanDesc,
        keys: pg_sys::ScanKey,
        count: i32,
        orders: pg_sys::ScanKey,
        order_count: i32,
    );
    fn index_getnext_tid(
        scan: pg_sys::IndexScanDesc,
        direction: pg_sys::ScanDirection::Type,
    ) -> pg_sys::ItemPointer;
    fn index_endscan(scan: pg_sys::IndexScanDesc);
    fn index_deform_tuple(
        entry: pg_sys::IndexTuple,
        columns: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );

    fn ReadBuffer(table: pg_sys::Relation, block: pg_sys::BlockNumber) -> pg_sys::Buffer;
    fn ReleaseAndReadBuffer(
        buffer: pg_sys::Buffer,
        table: pg_sys::Relation,
        block: pg_sys::BlockNumber,
    ) -> pg_sys::Buffer;
    fn ReleaseBuffer(buffer: pg_sys::Buffer);
    fn LockBuffer(buffer: pg_sys::Buffer, mode: i32);
    fn heap_page_prune_opt(table: pg_sys::Relation, buffer: pg_sys::Buffer);
    fn heap_hot_search_buffer(
        place: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        buffer: pg_sys::Buffer,
        snapshot: pg_sys::Snapshot,
        tuple: pg_sys::HeapTuple,
        all_dead: *mut bool,
        first: bool,
    ) -> bool;

    #[cfg(any(feature = "pg15", feature = "pg16"))]
    fn heap_form_tuple(
        columns: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    ) -> pg_sys::HeapTuple;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    fn heap_form_tuple(
        columns: pg_sys::TupleDesc,
        values: *const pg_sys::Datum,
        nulls: *const bool,
    ) -> pg_sys::HeapTuple;
    fn GetCurrentCommandId(used: bool) -> pg_sys::CommandId;
    fn CommandCounterIncrement();
    fn GetCurrentTransactionId() -> pg_sys::TransactionId;
    fn SpeculativeInsertionLockAcquire(xid: pg_sys::TransactionId) -> u32;
    fn SpeculativeInsertionLockRelease(xid: pg_sys::TransactionId);
    fn heap_insert(
        table: pg_sys::Relation,
        row: pg_sys::HeapTuple,
        command: pg_sys::CommandId,
        options: i32,
        bulk: *mut pg_sys::BulkInsertStateData,
    );
    fn heap_finish_speculative(table: pg_sys::Relation, place: pg_sys::ItemPointer);
    fn heap_abort_speculative(table: pg_sys::Relation, place: pg_sys::ItemPointer);
    fn simple_heap_insert(table: pg_sys::Relation, row: pg_sys::HeapTuple);
    #[cfg(feature = "pg15")]
    fn heap_update(
        table: pg_sys::Relation,
        old: pg_sys::ItemPointer,
        row: pg_sys::HeapTuple,
        command: pg_sys::CommandId,
        crosscheck: pg_sys::Snapshot,
        wait: bool,
        failure: *mut pg_sys::TM_FailureData,
        mode: *mut pg_sys::LockTupleMode::Type,
    ) -> pg_sys::TM_Result::Type;
    #[cfg(not(feature = "pg15"))]
    fn heap_update(
        table: pg_sys::Relation,
        old: pg_sys::ItemPointer,
        row: pg_sys::HeapTuple,
        command: pg_sys::CommandId,
        crosscheck: pg_sys::Snapshot,
        wait: bool,
        failure: *mut pg_sys::TM_FailureData,
        mode: *mut pg_sys::LockTupleMode::Type,
        indexes: *mut pg_sys::TU_UpdateIndexes::Type,
    ) -> pg_sys::TM_Result::Type;
    fn BuildIndexInfo(index: pg_sys::Relation) -> *mut pg_sys::IndexInfo;
    fn index_insert(
        index: pg_sys::Relation,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
        place: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        check: pg_sys::IndexUniqueCheck::Type,
        unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;

    fn get_func_rettype(function: pg_sys::Oid) -> pg_sys::Oid;
    fn lookup_rowtype_tupdesc(row_type: pg_sys::Oid, modifier: i32) -> pg_sys::TupleDesc;
    fn HeapTupleHeaderGetDatum(tuple: pg_sys::HeapTupleHeader) -> pg_sys::Datum;
    fn DecrTupleDescRefCount(columns: pg_sys::TupleDesc);

    fn toast_raw_datum_size(value: pg_sys::Datum) -> pg_sys::Size;
    fn pg_detoast_datum(value: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
    fn JsonbIteratorInit(container: *mut pg_sys::JsonbContainer) -> *mut pg_sys::JsonbIterator;
    fn JsonbIteratorNext(
        iterator: *mut *mut pg_sys::JsonbIterator,
        value: *mut pg_sys::JsonbValue,
        skip_nested: bool,
    ) -> pg_sys::JsonbIteratorToken::Type;
}
