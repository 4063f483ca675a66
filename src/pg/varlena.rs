//! Values of variable length in their stored form.

use pgrx::pg_sys;
use pgrx::varlena;

/// The length word of an uncompressed varlena of `len` bytes, the word included.
pub fn length_word(len: usize) -> [u8; 4] {
    let len = len as u32;
    if cfg!(target_endian = "little") {
        (len << 2).to_ne_bytes()
    } else {
        (len & 0x3fff_ffff).to_ne_bytes()
    }
}

/// The bytes after the length word of a value that is stored inline and uncompressed; `None` for
/// any other value.
///
/// # Safety
/// The datum is a varlena that lives as long as the bytes are used.
pub unsafe fn plain<'a>(datum: pg_sys::Datum) -> Option<&'a [u8]> {
    // SAFETY: the caller's guarantee.
    unsafe {
        let value = datum.cast_mut_ptr::<pg_sys::varlena>();
        let plain = varlena::varatt_is_4b_u(value)
            || varlena::varatt_is_1b(value) && !varlena::varatt_is_1b_e(value);
        plain.then(|| varlena::varlena_to_byte_slice(value))
    }
}
