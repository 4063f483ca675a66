//! Plans: named sets of rules that many wallets share.
//!
//! `set_plan` stores a version of a plan and writes nothing that belongs to a wallet. A wallet
//! takes the version in force over with its first call after the version began: under the lock of
//! its row and of all lanes, the code of the single calls sets the rules. So a wallet with a plan
//! has ordinary rules, and other code need not know about plans.
pub mod assign;
pub mod definition;
pub mod listing;
pub mod take_over;
pub mod versions;
