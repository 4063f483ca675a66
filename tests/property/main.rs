//! A wallet beside a model of plain numbers.

mod sequence;
mod threads;
