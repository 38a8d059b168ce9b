//! `network`: addresses by network, named or as address and prefix length. The names mean what they mean in Packetbeat.

use std::net::{IpAddr, Ipv4Addr};

use crate::literal::{Leaf, Literal};

/// Several networks; an address in one of them is in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Networks {
    list: Vec<(String, Network)>,
    is_list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// An address, its lowest bits zero, and how many count.
    Prefix(IpAddr, u8),
    Named(Name),
}

macro_rules! names {
    ($($name:ident = $text:literal),*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Name { $($name),* }

        const NAMES: &[(&str, Name)] = &[$(($text, Name::$name)),*];
    };
}

names! {
    Loopback = "loopback",
    GlobalUnicast = "global_unicast",
    Unicast = "unicast",
    LinkLocalUnicast = "link_local_unicast",
    InterfaceLocalMulticast = "interface_local_multicast",
    LinkLocalMulticast = "link_local_multicast",
    Multicast = "multicast",
    Unspecified = "unspecified",
    Private = "private",
    Public = "public"
}

impl Leaf for Networks {
    fn from_literal(path: &str, literal: Literal) -> Result<Self, String> {
        let (texts, is_list) = match literal {
            Literal::List(values) => (values, true),
            other => (vec![other], false),
        };
        if texts.is_empty() {
            return Err(format!("no network is named for `{path}`"));
        }
        let mut list = Vec::new();
        for text in texts {
            let Literal::Text(text) = text else {
                return Err(format!("the networks of `{path}` are texts, and this is {}", text.what()));
            };
            let network = parse(&text)?;
            list.push((text, network));
        }
        Ok(Self { list, is_list })
    }

    fn to_literal(&self) -> Literal {
        let texts: Vec<Literal> = self.list.iter().map(|(text, _)| Literal::Text(text.clone())).collect();
        match (self.is_list, texts.into_iter()) {
            (false, mut texts) if texts.len() == 1 => texts.next().unwrap_or(Literal::List(Vec::new())),
            (_, texts) => Literal::List(texts.collect()),
        }
    }
}

fn parse(text: &str) -> Result<Network, String> {
    if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == text) {
        return Ok(Network::Named(*name));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        return Err(format!("`{text}` lacks the prefix length; for this one address write `{text}/{bits}`"));
    }
    let no_network = || {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        format!(
            "`{text}` is no network; write an address and a prefix length such as `192.0.2.0/24` or `2001:db8::/32`, or one of {}",
            names.join(", ")
        )
    };
    let (address, bits) = text.split_once('/').ok_or_else(no_network)?;
    let address: IpAddr = address.parse().map_err(|_| no_network())?;
    let bits: u8 = bits.parse().map_err(|_| no_network())?;
    if bits > if address.is_ipv4() { 32 } else { 128 } {
        return Err(no_network());
    }
    Ok(Network::Prefix(masked(address, bits), bits))
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl Networks {
    /// Whether an address is in one of them. IPv4 written as IPv6 is IPv4.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.list.iter().any(|(_, network)| match network {
            Network::Prefix(prefix, bits) => prefix.is_ipv4() == address.is_ipv4() && masked(address, *bits) == *prefix,
            Network::Named(name) => name.contains(address),
        })
    }
}

impl Name {
    fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::Loopback => address.is_loopback(),
            Self::GlobalUnicast | Self::Unicast => {
                !is_broadcast(address)
                    && !address.is_unspecified()
                    && !address.is_loopback()
                    && !address.is_multicast()
                    && !is_link_local(address)
            }
            Self::LinkLocalUnicast => is_link_local(address),
            Self::InterfaceLocalMulticast => multicast_scope(address) == Some(1),
            Self::LinkLocalMulticast => multicast_scope(address) == Some(2),
            Self::Multicast => address.is_multicast(),
            Self::Unspecified => address.is_unspecified(),
            Self::Private => is_private(address),
            Self::Public => {
                !is_private(address)
                    && !address.is_loopback()
                    && !address.is_unspecified()
                    && !is_broadcast(address)
                    && !is_link_local(address)
                    && !matches!(multicast_scope(address), Some(1 | 2))
            }
        }
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// RFC 1918, and of RFC 4193 the half that is in use.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    }
}

/// The scope in a multicast address of IPv6 (RFC 4291 2.7); 224.0.0.0/24 is link-local (RFC 5771).
fn multicast_scope(address: IpAddr) -> Option<u8> {
    match address {
        IpAddr::V4(address) => (address.octets()[..3] == [224, 0, 0]).then_some(2),
        IpAddr::V6(address) => address.is_multicast().then_some(address.octets()[1] & 0x0f),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(network: &str, address: &str) -> bool {
        let networks = Networks::from_literal("x", Literal::Text(network.to_owned())).unwrap();
        networks.contain(address.parse().unwrap())
    }

    #[test]
    fn networks_by_prefix() {
        for (network, inside, outside) in [
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("::/0", "::1", "1.2.3.4"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ] {
            assert!(is_in(network, inside), "{network} {inside}");
            assert!(!is_in(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn networks_by_name() {
        for (network, inside, outside) in [
            ("loopback", "127.8.0.1", "128.0.0.1"),
            ("loopback", "::1", "::2"),
            ("private", "172.31.255.255", "172.32.0.0"),
            ("private", "fd00::1", "fc00::1"),
            ("public", "1.1.1.1", "192.168.0.1"),
            ("public", "2600::1", "fe80::1"),
            ("public", "239.1.1.1", "224.0.0.251"),
            ("public", "8.8.8.8", "255.255.255.255"),
            ("link_local_unicast", "169.254.1.1", "169.253.1.1"),
            ("link_local_unicast", "febf::1", "fec0::1"),
            ("multicast", "224.0.0.1", "223.0.0.1"),
            ("multicast", "ff05::1", "fe05::1"),
            ("link_local_multicast", "ff02::fb", "ff05::fb"),
            ("link_local_multicast", "224.0.0.5", "224.0.1.5"),
            ("interface_local_multicast", "ff01::1", "ff02::1"),
            ("unspecified", "0.0.0.0", "0.0.0.1"),
            ("unspecified", "::", "::1"),
            ("global_unicast", "10.0.0.1", "255.255.255.255"),
            ("unicast", "2001:db8::1", "ff02::1"),
        ] {
            assert!(is_in(network, inside), "{network} {inside}");
            assert!(!is_in(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_said() {
        let problem = |text: &str| Networks::from_literal("x", Literal::Text(text.to_owned())).unwrap_err();
        assert!(problem("10.0.0.1").contains("write `10.0.0.1/32`"));
        assert!(problem("::1").contains("write `::1/128`"));
        for wrong in ["10.0.0.0/33", "::/129", "10.0.0/8", "intranet", "", "10.0.0.0/", "1.1.1.1/-1"] {
            assert!(problem(wrong).contains("is no network"), "{wrong}");
        }
        assert!(Networks::from_literal("x", Literal::Integer(1)).is_err());
        assert!(Networks::from_literal("x", Literal::List(vec![])).is_err());
    }
}
