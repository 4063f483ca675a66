//! The scenes, one file per domain.

mod access;
mod alerts;
mod entries;
pub mod everyday;
mod grants;
mod holds;
mod limits;
mod prices;
mod wallets;

use crate::scene::Scene;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Scene> {
    [
        entries::SCENES,
        grants::SCENES,
        holds::SCENES,
        limits::SCENES,
        access::SCENES,
        alerts::SCENES,
        prices::SCENES,
        wallets::SCENES,
    ]
    .into_iter()
    .flatten()
}
