//! Database roles.

use pgrx::pg_sys;

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
