//! What of an event stands in columns: taken from its fields, never from its JSON.

use std::net::{IpAddr, Ipv6Addr};

use event::{Event, Field, Value};
use xxhash_rust::xxh3::xxh3_64;

/// The columns of one event that its fields give.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Columns<'e> {
    pub(crate) status: &'e str,
    pub(crate) client_ip: Option<[u8; 16]>,
    pub(crate) client_port: Option<u16>,
    pub(crate) server_ip: Option<[u8; 16]>,
    pub(crate) server_port: Option<u16>,
    pub(crate) flow: Option<i64>,
    pub(crate) call: Option<i64>,
    pub(crate) bytes: Option<i64>,
    pub(crate) duration: Option<i64>,
    /// Whether it is the last report of a flow: those together count every byte once.
    pub(crate) is_final_flow: bool,
}

/// The hash by which flows and calls are found.
pub(crate) fn hash(text: &str) -> i64 {
    i64::from_ne_bytes(xxh3_64(text.as_bytes()).to_ne_bytes())
}

/// An address as it stands in files.
pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// An address out of a file.
pub(crate) fn address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    None,
    Status,
    ClientIp,
    ClientPort,
    ServerIp,
    ServerPort,
    SourceIp,
    SourcePort,
    DestinationIp,
    DestinationPort,
    Flow,
    Call,
    Bytes,
    SourceBytes,
    DestinationBytes,
    Duration,
    FlowFinal,
}

fn column(path: &str) -> Column {
    match path {
        "status" => Column::Status,
        "client.ip" => Column::ClientIp,
        "client.port" => Column::ClientPort,
        "server.ip" => Column::ServerIp,
        "server.port" => Column::ServerPort,
        "source.ip" => Column::SourceIp,
        "source.port" => Column::SourcePort,
        "destination.ip" => Column::DestinationIp,
        "destination.port" => Column::DestinationPort,
        "network.community_id" => Column::Flow,
        "sip.call_id" | "rtp.call_id" | "rtcp.call_id" | "call.id" => Column::Call,
        "network.bytes" => Column::Bytes,
        "source.bytes" => Column::SourceBytes,
        "destination.bytes" => Column::DestinationBytes,
        "event.duration" => Column::Duration,
        "flow.final" => Column::FlowFinal,
        _ => Column::None,
    }
}

const SLOTS: usize = 512;

/// Takes columns out of events; remembers which field is which column, since comparing names costs more than all the rest.
#[derive(Debug)]
pub(crate) struct Extractor {
    slots: Box<[Option<(&'static Field, Column)>; SLOTS]>,
}

impl Default for Extractor {
    fn default() -> Self {
        Self { slots: Box::new([None; SLOTS]) }
    }
}

impl Extractor {
    #[inline]
    fn column(&mut self, field: &'static Field) -> Column {
        let address = std::ptr::from_ref(field) as usize;
        let Some(slot) = self.slots.get_mut((address >> 3) % SLOTS) else { return Column::None };
        match slot {
            Some((known, column)) if std::ptr::eq(*known, field) => *column,
            _ => {
                let column = column(field.path);
                *slot = Some((field, column));
                column
            }
        }
    }

    /// The columns of an event. Where there is no client and server, source and destination are.
    pub(crate) fn columns<'e>(&mut self, event: &'e Event) -> Columns<'e> {
        let mut columns = Columns::default();
        let (mut source, mut destination) = ((None, None), (None, None));
        let mut parts: Option<i64> = None;
        for (field, value) in event.fields() {
            match self.column(field) {
                Column::None => {}
                Column::Status => columns.status = event.as_str(value).unwrap_or_default(),
                Column::ClientIp => columns.client_ip = ip(value),
                Column::ClientPort => columns.client_port = port(value),
                Column::ServerIp => columns.server_ip = ip(value),
                Column::ServerPort => columns.server_port = port(value),
                Column::SourceIp => source.0 = ip(value),
                Column::SourcePort => source.1 = port(value),
                Column::DestinationIp => destination.0 = ip(value),
                Column::DestinationPort => destination.1 = port(value),
                Column::Flow => columns.flow = event.as_str(value).map(hash),
                Column::Call => columns.call = event.as_str(value).map(hash),
                Column::Bytes => columns.bytes = number(value),
                Column::SourceBytes | Column::DestinationBytes => {
                    parts = number(value).map(|part| part.saturating_add(parts.unwrap_or(0))).or(parts);
                }
                Column::Duration => columns.duration = number(value),
                Column::FlowFinal => {
                    columns.is_final_flow = *value == Value::Bool(true) && event.event_type == "flow";
                }
            }
        }
        if columns.client_ip.is_none() && columns.server_ip.is_none() {
            (columns.client_ip, columns.client_port) = source;
            (columns.server_ip, columns.server_port) = destination;
        }
        columns.bytes = columns.bytes.or(parts);
        columns
    }
}

fn ip(value: &Value) -> Option<[u8; 16]> {
    match value {
        Value::Ip(address) => Some(octets(*address)),
        _ => None,
    }
}

fn port(value: &Value) -> Option<u16> {
    number(value).and_then(|number| u16::try_from(number).ok())
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Unsigned(number) => Some(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Signed(number) => Some(*number),
        _ => None,
    }
}
