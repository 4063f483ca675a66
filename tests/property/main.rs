//! Random calls compared with models of plain numbers.

mod asked;
mod at_once;
mod bonus;
mod chosen;
mod defaults;
mod dimensions;
mod erased;
mod holds;
mod in_turn;
mod isolation;
mod model;
mod periods;
mod plans;
mod sequence;
mod settled;
mod threads;
mod topup_rules;
mod tree;
