//! Sessions: the cookie, signing in and out, forms that only this page can send.

mod guard;
mod links;
mod sign_in;

pub use guard::{Asked, Posted};
pub use links::make_link;
pub use sign_in::{ask_for_key, leave, sign_in, sign_in_by_link, welcome, with_visit};
