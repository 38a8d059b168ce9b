//! The columns of an event as questions need them.

use rusqlite::Row as SqlRow;

/// What [`Row::read`] expects.
pub(super) const COLUMNS: &str =
    "row, time, id, type, source, status, client_ip, client_port, server_ip, server_port, capture_loss";

/// One event without its document.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) row: i64,
    pub(super) time: i64,
    pub(super) id: u128,
    /// Numbers of type, source and status in the names of the file.
    pub(super) names: [usize; 3],
    pub(super) client: (Option<[u8; 16]>, Option<u16>),
    pub(super) server: (Option<[u8; 16]>, Option<u16>),
    pub(super) capture_loss: u64,
}

impl Row {
    pub(super) fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let number = |at| row.get::<_, i64>(at).map(|number| usize::try_from(number).unwrap_or(0));
        Ok(Self {
            row: row.get(0)?,
            time: row.get(1)?,
            id: u128::from_be_bytes(row.get(2)?),
            names: [number(3)?, number(4)?, number(5)?],
            client: (row.get(6)?, row.get(7)?),
            server: (row.get(8)?, row.get(9)?),
            capture_loss: row.get::<_, Option<i64>>(10)?.and_then(|loss| u64::try_from(loss).ok()).unwrap_or(0),
        })
    }
}
