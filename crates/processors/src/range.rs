//! `range`: bounds of numbers, as `{ FIELD.gte = 400, FIELD.lt = 500 }`.

use crate::literal::{Flat, Leaf, Literal};

/// A bound; TOML's `nan` is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    operator: Operator,
    number: f64,
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Leaf for Bound {
    fn from_literal(path: &str, literal: Literal) -> Result<Self, String> {
        let (field, operator) = path.rsplit_once('.').unwrap_or(("FIELD", path));
        let operator = match operator {
            "gt" => Operator::Gt,
            "gte" => Operator::Gte,
            "lt" => Operator::Lt,
            "lte" => Operator::Lte,
            _ => return Err(format!("a range ends in gt, gte, lt or lte: write `{path}.gte` or the like")),
        };
        let (number, is_whole) = match literal {
            Literal::Integer(number) => (number as f64, true),
            Literal::Float(number) if !number.is_nan() => (number, false),
            other => return Err(format!("a range of `{field}` needs numbers, and this is {}", other.what())),
        };
        if !path.contains('.') {
            return Err(format!("a range needs a field: write `FIELD.{path}`"));
        }
        Ok(Self { operator, number, is_whole })
    }

    fn to_literal(&self) -> Literal {
        if self.is_whole { Literal::Integer(self.number as i64) } else { Literal::Float(self.number) }
    }
}

impl Bound {
    /// Whether a number keeps to it.
    pub(crate) fn admits(self, number: f64) -> bool {
        match self.operator {
            Operator::Gt => number > self.number,
            Operator::Gte => number >= self.number,
            Operator::Lt => number < self.number,
            Operator::Lte => number <= self.number,
        }
    }
}

/// The bounds field by field: the same number must keep to all of its field's.
pub(crate) fn by_field(bounds: &Flat<Bound>) -> Vec<(String, Vec<Bound>)> {
    let mut fields: Vec<(String, Vec<Bound>)> = Vec::new();
    for (path, bound) in &bounds.0 {
        let field = path.rsplit_once('.').map_or(path.as_str(), |(field, _)| field);
        match fields.iter_mut().find(|(known, _)| known == field) {
            Some((_, bounds)) => bounds.push(*bound),
            None => fields.push((field.to_owned(), vec![*bound])),
        }
    }
    fields
}
