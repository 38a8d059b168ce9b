//! ERSPAN: mirrored frames in GRE (draft-foschiano-erspan).
//! Times and ports of the mirroring switch are skipped.

use super::{be16, view};

view! {
    /// The header of type II, and the beginning of that of type III.
    Erspan, 8
}

impl Erspan<'_> {
    /// 1 for type II, 2 for type III.
    pub const fn version(&self) -> u8 {
        self.head[0] >> 4
    }

    /// The mirroring session.
    pub fn session(&self) -> u16 {
        be16(self.head, 2) & 0x3ff
    }

    /// Bytes of the whole header. `None` when it is cut or of another version.
    pub fn length(&self) -> Option<usize> {
        match self.version() {
            1 => Some(8),
            2 => {
                let optional = self.rest.get(3)? & 1 == 1;
                Some(if optional { 20 } else { 12 })
            }
            _ => None,
        }
    }
}
