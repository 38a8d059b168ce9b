//! Session descriptions (SDP, RFC 8866) as SIP, MGCP, RTSP and H.248 carry them: who offers which media where.
//! A format, not a decoder: it has no events of its own and announces nothing; whoever carries it does.
//!
//! Reading never fails: what is understood is kept, what is not is noted as an anomaly.

use std::net::{IpAddr, Ipv4Addr};

/// How many media descriptions of one session are read.
const MEDIA_MAX: usize = 32;
/// How many payload types of one media description are read.
const MAPPINGS_MAX: usize = 64;

/// What a payload type means, by `a=rtpmap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Payload type.
    pub(crate) payload_type: u8,
    /// Encoding name.
    pub(crate) encoding: Box<str>,
    /// Ticks of the timestamp per second.
    pub(crate) clock_rate: u32,
    /// The parameters of `a=fmtp`; empty without.
    pub(crate) format: Box<str>,
}

/// What signalling said of the packets that go one way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Announced {
    /// The call.
    pub(crate) call_id: Box<str>,
    /// The protocol that announced it.
    pub(crate) protocol: &'static str,
    /// Payload types.
    pub(crate) mappings: Vec<Mapping>,
    /// The first payload type in the order of preference.
    pub(crate) preferred: Option<u8>,
    /// Whether it is encrypted.
    pub(crate) secure: bool,
}

/// Which way media go, from the point of view of who sent the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flow {
    /// `sendrecv`, the default.
    #[default]
    Both,
    /// `sendonly`.
    Send,
    /// `recvonly`.
    Receive,
    /// `inactive`.
    None,
}

impl Flow {
    /// The attribute's name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "sendrecv",
            Self::Send => "sendonly",
            Self::Receive => "recvonly",
            Self::None => "inactive",
        }
    }
}

/// The `o=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owner<'a> {
    /// User name; empty for `-`.
    pub(crate) username: &'a str,
    /// Session identifier.
    pub(crate) session_id: &'a str,
    /// Version of the description.
    pub(crate) version: &'a str,
    /// The last word: the address.
    pub(crate) address: &'a str,
}

/// One `m=` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Media<'a> {
    /// `audio`, `video`, `image`, ...
    pub(crate) kind: &'a str,
    /// Where it is to be sent; 0 for refused.
    pub(crate) port: u16,
    /// `RTP/AVP`, `udptl`, ...
    pub(crate) protocol: &'a str,
    /// Its own address, or the session's.
    pub(crate) address: Option<IpAddr>,
    /// Payload types, static ones without `a=rtpmap` left out.
    pub(crate) mappings: Vec<Mapping>,
    /// The payload types in the order of preference.
    pub(crate) formats: Vec<u8>,
    /// Packet time in milliseconds; 0 where it is not said.
    pub(crate) packet_time_ms: u32,
    /// Which way it goes.
    pub(crate) flow: Flow,
    /// Where RTCP is to be sent, if not to the next port.
    pub(crate) rtcp: Option<(u16, Option<IpAddr>)>,
    /// Whether RTCP shares the port (`a=rtcp-mux`).
    pub(crate) rtcp_mux: bool,
}

impl Media<'_> {
    /// Whether it is carried by RTP.
    pub(crate) fn is_rtp(&self) -> bool {
        self.protocol.contains("RTP/") || self.protocol.eq_ignore_ascii_case("RTP")
    }

    /// Whether it is encrypted: then RTCP tells nothing beyond its head.
    pub(crate) fn is_secure(&self) -> bool {
        self.protocol.contains("SAVP")
    }

    /// The encoding name of a payload type: as mapped, or by its static number.
    pub(crate) fn encoding(&self, payload_type: u8) -> Option<&str> {
        let mapped = self.mappings.iter().find(|mapping| mapping.payload_type == payload_type);
        match mapped {
            Some(mapping) => Some(&mapping.encoding),
            None => static_encoding(payload_type).map(|(name, _)| name),
        }
    }

    /// Port of RTCP, as far as the description goes.
    pub(crate) fn rtcp_port(&self) -> u16 {
        match self.rtcp {
            Some((port, _)) => port,
            None if self.rtcp_mux => self.port,
            None => self.port.saturating_add(1),
        }
    }
}

/// A whole description.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Description<'a> {
    /// The `v=` line.
    pub(crate) version: Option<&'a str>,
    /// The `o=` line, if it has all its words.
    pub(crate) owner: Option<Owner<'a>>,
    /// The `s=` line; `None` for `-`.
    pub(crate) session_name: Option<&'a str>,
    /// The session's `c=` line as it is.
    pub(crate) connection: Option<&'a str>,
    /// The media.
    pub(crate) media: Vec<Media<'a>>,
    /// Name and offset of what was not understood.
    pub(crate) anomalies: Vec<(&'static str, usize)>,
}

impl<'a> Description<'a> {
    /// Reads a description. Lines may end with CR LF or LF.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut description = Self::default();
        let mut session = Session::default();
        for line in text.split('\n') {
            let offset = line.as_ptr() as usize - text.as_ptr() as usize;
            let line = line.strip_suffix('\r').unwrap_or(line);
            let Some((kind, value)) = line.split_once('=') else {
                if !line.trim().is_empty() {
                    description.note("sdp.bad_line", offset);
                }
                continue;
            };
            let value = value.trim();
            let full = description.media.len() >= MEDIA_MAX;
            match (kind.trim(), description.media.last_mut()) {
                ("v", None) => description.version = Some(value),
                ("o", None) => {
                    description.owner = owner(value);
                    if description.owner.is_none() {
                        description.note("sdp.bad_owner", offset);
                    }
                }
                ("s", None) => description.session_name = Some(value).filter(|name| !matches!(*name, "-" | "")),
                ("c", None) => {
                    description.connection = Some(value);
                    session.address = connection(value);
                }
                ("c", Some(media)) => media.address = connection(value).or(media.address),
                ("m", _) if full => description.note("sdp.too_many_media", offset),
                ("m", _) => match media(value, &session) {
                    Some(media) => description.media.push(media),
                    None => description.note("sdp.bad_media", offset),
                },
                ("a", None) => {
                    if let Some(flow) = flow(value) {
                        session.flow = flow;
                    }
                    session.rtcp_mux |= value == "rtcp-mux";
                }
                ("a", Some(media)) => attribute(media, value),
                _ => {}
            }
        }
        description
    }

    fn note(&mut self, name: &'static str, offset: usize) {
        if self.anomalies.len() < 8 {
            self.anomalies.push((name, offset));
        }
    }
}

#[derive(Default)]
struct Session {
    address: Option<IpAddr>,
    flow: Flow,
    rtcp_mux: bool,
}

/// Encoding name and clock rate of the static payload types (RFC 3551 6).
pub(crate) const fn static_encoding(payload_type: u8) -> Option<(&'static str, u32)> {
    Some(match payload_type {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        5 => ("DVI4", 8000),
        6 => ("DVI4", 16000),
        7 => ("LPC", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        10 | 11 => ("L16", 44100),
        12 => ("QCELP", 8000),
        13 | 19 => ("CN", 8000),
        14 => ("MPA", 90000),
        15 => ("G728", 8000),
        16 => ("DVI4", 11025),
        17 => ("DVI4", 22050),
        18 => ("G729", 8000),
        25 => ("CelB", 90000),
        26 => ("JPEG", 90000),
        28 => ("nv", 90000),
        31 => ("H261", 90000),
        32 => ("MPV", 90000),
        33 => ("MP2T", 90000),
        34 => ("H263", 90000),
        _ => return None,
    })
}

fn owner(value: &str) -> Option<Owner<'_>> {
    let (username, rest) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(name, rest)| (name, rest.trim_start()))?,
        None => value.split_once(' ')?,
    };
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let (session_id, version) = (words.next()?, words.next()?);
    let address = words.next_back()?;
    Some(Owner { username: if username == "-" { "" } else { username }, session_id, version, address })
}

/// The address of a `c=` line. Multicast addresses carry a time to live after a slash.
fn connection(value: &str) -> Option<IpAddr> {
    let address = value.split(' ').filter(|word| !word.is_empty()).nth(2)?;
    let address = address.split('/').next().unwrap_or(address);
    let address: IpAddr = address.parse().ok()?;
    // RFC 3264 8.4: 0.0.0.0 was the old way to put a call on hold.
    (address != IpAddr::V4(Ipv4Addr::UNSPECIFIED)).then_some(address)
}

fn flow(value: &str) -> Option<Flow> {
    Some(match value {
        "sendrecv" => Flow::Both,
        "sendonly" => Flow::Send,
        "recvonly" => Flow::Receive,
        "inactive" => Flow::None,
        _ => return None,
    })
}

fn media<'a>(value: &'a str, session: &Session) -> Option<Media<'a>> {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let (kind, port, protocol) = (words.next()?, words.next()?, words.next()?);
    let port = port.split('/').next().unwrap_or(port).parse().ok()?;
    Some(Media {
        kind,
        port,
        protocol,
        address: session.address,
        flow: session.flow,
        rtcp_mux: session.rtcp_mux,
        formats: words.take(MAPPINGS_MAX).filter_map(|format| format.parse().ok()).collect(),
        ..Media::default()
    })
}

fn attribute(media: &mut Media<'_>, value: &str) {
    if let Some(flow) = flow(value) {
        media.flow = flow;
        return;
    }
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    match name {
        "rtpmap" if media.mappings.len() < MAPPINGS_MAX => media.mappings.extend(mapping(value)),
        "fmtp" => {
            if let Some((payload_type, format)) = value.trim_start().split_once(' ') {
                let payload_type = payload_type.parse::<u8>().ok();
                if let Some(known) = media.mappings.iter_mut().find(|known| Some(known.payload_type) == payload_type) {
                    known.format = format.trim().into();
                }
            }
        }
        "ptime" => media.packet_time_ms = value.trim().parse().unwrap_or(0),
        "rtcp" => {
            let mut words = value.split(' ').filter(|word| !word.is_empty());
            if let Some(port) = words.next().and_then(|port| port.parse().ok()) {
                media.rtcp = Some((port, words.nth(2).and_then(|address| address.parse().ok())));
            }
        }
        "rtcp-mux" => media.rtcp_mux = true,
        _ => {}
    }
}

fn mapping(value: &str) -> Option<Mapping> {
    let (payload_type, rest) = value.trim_start().split_once(' ')?;
    let mut parts = rest.trim().split('/');
    let encoding = parts.next().filter(|name| !name.is_empty())?;
    Some(Mapping {
        payload_type: payload_type.parse().ok().filter(|number| *number < 128)?,
        encoding: encoding.into(),
        clock_rate: parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(0),
        format: "".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFER: &str = "v=0\r\no=alice 2890844526 2890844527 IN IP4 host.example\r\ns=Talk\r\nc=IN IP4 192.0.2.1\r\n\
        t=0 0\r\na=sendonly\r\nm=audio 49170 RTP/AVP 0 97 101\r\na=rtpmap:97 iLBC/8000\r\na=fmtp:97 mode=30\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\na=rtcp:53020\r\na=candidate:1 1 UDP 2130706431 192.0.2.1 49170 typ host\r\n\
        m=video 51372/2 RTP/SAVPF 31\r\nc=IN IP6 2001:db8::1\r\na=recvonly\r\na=rtcp-mux\r\nm=image 0 udptl t38\r\n";

    #[test]
    fn an_offer_is_read_whole() {
        let offer = Description::parse(OFFER);
        assert_eq!(
            offer.owner.unwrap(),
            Owner { username: "alice", session_id: "2890844526", version: "2890844527", address: "host.example" }
        );
        assert_eq!(
            (offer.version, offer.session_name, offer.connection),
            (Some("0"), Some("Talk"), Some("IN IP4 192.0.2.1"))
        );
        let [audio, video, image] = &offer.media[..] else { panic!("three media") };
        assert_eq!((audio.kind, audio.port, audio.address), ("audio", 49170, Some("192.0.2.1".parse().unwrap())));
        assert_eq!(audio.formats, [0, 97, 101]);
        assert_eq!((&*audio.mappings[0].encoding, &*audio.mappings[0].format), ("iLBC", "mode=30"));
        assert_eq!((audio.packet_time_ms, audio.flow, audio.rtcp_port()), (30, Flow::Send, 53020));
        assert!(!audio.is_secure() && video.is_secure());
        assert_eq!((video.port, video.rtcp_port(), video.flow), (51372, 51372, Flow::Receive));
        assert_eq!(video.address, Some("2001:db8::1".parse().unwrap()));
        assert!(!image.is_rtp() && image.port == 0);
        assert_eq!(offer.anomalies, []);
    }

    #[test]
    fn lines_may_end_with_lf_alone_and_hold_has_no_address() {
        let held = Description::parse("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nc=IN IP4 0.0.0.0\nm=audio 6000 RTP/AVP 8\n");
        assert_eq!(held.media[0].address, None);
        assert_eq!((held.session_name, held.owner.unwrap().username), (None, ""));
    }

    #[test]
    fn what_is_not_understood_is_noted_and_passed() {
        let bad = Description::parse("v=0\r\no=\r\nnonsense\r\nm=audio x RTP/AVP\r\nm=audio 5 RTP/AVP 8\r\n");
        assert_eq!(bad.anomalies, [("sdp.bad_owner", 5), ("sdp.bad_line", 9), ("sdp.bad_media", 19)]);
        assert_eq!(bad.media.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([vosmca]=[ -~]{0,30}\r?\n|[\\PC\n]{0,10}){0,12}") {
            let description = Description::parse(&text);
            for media in &description.media {
                let _ = media.rtcp_port();
            }
        }
    }
}
