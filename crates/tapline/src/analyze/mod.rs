//! How events look to people: as lines of a table, or counted on one screen.

pub mod summary;
pub mod table;
