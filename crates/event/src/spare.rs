//! The memory of events that are gone, for those that come: most live only until their JSON is written. A few per thread.

use crate::{Field, Value};
use std::cell::RefCell;

type Fields = Vec<(&'static Field, Value)>;

/// So many are kept per thread.
const KEPT: usize = 4;
/// What has grown beyond this many fields or bytes of text is given back.
const FIELDS_MAX: usize = 128;
const TEXT_MAX: usize = 16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(Fields, String)>> = const { RefCell::new(Vec::new()) };
}

/// Room for the fields and texts of an event, both empty.
pub(crate) fn take() -> (Fields, String) {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    spare.ok().flatten().unwrap_or_else(|| (Vec::with_capacity(48), String::with_capacity(512)))
}

/// Keeps the room of an event that is gone.
pub(crate) fn give(mut fields: Fields, mut text: String) {
    fields.clear();
    text.clear();
    if fields.capacity() > FIELDS_MAX || text.capacity() > TEXT_MAX {
        return;
    }
    // When a thread ends there may be no place for it any more: then it is freed.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push((fields, text));
        }
    });
}
