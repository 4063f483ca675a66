//! Database roles.

use std::cell::Cell;

use pgrx::{pg_guard, pg_sys};

thread_local! {
    /// The number of changes of roles, memberships and database owners.
    static CHANGES: Cell<u64> = const { Cell::new(1) };
}

/// Registers the callbacks; called once, when the library is loaded.
pub fn register() {
    use pg_sys::SysCacheIdentifier::{AUTHMEMROLEMEM, AUTHOID, DATABASEOID};
    for cache in [AUTHMEMROLEMEM, AUTHOID, DATABASEOID] {
        // SAFETY: the callback is a plain function that lives as long as the library, and the
        // library is never unloaded.
        unsafe {
            pg_sys::CacheRegisterSyscacheCallback(
                cache as i32,
                Some(on_change),
                pg_sys::Datum::null(),
            );
        }
    }
}

#[pg_guard]
extern "C-unwind" fn on_change(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    CHANGES.set(CHANGES.get() + 1);
}

/// The count of changes of roles and memberships, which a cache of them compares.
pub fn changes() -> u64 {
    CHANGES.get()
}

/// The role whose only member is the owner of the database. `pg_auth_members` does not list it.
pub const DATABASE_OWNER: pg_sys::Oid = pg_sys::Oid::from_u32(6171);

/// True if the caller has the role's privileges. No role has those of a dropped role.
pub fn is_member(caller: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::has_privs_of_role(caller, role) }
}

/// The role's name, or its oid if it was dropped in the meantime.
pub fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: the name is palloc'ed and copied; noerr returns NULL for an unknown role.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            role.to_u32().to_string()
        } else {
            std::ffi::CStr::from_ptr(name)
                .to_string_lossy()
                .into_owned()
        }
    }
}
