//! The memory of events that are gone, for those that come: most live only until their JSON is written. Each thread keeps some;
//! one that only makes events gets them by the handful from those that only end them.

use crate::{Field, Key, Value};
use std::cell::RefCell;
use std::sync::Mutex;

/// What an event consists of, beside what every event has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    /// As they were set; a later one with the same path counts.
    pub(crate) fields: Vec<(&'static Field, Value)>,
    /// All texts, in UTF-8.
    pub(crate) text: Vec<u8>,
    /// What the lists hold.
    pub(crate) items: Vec<Value>,
    /// What the objects hold.
    pub(crate) members: Vec<(Key, Value)>,
}

/// So many go from thread to thread at once; a thread keeps up to twice as many.
const HANDFUL: usize = 32;
/// So many handfuls wait for a thread that needs one; more are freed.
const HANDFULS: usize = 32;
/// What has grown beyond this many fields, bytes of text, or values in lists or objects is given back.
const FIELDS_MAX: usize = 128;
const TEXT_MAX: usize = 8 * 1024;
const NESTED_MAX: usize = 256;

thread_local! {
    static SPARE: RefCell<Vec<Parts>> = const { RefCell::new(Vec::new()) };
}

static SHARED: Mutex<Vec<Vec<Parts>>> = Mutex::new(Vec::new());

/// A handful that another thread had too many of.
#[cold]
fn handful() -> Option<Vec<Parts>> {
    SHARED.lock().ok()?.pop()
}

/// Gives those away that have lain longest.
#[cold]
fn share(spare: &mut Vec<Parts>) {
    let handful: Vec<Parts> = spare.drain(..HANDFUL).collect();
    if let Ok(mut shared) = SHARED.lock()
        && shared.len() < HANDFULS
    {
        shared.push(handful);
    }
}

impl Parts {
    /// Room for an event, empty.
    pub(crate) fn take() -> Self {
        let spare = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.is_empty() {
                *spare = handful()?;
            }
            spare.pop()
        });
        spare.ok().flatten().unwrap_or_else(|| Self {
            fields: Vec::with_capacity(48),
            text: Vec::with_capacity(512),
            ..Self::default()
        })
    }

    fn clear(&mut self) {
        self.fields.clear();
        self.text.clear();
        self.items.clear();
        self.members.clear();
    }

    /// Keeps the room of an event that is gone.
    pub(crate) fn give_back(self) {
        let is_large = self.fields.capacity() > FIELDS_MAX
            || self.text.capacity() > TEXT_MAX
            || self.items.capacity().max(self.members.capacity()) > NESTED_MAX;
        if is_large {
            return;
        }
        // When a thread ends there may be no place for it any more: then it is freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() >= 2 * HANDFUL {
                share(&mut spare);
            }
            spare.push(self);
            // Emptied where it lies: what has just been changed in pieces could not be moved as one without waiting.
            if let Some(kept) = spare.last_mut() {
                kept.clear();
            }
        });
    }
}
