//! Keys pressed during a call, sent as telephone events (RFC 4733, before it RFC 2833). Hears no tones within the sound.

/// How many keys of a stream are kept.
const KEYS_MAX: usize = 64;

/// The keys of a stream so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Keys {
    keys: String,
    /// Keys pressed, also those beyond what is kept.
    pub(crate) count: u64,
    /// Timestamp and event of the packets of the last key: each is sent many times.
    last: Option<(u32, u8)>,
}

const fn key(event: u8) -> Option<char> {
    Some(match event {
        0..=9 => (b'0' + event) as char,
        10 => '*',
        11 => '#',
        12..=15 => (b'A' + event - 12) as char,
        16 => '!', // flash
        _ => return None,
    })
}

impl Keys {
    /// Takes in the payload of an event packet.
    pub(crate) fn receive(&mut self, timestamp: u32, payload: &[u8]) {
        let Some([event, _, _, _]) = payload.first_chunk::<4>().copied() else { return };
        if self.last == Some((timestamp, event)) {
            return;
        }
        let Some(key) = key(event) else { return };
        self.last = Some((timestamp, event));
        self.count += 1;
        if self.keys.len() < KEYS_MAX {
            self.keys.push(key);
        }
    }

    /// The keys in the order they were pressed, or as many `x` if they are not to be shown: they may be a PIN.
    pub(crate) fn text(&self, shown: bool) -> Option<String> {
        match (self.keys.is_empty(), shown) {
            (true, _) => None,
            (false, true) => Some(self.keys.clone()),
            (false, false) => Some("x".repeat(self.keys.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_once_however_often_it_is_sent() {
        let mut keys = Keys::default();
        for (timestamp, event) in [(160, 5), (160, 5), (160, 5), (1600, 5), (3200, 11), (3200, 11)] {
            keys.receive(timestamp, &[event, 0x0a, 0, 160]);
        }
        assert_eq!(keys.text(true).as_deref(), Some("55#"));
        assert_eq!(keys.text(false).as_deref(), Some("xxx"));
        assert_eq!(keys.count, 3);
    }

    #[test]
    fn a_cut_event_is_none() {
        let mut keys = Keys::default();
        keys.receive(0, &[5, 0]);
        assert_eq!(keys.text(true), None);
    }
}
