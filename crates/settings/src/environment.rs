//! Finds the key that an environment variable `TAPLINE_<SECTION>_<KEY>` means.
//! Deliberately leaves every other variable alone.

use serde::de::DeserializeOwned;

use crate::problem::suggestion;
use crate::schema::{Shape, shape};

/// The dotted path (with section) that the variable means, an error if it means none, `None` if it is not for this section.
pub(crate) fn path_of<T: DeserializeOwned>(section: &str, variable: &str) -> Option<Result<String, String>> {
    let rest = variable.strip_prefix("TAPLINE_")?;
    let rest = rest.strip_prefix(&section.to_uppercase())?.strip_prefix('_')?.to_lowercase();
    let mut path = Vec::new();
    if resolve::<T>(&rest, &mut path) {
        return Some(Ok(format!("{section}.{}", path.join("."))));
    }
    let known: Vec<String> = crate::schema::keys::<T>()
        .into_iter()
        .filter(|key| !key.contains('['))
        .map(|key| format!("TAPLINE_{}_{}", section.to_uppercase(), key.replace('.', "_").to_uppercase()))
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Some(Err(format!("means no known key; {}", suggestion(variable, &known))))
}

/// Splits `rest` at those underscores that separate keys: a key may hold underscores itself, so the longest known one that fits is tried first,
/// and where keys are free the shortest.
fn resolve<T: DeserializeOwned>(rest: &str, path: &mut Vec<String>) -> bool {
    let at: Vec<&str> = path.iter().map(String::as_str).collect();
    let candidates: Vec<String> = match shape::<T>(&at) {
        Some(Shape::Struct(fields)) => {
            let mut fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            fields.sort_by_key(|field| std::cmp::Reverse(field.len()));
            fields
        }
        Some(Shape::Map) => {
            let ends = rest.match_indices('_').map(|(end, _)| end).chain([rest.len()]);
            ends.filter_map(|end| rest.get(..end)).map(str::to_owned).collect()
        }
        _ => return false,
    };
    for candidate in candidates {
        let Some(tail) = rest.strip_prefix(&candidate.to_lowercase()) else { continue };
        path.push(candidate);
        if tail.is_empty() || tail.strip_prefix('_').is_some_and(|tail| resolve::<T>(tail, path)) {
            return true;
        }
        path.pop();
    }
    false
}
