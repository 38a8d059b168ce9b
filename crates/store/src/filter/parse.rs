//! From words to a filter. Every mistake names the word, why, and what to write instead.

use std::net::{IpAddr, Ipv6Addr};

use super::{Filter, FilterError, Network, WORDS};

/// Words a filter may have; more are a mistake or an attack.
const WORDS_MAX: usize = 64;
/// Bytes a word may have.
const WORD_BYTES_MAX: usize = 1024;

/// A word taken apart: `-name:value`, or text where there is no name.
struct Word {
    text: String,
    name: Option<String>,
    value: String,
    excludes: bool,
}

impl Filter {
    /// Understands the words of `q`. `is_field` tells whether a name is one of the event reference.
    ///
    /// # Errors
    /// The first word that cannot be understood, why, and what to do.
    pub fn parse(q: &str, is_field: &dyn Fn(&str) -> bool) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        let words = words(q)?;
        if words.len() > WORDS_MAX {
            return Err(wrong(q, format!("more than {WORDS_MAX} words"), "narrow by fewer words".to_owned()));
        }
        for word in words {
            filter.add_word(&word, is_field)?;
        }
        Ok(filter)
    }

    /// Adds what `name:value` means, for parameters that are short for a word. An empty value adds nothing; a minus before the value
    /// excludes it.
    ///
    /// # Errors
    /// As [`Filter::parse`].
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let (value, excludes) = match value.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (value, false),
        };
        if value.is_empty() {
            return Ok(());
        }
        let text = format!("{name}:{value}");
        let word = Word { text, name: Some(name.to_owned()), value: value.to_owned(), excludes };
        self.add_word(&word, &|_| false)
    }

    fn add_word(&mut self, word: &Word, is_field: &dyn Fn(&str) -> bool) -> Result<(), FilterError> {
        let excludes = word.excludes;
        let value = word.value.clone();
        if word.text.len() > WORD_BYTES_MAX {
            let shown: String = word.text.chars().take(40).collect();
            let reason = format!("longer than {WORD_BYTES_MAX} bytes");
            return Err(wrong(&shown, reason, "search for a part of it".to_owned()));
        }
        let Some(name) = &word.name else {
            if excludes {
                self.not_texts.push(value)
            } else {
                self.texts.push(value)
            }
            return Ok(());
        };
        if value.is_empty() {
            let hint = format!("write {name}:VALUE, or \"{name}:\" in double quotes to search for the text");
            return Err(wrong(&word.text, "nothing stands after the colon".to_owned(), hint));
        }
        match name.as_str() {
            "type" => self.types.add(value, excludes),
            "source" => self.sources.add(value, excludes),
            "status" => self.statuses.add(value, excludes),
            "ip" => self.ips.add(network(word)?, excludes),
            "port" => self.ports.add(port(word)?, excludes),
            "flow" => self.flows.add(value, excludes),
            "call" => self.calls.add(value, excludes),
            name if is_field(name) => self.add_field(name, value, excludes),
            name => {
                let hint = format!(
                    "words are {} and the fields of the event reference; put it in double quotes to search for it as text",
                    WORDS.map_join()
                );
                return Err(wrong(&word.text, format!("there is no field `{name}`"), hint));
            }
        }
        Ok(())
    }

    fn add_field(&mut self, name: &str, value: String, excludes: bool) {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, sides)) => sides.add(value, excludes),
            None => {
                let mut sides = super::Sides::default();
                sides.add(value, excludes);
                self.fields.push((name.to_owned(), sides));
            }
        }
    }
}

trait MapJoin {
    fn map_join(&self) -> String;
}

impl MapJoin for &[&str] {
    fn map_join(&self) -> String {
        self.iter().map(|word| format!("{word}:")).collect::<Vec<_>>().join(" ")
    }
}

fn wrong(word: &str, reason: String, hint: String) -> FilterError {
    FilterError { word: word.to_owned(), reason, hint }
}

fn network(word: &Word) -> Result<Network, FilterError> {
    let bad = |reason: &str| {
        wrong(&word.text, reason.to_owned(), "write for example ip:10.0.0.7, ip:10.0.0.0/8 or ip:fd00::/8".to_owned())
    };
    let (address, prefix) = match word.value.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (word.value.as_str(), None),
    };
    let address: IpAddr = address.parse().map_err(|_| bad("is no address"))?;
    let (bits, most) = match address {
        IpAddr::V4(address) => (u128::from(address.to_ipv6_mapped()), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let prefix: u32 = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|p| *p <= most).ok_or_else(|| bad("the prefix is out of range"))?,
        None => most,
    };
    let hosts = most - prefix;
    let mask = 1u128.checked_shl(hosts).map_or(u128::MAX, |size| size - 1);
    Ok(Network { first: Ipv6Addr::from(bits & !mask), last: Ipv6Addr::from(bits | mask) })
}

fn port(word: &Word) -> Result<u16, FilterError> {
    word.value.parse().map_err(|_| {
        wrong(&word.text, "is no port".to_owned(), "a port is a number from 0 to 65535, such as port:53".to_owned())
    })
}

/// Splits at blanks outside double quotes; within them a backslash stands before a double quote or backslash that is meant.
fn words(q: &str) -> Result<Vec<Word>, FilterError> {
    let mut found = Vec::new();
    let mut rest = q.trim_start();
    while !rest.is_empty() {
        let begin = rest;
        let mut excludes = false;
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.starts_with(char::is_whitespace)) {
            (excludes, rest) = (!after.is_empty(), if after.is_empty() { rest } else { after });
        }
        let mut name = None;
        if !rest.starts_with('"') {
            let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
            let head = rest.get(..end).unwrap_or_default();
            if let Some((before, _)) = head.split_once(':').filter(|(before, _)| !before.is_empty()) {
                name = Some(before.to_owned());
                rest = rest.get(before.len() + 1..).unwrap_or_default();
            }
        }
        let value;
        (value, rest) = value_of(begin, rest)?;
        let length = begin.len() - rest.len();
        let text = begin.get(..length).unwrap_or_default().to_owned();
        if name.is_some() || !value.is_empty() {
            found.push(Word { text, name, value, excludes });
        }
        rest = rest.trim_start();
    }
    Ok(found)
}

fn value_of<'a>(word: &str, rest: &'a str) -> Result<(String, &'a str), FilterError> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (value, rest) = rest.split_at(end);
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = quoted.get(at + 1..).unwrap_or_default();
                if rest.is_empty() || rest.starts_with(char::is_whitespace) {
                    return Ok((value, rest));
                }
                let hint = "put a blank after it, or a backslash before a double quote that is meant".to_owned();
                return Err(wrong(word, "something stands right after the closing double quote".to_owned(), hint));
            }
            '\\' => match chars.clone().next() {
                Some((_, next @ ('"' | '\\'))) => {
                    value.push(next);
                    chars.next();
                }
                _ => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    Err(wrong(word, "the double quote is not closed".to_owned(), "close it, or leave it out".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(q: &str) -> Result<Filter, FilterError> {
        Filter::parse(q, &|name| name == "dns.question.type" || name == "url.full")
    }

    #[test]
    fn words_are_told_apart() {
        let filter = parse(
            r#"type:dns type:http -status:"Client Error" port:53 "GET /index" no.such -"x\"y" dns.question.type:AAAA"#,
        )
        .unwrap();
        assert_eq!(filter.types.any, ["dns", "http"]);
        assert_eq!(filter.statuses.none, ["Client Error"]);
        assert_eq!(filter.ports.any, [53]);
        assert_eq!(filter.texts, ["GET /index", "no.such"]);
        assert_eq!(filter.not_texts, ["x\"y"]);
        assert_eq!(filter.fields[0].0, "dns.question.type");
        assert_eq!(filter.fields[0].1.any, ["AAAA"]);
        assert!(parse("  ").unwrap().is_empty());
    }

    #[test]
    fn values_may_hold_colons_minus_signs_and_slashes() {
        let filter = parse("flow:1:a-b/c= call:-x@host url.full:http://a/?b -").unwrap();
        assert_eq!(filter.flows.any, ["1:a-b/c="]);
        assert_eq!(filter.calls.any, ["-x@host"]);
        assert_eq!(filter.fields[0].1.any, ["http://a/?b"]);
        assert_eq!(filter.texts, ["-"]);
    }

    #[test]
    fn networks_are_ranges_of_addresses() {
        let range = |q: &str| {
            let network = parse(q).unwrap().ips.any[0];
            (network.first.to_string(), network.last.to_string())
        };
        assert_eq!(range("ip:10.1.2.3/8"), ("::ffff:10.0.0.0".to_owned(), "::ffff:10.255.255.255".to_owned()));
        assert_eq!(range("ip:10.0.0.7"), ("::ffff:10.0.0.7".to_owned(), "::ffff:10.0.0.7".to_owned()));
        assert_eq!(range("ip:0.0.0.0/0").1, "::ffff:255.255.255.255");
        assert_eq!(range("ip:fd00::/8").0, "fd00::");
        assert_eq!(range("ip:::/0"), ("::".to_owned(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".to_owned()));
    }

    #[test]
    fn a_mistake_names_the_word_and_what_to_do() {
        for (q, word, reason) in [
            ("type:dns ip:10.0.0", "ip:10.0.0", "is no address"),
            ("ip:10.0.0.0/33", "ip:10.0.0.0/33", "prefix"),
            ("port:http", "port:http", "is no port"),
            ("colour:blue", "colour:blue", "no field `colour`"),
            ("x \"open", "\"open", "not closed"),
            ("\"a\"b", "\"a\"b", "right after"),
            ("type:", "type:", "nothing stands"),
        ] {
            let error = parse(q).unwrap_err();
            assert_eq!(error.word, word);
            assert!(error.reason.contains(reason), "{error}");
            assert!(!error.hint.is_empty());
        }
        assert!(parse(&"a ".repeat(65)).is_err());
        assert!(parse(&"a".repeat(2000)).is_err());
    }

    #[test]
    fn parameters_are_short_for_words() {
        let mut filter = Filter::default();
        filter.add("type", "dns").unwrap();
        filter.add("status", "-OK").unwrap();
        filter.add("source", "").unwrap();
        assert_eq!(filter, parse("type:dns -status:OK").unwrap());
        assert!(filter.add("port", "x").is_err());
    }
}
