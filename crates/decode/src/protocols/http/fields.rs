//! The fields of HTTP events: Packetbeat's.

event::fields! {
    /// Fields of HTTP events.
    pub static TABLE;
    VERSION: Keyword = "http.version", "1.0 or 1.1.";
    REQUEST_METHOD: Keyword = "http.request.method", "The method.";
    REQUEST_BYTES: Long = "http.request.bytes", "Bytes of the request that were seen, head and body.";
    REQUEST_BODY_BYTES: Long = "http.request.body.bytes", "Bytes of its body that were seen, without chunk framing.";
    REQUEST_BODY_CONTENT: Text = "http.request.body.content", "Its body, with include_body_for or include_request_body_for.";
    REQUEST_REFERRER: Keyword = "http.request.referrer", "Where the request came from.";
    REQUEST_HEADERS: Object = "http.request.headers", "Its headers, names in lower case.";
    RESPONSE_STATUS_CODE: Long = "http.response.status_code", "The status.";
    RESPONSE_STATUS_PHRASE: Keyword = "http.response.status_phrase", "The status in words, in lower case.";
    RESPONSE_BYTES: Long = "http.response.bytes", "Bytes of the response that were seen, head and body.";
    RESPONSE_BODY_BYTES: Long = "http.response.body.bytes", "Bytes of its body that were seen, without chunk framing.";
    RESPONSE_BODY_CONTENT: Text = "http.response.body.content", "Its body, with include_body_for or include_response_body_for.";
    RESPONSE_HEADERS: Object = "http.response.headers", "Its headers, names in lower case.";
    URL_FULL: Keyword = "url.full", "The address asked for.";
    URL_SCHEME: Keyword = "url.scheme", "Always http.";
    URL_DOMAIN: Keyword = "url.domain", "The host asked for.";
    URL_PORT: Long = "url.port", "The port asked for, unless it is 80.";
    URL_PATH: Keyword = "url.path", "The path.";
    URL_QUERY: Keyword = "url.query", "The parameters.";
    URL_EXTENSION: Keyword = "url.extension", "What follows the last dot of the path.";
    USER_AGENT: Keyword = "user_agent.original", "What the client calls itself.";
    FORWARDED_IP: Ip = "network.forwarded_ip", "The client's address as a proxy states it, with real_ip_header.";
}
