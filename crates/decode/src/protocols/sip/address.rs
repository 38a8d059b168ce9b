//! SIP addresses and URIs (RFC 3261 19.1, 20.10) taken apart. Resolves and compares nothing.

/// A URI's parts; empty or `None` where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uri<'a> {
    /// All of it.
    pub(crate) original: &'a str,
    /// `sip`, `sips`, `tel`, ...
    pub(crate) scheme: &'a str,
    /// User, without password.
    pub(crate) user: &'a str,
    /// Host, an IPv6 address with its brackets.
    pub(crate) host: &'a str,
    /// Port.
    pub(crate) port: Option<u16>,
    parameters: &'a str,
}

impl<'a> Uri<'a> {
    /// Takes a URI apart.
    pub(crate) fn parse(original: &'a str) -> Self {
        let original = original.trim();
        let Some((scheme, rest)) = original.split_once(':') else { return Self { original, ..Self::default() } };
        let (user, rest) = rest.split_once('@').unwrap_or(("", rest));
        let end = rest.find([';', '?']).unwrap_or(rest.len());
        let (place, parameters) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let place = place.trim();
        // The colon of the port comes after the bracket of an IPv6 address.
        let bracket = place.find(']').unwrap_or(0);
        let colon = place.get(bracket..).and_then(|tail| tail.find(':')).map(|at| at + bracket);
        let (host, port) = match colon {
            Some(colon) => {
                (place.get(..colon).unwrap_or(place), place.get(colon + 1..).unwrap_or("").trim().parse().ok())
            }
            None => (place, None),
        };
        let user = user.split(':').next().unwrap_or(user);
        Self { original, scheme, user, host, port, parameters }
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        parameter(self.parameters, name)
    }
}

/// What From, To and Contact hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Address<'a> {
    /// Display name without quotes.
    pub(crate) display: &'a str,
    /// The URI.
    pub(crate) uri: Uri<'a>,
    parameters: &'a str,
}

impl<'a> Address<'a> {
    /// Takes an address apart. A URI without angle brackets ends at the first semicolon.
    pub(crate) fn parse(text: &'a str) -> Self {
        let text = text.trim();
        // The bracket that counts comes after a quoted name.
        let quoted = match text.strip_prefix('"') {
            Some(rest) => closing_quote(rest).map_or(0, |at| at + 1),
            None => 0,
        };
        let open = text.get(quoted..).and_then(|tail| tail.find('<')).map(|at| at + quoted);
        let Some(open) = open else {
            let (uri, parameters) = text.split_at_checked(text.find(';').unwrap_or(text.len())).unwrap_or((text, ""));
            return Self { display: "", uri: Uri::parse(uri), parameters };
        };
        let display = text.get(..open).unwrap_or("").trim_matches(['\'', '"', '\t', ' ']);
        let rest = text.get(open + 1..).unwrap_or("");
        let (uri, parameters) = rest.split_once('>').unwrap_or((rest, ""));
        Self { display, uri: Uri::parse(uri), parameters }
    }

    /// The value of a header parameter, such as `tag`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        parameter(self.parameters, name)
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        if escaped {
            escaped = false;
            return None;
        }
        escaped = character == '\\';
        (character == '"').then_some(at)
    })
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let parameters = parameters.split('?').next().unwrap_or(parameters);
    parameters.split(';').find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The first of several values that commas part, commas within quotes and brackets not counted.
pub(crate) fn first_value(text: &str) -> &str {
    let (mut quoted, mut bracketed) = (false, false);
    let end = text.find(|character| {
        match character {
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ => {}
        }
        character == ',' && !quoted && !bracketed
    });
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(text: &str) -> (&str, &str, &str, Option<u16>) {
        let uri = Uri::parse(text);
        (uri.scheme, uri.user, uri.host, uri.port)
    }

    #[test]
    fn uris_come_apart() {
        assert_eq!(uri("sip:test@10.0.2.15:5060"), ("sip", "test", "10.0.2.15", Some(5060)));
        assert_eq!(uri("sips:test@10.0.2.15:5061 ; transport=udp"), ("sips", "test", "10.0.2.15", Some(5061)));
        assert_eq!(uri("mailto:192.168.0.2"), ("mailto", "", "192.168.0.2", None));
        assert_eq!(
            uri("sip:+49;phone-context=x@[2001:db8::1]:5060"),
            ("sip", "+49;phone-context=x", "[2001:db8::1]", Some(5060))
        );
        assert_eq!(uri("sip:alice:secret@a.example?subject=x"), ("sip", "alice", "a.example", None));
        assert_eq!(uri("nothing"), ("", "", "", None));
        assert_eq!(Uri::parse("sip:a@b;transport=TCP;line=7").parameter("line"), Some("7"));
    }

    #[test]
    fn addresses_come_apart() {
        let address = Address::parse(" \"Mr. <W> Watson\" <sip:watson@w.example>;q=0.7; expires=3600");
        assert_eq!((address.display, address.uri.user), ("Mr. <W> Watson", "watson"));
        assert_eq!((address.parameter("q"), address.parameter("Expires")), (Some("0.7"), Some("3600")));
        let bare = Address::parse("   sip:test@10.0.2.15:5060;tag=1");
        assert_eq!((bare.uri.original, bare.parameter("tag")), ("sip:test@10.0.2.15:5060", Some("1")));
        assert_eq!(first_value("\"a, b\" <sip:x,y@z>, <sip:2>"), "\"a, b\" <sip:x,y@z>");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\"<>;:@=,?\\[\\] a-z0-9ä\\\\]{0,40}") {
            let address = Address::parse(first_value(&text));
            let _ = (address.parameter("tag"), address.uri.parameter("line"));
        }
    }
}
