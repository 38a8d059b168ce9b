//! The part of a filter that columns answer, as an SQL condition. Values are parameters, never text of the statement.

use rusqlite::types::Value;

use super::{Filter, Sides};
use crate::columns::hash;

/// The names of a file by kind and number; number 0 is none.
pub(crate) type Names = [Vec<String>; 3];

/// A condition and its parameters, for `prepare` with the parameters in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Condition {
    /// Begins with ` AND` unless empty.
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
    /// Whether no event of the file can fit.
    pub(crate) is_never: bool,
}

/// The condition on type, source and status, which roll-ups have too.
pub(crate) fn by_names(filter: &Filter, names: &Names) -> Condition {
    let mut condition = Condition::default();
    let columns = [("type", &filter.types), ("source", &filter.sources), ("status", &filter.statuses)];
    for ((column, sides), names) in columns.into_iter().zip(names) {
        condition.names(column, sides, names);
    }
    condition
}

/// The condition on all columns.
pub(crate) fn condition(filter: &Filter, names: &Names) -> Condition {
    let mut condition = by_names(filter, names);
    let blob = |address: std::net::Ipv6Addr| Value::Blob(address.octets().to_vec());
    condition.sides(&filter.ips, |network| {
        let one = network.first == network.last;
        if one {
            let test = "(client_ip IS ? OR server_ip IS ?)".to_owned();
            return (test, vec![blob(network.first), blob(network.first)]);
        }
        let test = "(ifnull(client_ip BETWEEN ? AND ?, 0) OR ifnull(server_ip BETWEEN ? AND ?, 0))".to_owned();
        (test, vec![blob(network.first), blob(network.last), blob(network.first), blob(network.last)])
    });
    condition.sides(&filter.ports, |port| {
        let port = Value::Integer(i64::from(*port));
        ("(client_port IS ? OR server_port IS ?)".to_owned(), vec![port.clone(), port])
    });
    condition.sides(&filter.flows, |flow| ("flow IS ?".to_owned(), vec![Value::Integer(hash(flow))]));
    condition.sides(&filter.calls, |call| ("call IS ?".to_owned(), vec![Value::Integer(hash(call))]));
    condition
}

impl Condition {
    fn sides<T>(&mut self, sides: &Sides<T>, test: impl Fn(&T) -> (String, Vec<Value>)) {
        for (values, before, between, after) in
            [(&sides.any, " AND (", " OR ", ")"), (&sides.none, " AND NOT (", " OR ", ")")]
        {
            if values.is_empty() {
                continue;
            }
            let mut tests = Vec::new();
            for value in values {
                let (sql, values) = test(value);
                tests.push(sql);
                self.values.extend(values);
            }
            self.sql.push_str(before);
            self.sql.push_str(&tests.join(between));
            self.sql.push_str(after);
        }
    }

    /// Names are compared without regard to ASCII case.
    fn names(&mut self, column: &str, sides: &Sides<String>, names: &[String]) {
        let numbers = |wanted: &[String]| -> Vec<String> {
            let is_wanted = |name: &String| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
            let found = names.iter().enumerate().filter(|(_, name)| !name.is_empty() && is_wanted(name));
            found.map(|(number, _)| number.to_string()).collect()
        };
        if !sides.any.is_empty() {
            let found = numbers(&sides.any);
            self.is_never |= found.is_empty();
            self.sql.push_str(&format!(" AND {column} IN ({})", found.join(",")));
        }
        if !sides.none.is_empty() {
            self.sql.push_str(&format!(" AND {column} NOT IN ({})", numbers(&sides.none).join(",")));
        }
    }
}
