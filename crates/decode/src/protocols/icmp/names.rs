//! Names of ICMP and ICMPv6 types and codes (IANA, icmp-parameters and icmpv6-parameters), in the form Packetbeat prints.

use packet::net::Icmp;
use std::borrow::Cow;

const V4: &[(u8, &str, &[&str])] = &[
    (0, "EchoReply", &[]),
    (
        3,
        "DestinationUnreachable",
        &[
            "Net",
            "Host",
            "Protocol",
            "Port",
            "FragmentationNeeded",
            "SourceRouteFailed",
            "NetUnknown",
            "HostUnknown",
            "SourceIsolated",
            "NetAdminProhibited",
            "HostAdminProhibited",
            "NetTOS",
            "HostTOS",
            "CommAdminProhibited",
            "HostPrecedence",
            "PrecedenceCutoff",
        ],
    ),
    (4, "SourceQuench", &[]),
    (5, "Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
    (8, "EchoRequest", &[]),
    (9, "RouterAdvertisement", &[]),
    (10, "RouterSolicitation", &[]),
    (11, "TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
    (12, "ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
    (13, "TimestampRequest", &[]),
    (14, "TimestampReply", &[]),
    (15, "InfoRequest", &[]),
    (16, "InfoReply", &[]),
    (17, "AddressMaskRequest", &[]),
    (18, "AddressMaskReply", &[]),
];

const V6: &[(u8, &str, &[&str])] = &[
    (
        1,
        "DestinationUnreachable",
        &[
            "NoRouteToDst",
            "AdminProhibited",
            "BeyondScopeOfSrc",
            "Address",
            "Port",
            "SrcAddressFailedPolicy",
            "RejectRouteToDst",
            "SrcRoutingHeader",
            "HeaderTooLong",
        ],
    ),
    (2, "PacketTooBig", &[]),
    (3, "TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
    (4, "ParameterProblem", &["ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
    (128, "EchoRequest", &[]),
    (129, "EchoReply", &[]),
    (130, "MLDv1MulticastListenerQueryMessage", &[]),
    (131, "MLDv1MulticastListenerReportMessage", &[]),
    (132, "MLDv1MulticastListenerDoneMessage", &[]),
    (133, "RouterSolicitation", &[]),
    (134, "RouterAdvertisement", &[]),
    (135, "NeighborSolicitation", &[]),
    (136, "NeighborAdvertisement", &[]),
    (137, "Redirect", &[]),
    (143, "MLDv2MulticastListenerReportMessageV2", &[]),
];

/// The message in words: `EchoRequest`, `DestinationUnreachable(Port)`, or `42(0)` for what has no name.
pub(super) fn message(icmp: &Icmp) -> Cow<'static, str> {
    let table = if icmp.version == 4 { V4 } else { V6 };
    let Some((_, name, codes)) = table.iter().find(|(kind, _, _)| *kind == icmp.kind) else {
        return format!("{}({})", icmp.kind, icmp.code).into();
    };
    match codes.get(usize::from(icmp.code)) {
        Some(code) => format!("{name}({code})").into(),
        None if codes.is_empty() && icmp.code == 0 => Cow::Borrowed(name),
        None => format!("{name}(Code: {})", icmp.code).into(),
    }
}
