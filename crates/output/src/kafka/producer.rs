//! The producer: idempotent, so that what it sends again by itself is there once, and asked about each message what became of it.
//!
//! A message that is on its way stays there: when its confirmation is late, the same event is not produced a second time, but waited for again.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, util::Timeout};

use super::settings::{Mechanism, Settings, TYPE};
use crate::remote::{Document, Fate, Service, Unavailable};

/// Reports are asked for so often.
const TURN: Duration = Duration::from_millis(5);
/// When the memory for messages is full, so long is waited for room.
const ROOM_TURN: Duration = Duration::from_millis(20);

/// What became of messages, by number, and what last went wrong with the brokers.
#[derive(Default)]
struct Told {
    reports: Vec<(usize, Result<(), RDKafkaErrorCode>)>,
    problem: Option<String>,
}

/// Takes what librdkafka tells.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Told>>);

impl Listener {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, _: &str, message: &str) {
        // What goes wrong is said once, by the sender; here are the details.
        tracing::debug!(output = "kafka", ?level, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(output = "kafka", "{error}: {reason}");
        let mut told = self.told();
        // That all brokers are down says less than why the last one is.
        if code(&error) != RDKafkaErrorCode::AllBrokersDown || told.problem.is_none() {
            told.problem = Some(plain(reason));
        }
    }

    fn stats_raw(&self, _: &[u8]) {}
}

/// What librdkafka says, without its advice on settings that are called otherwise here.
fn plain(reason: &str) -> String {
    match reason.split_once("broker certificate could not be verified") {
        Some((before, _)) => format!("{before}its certificate comes from none of the authorities in tls.ca"),
        None => reason.to_owned(),
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let report = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(code(error)),
        };
        self.told().reports.push((number, report));
    }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

/// The service.
pub struct Kafka {
    config: ClientConfig,
    topic: Vec<String>,
    timeout: Duration,
    /// Made behind the sandbox's doors, for it starts threads.
    session: Option<Session>,
}

/// A producer and what is on its way.
struct Session {
    producer: BaseProducer<Listener>,
    listener: Listener,
    /// Numbers of events that were produced and whose fate was not given yet.
    numbers: HashMap<u128, usize>,
    reports: HashMap<usize, Result<(), RDKafkaErrorCode>>,
    next: usize,
}

impl Kafka {
    /// Judges the settings and reads the keys that they name; connects to nothing yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let brokers = settings.brokers().map_err(|error| error.message)?;
        let brokers: Vec<String> = brokers
            .into_iter()
            .map(|(host, port)| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
            .collect();
        let mut config = ClientConfig::new();
        config
            .set("client.id", "tapline")
            // The partition of a key is that of Java's clients.
            .set("partitioner", "murmur2_random")
            .set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &settings.properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", brokers.join(","))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", settings.compression.name())
            // librdkafka tries again for ever; how long is waited for it is ours to decide.
            .set("message.timeout.ms", "0");
        secure(&mut config, settings)?;
        // That properties contradict each other is found when a producer is made. Without brokers it connects to nothing, and its threads end here.
        let alone: Result<BaseProducer<Listener>, _> =
            config.clone().remove("bootstrap.servers").create_with_context(Listener::default());
        alone.map_err(|error| properties(&error))?;
        let topic = settings.topic.split(TYPE).map(str::to_owned).collect();
        Ok(Self { config, topic, timeout: settings.timeout, session: None })
    }

    fn session(&mut self) -> Result<&mut Session, Unavailable> {
        if let Some((code, reason)) = self.session.as_ref().and_then(|session| session.producer.client().fatal_error())
        {
            tracing::warn!(
                output = "kafka",
                "{code}: {reason}; a new session begins, and what was on its way may come twice"
            );
            self.session = None;
        }
        match &mut self.session {
            Some(session) => Ok(session),
            empty => {
                let listener = Listener::default();
                let producer = self.config.create_with_context(listener.clone());
                let producer = producer.map_err(|error| Unavailable(error.to_string()))?;
                let (numbers, reports) = Default::default();
                Ok(empty.insert(Session { producer, listener, numbers, reports, next: 1 }))
            }
        }
    }

    fn deliver(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
        let until = Instant::now() + self.timeout;
        let topic = self.topic.clone();
        let session = self.session()?;
        for document in documents {
            session.produce(&topic.join(document.kind), document, until);
        }
        session.wait(documents, until);
        Ok(session.fates(documents))
    }

    /// A broker refuses a batch of messages as a whole: which of them is too large is found with smaller ones.
    fn narrow(&mut self, documents: &[Document<'_>], fates: &mut [Fate]) -> Result<(), Unavailable> {
        let refused: Vec<usize> =
            (0..documents.len()).filter(|at| matches!(fates.get(*at), Some(Fate::Refused { .. }))).collect();
        if documents.len() < 2 || refused.is_empty() {
            return Ok(());
        }
        for half in refused.chunks(refused.len().div_ceil(2)) {
            let part: Vec<Document<'_>> = half.iter().filter_map(|at| documents.get(*at)).copied().collect();
            let mut found = self.deliver(&part)?;
            self.narrow(&part, &mut found)?;
            for (at, fate) in half.iter().zip(found) {
                if let Some(place) = fates.get_mut(*at) {
                    *place = fate;
                }
            }
        }
        Ok(())
    }
}

/// What is wrong with the properties.
fn properties(error: &KafkaError) -> String {
    let (what, said) = match error {
        KafkaError::ClientConfig(_, said, name, value) if !name.is_empty() => {
            (format!("`{name}` = \"{value}\": "), said.clone())
        }
        KafkaError::ClientCreation(said) | KafkaError::ClientConfig(_, said, _, _) => (String::new(), said.clone()),
        other => (String::new(), other.to_string()),
    };
    let said = said.trim().trim_end_matches('.');
    format!("properties: {what}{said}; what is possible stands in librdkafka's CONFIGURATION.md")
}

/// Encryption, and who we are. Files are handed on as what they say, for librdkafka reads them when it makes a producer, which is behind the sandbox's
/// doors; so would OpenSSL its own configuration.
fn secure(config: &mut ClientConfig, settings: &Settings) -> Result<(), String> {
    let secret = settings.secret().map_err(|error| error.message)?;
    let text = |pem| String::from_utf8(pem).map_err(|_| "a file of certificates or keys is not PEM".to_owned());
    if settings.tls.enabled {
        openssl_sys::init();
        config.set("ssl.ca.pem", text(settings.tls.authorities()?)?);
        if let Some(identity) = settings.tls.identity()? {
            config.set("ssl.certificate.pem", text(identity.certificates)?).set("ssl.key.pem", text(identity.key)?);
        }
    }
    if !settings.user.is_empty() {
        openssl_sys::init();
        if settings.sasl.mechanism == Mechanism::Plain && !settings.tls.enabled {
            tracing::warn!(
                output = "kafka",
                "the password goes over the network as it is: set tls.enabled, or let sasl.mechanism be SCRAM-SHA-512"
            );
        }
        config
            .set("sasl.mechanism", settings.sasl.mechanism.name())
            .set("sasl.username", &settings.user)
            .set("sasl.password", secret);
    }
    let protocol = match (settings.tls.enabled, settings.user.is_empty()) {
        (false, true) => "plaintext",
        (true, true) => "ssl",
        (false, false) => "sasl_plaintext",
        (true, false) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    Ok(())
}

impl Service for Kafka {
    fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
        let mut fates = self.deliver(documents)?;
        if let Err(problem) = self.narrow(documents, &mut fates) {
            for fate in &mut fates {
                if matches!(fate, Fate::Refused { .. }) {
                    *fate = Fate::Later(problem.0.clone());
                }
            }
        }
        Ok(fates)
    }

    fn place(&self, document: &Document<'_>) -> String {
        self.topic.join(document.kind)
    }
}

impl Session {
    /// Hands an event to librdkafka, unless it is there already.
    fn produce(&mut self, topic: &str, document: &Document<'_>, until: Instant) {
        let identity = identity(document);
        if self.numbers.contains_key(&identity) {
            return;
        }
        let key = if document.key.is_empty() { document.id() } else { document.key };
        let number = self.next;
        let mut record = BaseRecord::with_opaque_to(topic, number).key(key).payload(document.json);
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((error, back)) => {
                    let code = code(&error);
                    if code != RDKafkaErrorCode::QueueFull || Instant::now() >= until {
                        self.reports.insert(number, Err(code));
                        break;
                    }
                    record = back;
                    self.producer.poll(Timeout::After(ROOM_TURN));
                }
            }
        }
        self.next += 1;
        self.numbers.insert(identity, number);
    }

    /// Waits until something is known of each.
    fn wait(&mut self, documents: &[Document<'_>], until: Instant) {
        let numbers: Vec<usize> =
            documents.iter().filter_map(|document| self.numbers.get(&identity(document))).copied().collect();
        let mut waiting = numbers.as_slice();
        loop {
            self.reports.extend(mem::take(&mut self.listener.told().reports));
            while let Some((first, rest)) = waiting.split_first().filter(|(first, _)| self.reports.contains_key(first))
            {
                let _ = first;
                waiting = rest;
            }
            if waiting.is_empty() || Instant::now() >= until || self.producer.client().fatal_error().is_some() {
                return;
            }
            self.producer.poll(Timeout::After(TURN));
        }
    }

    fn fates(&mut self, documents: &[Document<'_>]) -> Vec<Fate> {
        let problem = self.listener.told().problem.take();
        let report = |document: &Document<'_>| {
            self.numbers.get(&identity(document)).and_then(|number| self.reports.get(number)).copied()
        };
        let late =
            || Fate::Later(problem.clone().unwrap_or_else(|| "the brokers have not confirmed in time".to_owned()));
        let fates = documents.iter().map(|document| report(document).map_or_else(late, fate)).collect();
        for document in documents {
            let identity = identity(document);
            if let Some(number) = self.numbers.get(&identity).copied() {
                if self.reports.remove(&number).is_some() {
                    self.numbers.remove(&identity);
                }
            }
        }
        fates
    }
}

/// Its id, as a number.
fn identity(document: &Document<'_>) -> u128 {
    u128::from_str_radix(document.id(), 16).unwrap_or_else(|_| xxhash_rust::xxh3::xxh3_128(document.json.as_bytes()))
}

fn fate(report: Result<(), RDKafkaErrorCode>) -> Fate {
    match report {
        Ok(()) => Fate::Kept,
        Err(code @ RDKafkaErrorCode::MessageSizeTooLarge) => {
            // Kafka's number for it.
            Fate::Refused { status: 10, reason: code.to_string() }
        }
        Err(
            code @ (RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation),
        ) => Fate::Blocked(code.to_string()),
        Err(code) => Fate::Later(code.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Service;
    use packet::Timestamp;

    #[test]
    fn only_what_is_too_large_is_refused() {
        assert_eq!(fate(Ok(())), Fate::Kept);
        let blocked = |code| matches!(fate(Err(code)), Fate::Blocked(_));
        assert!(blocked(RDKafkaErrorCode::TopicAuthorizationFailed) && blocked(RDKafkaErrorCode::UnknownTopic));
        assert!(matches!(fate(Err(RDKafkaErrorCode::MessageSizeTooLarge)), Fate::Refused { status: 10, .. }));
        for code in [
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::NotEnoughReplicas,
            RDKafkaErrorCode::QueueFull,
            RDKafkaErrorCode::PurgeInflight,
        ] {
            assert!(matches!(fate(Err(code)), Fate::Later(_)), "{code}");
        }
    }

    #[test]
    fn wrong_properties_are_told_of_at_the_start() {
        let open = |name: &str, value: &str| {
            let properties = [(name.to_owned(), value.to_owned())].into();
            Kafka::new(&Settings { properties, ..Settings::default() }).map(|_| ())
        };
        assert_eq!(open("linger.ms", "50"), Ok(()));
        assert!(open("linger.ms", "soon").is_err());
        assert!(open("no.such.property", "1").unwrap_err().contains("no.such.property"));
        // Only a producer knows that this does not go with idempotence.
        let contradiction = open("max.in.flight", "10").unwrap_err();
        assert!(contradiction.contains("idempotence") && !contradiction.contains('\n'), "{contradiction}");
        let mut settings = Settings::default();
        for compression in ["none", "gzip", "lz4", "zstd"] {
            settings.compression = serde_json::from_value(compression.into()).unwrap();
            Kafka::new(&settings).map(|_| ()).unwrap();
        }
    }

    #[test]
    fn what_is_on_its_way_is_not_produced_again() {
        // Nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let hosts = vec![format!("127.0.0.1:{free}")];
        let settings = Settings { hosts, timeout: Duration::from_millis(300), ..Settings::default() };
        let mut kafka = settings.service(&[]).unwrap();
        let json = |number: u8, length| format!("{{\"_id\":\"{number:032x}\",\"type\":\"{}\"}}", "x".repeat(length));
        let texts = [json(1, 3), json(2, 2_000_000), json(3, 3)];
        let documents: Vec<_> =
            texts.iter().map(|json| Document { time: Timestamp::from_nanos(7), kind: "dns", key: "", json }).collect();
        for _ in 0..2 {
            let fates = kafka.send(&documents).unwrap();
            assert!(matches!(fates[0], Fate::Later(_)), "{fates:?}");
            assert!(matches!(fates[1], Fate::Refused { .. }), "{fates:?}");
            assert!(matches!(fates[2], Fate::Later(_)), "{fates:?}");
            assert_eq!(kafka.session.as_ref().unwrap().producer.in_flight_count(), 2);
        }
    }
}
