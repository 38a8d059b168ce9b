//! analyzer

pub mod capture_file;
pub mod order;
pub mod position;
pub mod sandbox;
