//! Names of DNS types, classes, operations and codes (IANA, dns-parameters).

use event::{Event, Value};
use std::borrow::Cow;

const TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (23, "NSAP-PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (33, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (56, "NINFO"),
    (57, "RKEY"),
    (58, "TALINK"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (32768, "TA"),
    (32769, "DLV"),
];

const CODES: &[&str] = &[
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
];

const EXTENDED_CODES: &[&str] =
    &["BADVERS", "BADKEY", "BADTIME", "BADMODE", "BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE"];

/// A name as a value of an event: most are known and need not be copied.
pub(super) fn value(event: &mut Event, name: Cow<'static, str>) -> Value {
    match name {
        Cow::Borrowed(name) => name.into(),
        Cow::Owned(name) => event.text(&name),
    }
}

/// The names of the types below this one lie in a table: most are asked for many times in one message.
const FIRST_TYPES: usize = 260;

static BY_NUMBER: [&str; FIRST_TYPES] = {
    let mut names = [""; FIRST_TYPES];
    let mut at = 0;
    while at < TYPES.len() {
        if (TYPES[at].0 as usize) < FIRST_TYPES {
            names[TYPES[at].0 as usize] = TYPES[at].1;
        }
        at += 1;
    }
    names
};

pub(super) fn kind(kind: u16) -> Cow<'static, str> {
    let known = match BY_NUMBER.get(usize::from(kind)) {
        Some(name) => Some(*name).filter(|name| !name.is_empty()),
        None => TYPES.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name),
    };
    match known {
        Some(name) => Cow::Borrowed(name),
        None => format!("TYPE{kind}").into(),
    }
}

pub(super) fn class(class: u16) -> Cow<'static, str> {
    match class {
        1 => "IN".into(),
        2 => "CS".into(),
        3 => "CH".into(),
        4 => "HS".into(),
        254 => "NONE".into(),
        255 => "ANY".into(),
        _ => format!("CLASS{class}").into(),
    }
}

pub(super) const fn opcode(opcode: u8) -> &'static str {
    match opcode {
        0 => "QUERY",
        1 => "IQUERY",
        2 => "STATUS",
        4 => "NOTIFY",
        5 => "UPDATE",
        6 => "DSO",
        _ => "UNASSIGNED",
    }
}

pub(super) fn code(code: u16) -> Cow<'static, str> {
    let known = CODES.get(usize::from(code)).or_else(|| EXTENDED_CODES.get(usize::from(code).checked_sub(16)?));
    match known {
        Some(name) => Cow::Borrowed(name),
        None => format!("{code}").into(),
    }
}

/// Algorithms of DNSSEC.
pub(super) const fn algorithm(algorithm: u8) -> Option<&'static str> {
    Some(match algorithm {
        1 => "RSAMD5",
        2 => "DH",
        3 => "DSA",
        5 => "RSASHA1",
        6 => "DSA-NSEC3-SHA1",
        7 => "RSASHA1-NSEC3-SHA1",
        8 => "RSASHA256",
        10 => "RSASHA512",
        12 => "ECC-GOST",
        13 => "ECDSAP256SHA256",
        14 => "ECDSAP384SHA384",
        15 => "ED25519",
        16 => "ED448",
        _ => return None,
    })
}

/// Digests of DS records.
pub(super) const fn digest(digest: u8) -> Option<&'static str> {
    Some(match digest {
        1 => "SHA1",
        2 => "SHA256",
        3 => "GOST94",
        4 => "SHA384",
        _ => return None,
    })
}
