//! The fields of DNS events: Packetbeat's.

event::fields! {
    /// Fields of DNS events.
    pub static TABLE;
    ID: Long = "dns.id", "Identifier of question and answer.";
    OP_CODE: Keyword = "dns.op_code", "Operation of the question.";
    FLAG_AUTHORITATIVE: Boolean = "dns.flags.authoritative", "AA of the answer.";
    FLAG_RECURSION_AVAILABLE: Boolean = "dns.flags.recursion_available", "RA of the answer.";
    FLAG_RECURSION_DESIRED: Boolean = "dns.flags.recursion_desired", "RD.";
    FLAG_AUTHENTIC_DATA: Boolean = "dns.flags.authentic_data", "AD.";
    FLAG_CHECKING_DISABLED: Boolean = "dns.flags.checking_disabled", "CD.";
    FLAG_TRUNCATED: Boolean = "dns.flags.truncated_response", "TC of the answer.";
    HEADER_FLAGS: Keyword = "dns.header_flags", "The flags that are set, as ECS lists them.";
    RESPONSE_CODE: Keyword = "dns.response_code", "The code of the answer.";
    KIND: Keyword = "dns.type", "answer, or query where none was seen.";
    QUESTION_NAME: Keyword = "dns.question.name", "The name asked for.";
    QUESTION_TYPE: Keyword = "dns.question.type", "The type asked for.";
    QUESTION_CLASS: Keyword = "dns.question.class", "The class asked for.";
    QUESTION_ETLD_PLUS_ONE: Keyword = "dns.question.etld_plus_one", "The registered domain of the name.";
    QUESTION_REGISTERED_DOMAIN: Keyword = "dns.question.registered_domain", "The registered domain of the name.";
    QUESTION_TOP_LEVEL_DOMAIN: Keyword = "dns.question.top_level_domain", "The public suffix of the name.";
    QUESTION_SUBDOMAIN: Keyword = "dns.question.subdomain", "What stands before the registered domain.";
    ANSWERS_COUNT: Long = "dns.answers_count", "Records in the answer section.";
    AUTHORITIES_COUNT: Long = "dns.authorities_count", "Records in the authority section.";
    ADDITIONALS_COUNT: Long = "dns.additionals_count", "Records in the additional section, without OPT.";
    RESOLVED_IP: Ip = "dns.resolved_ip", "Addresses among the answers.";
    ANSWERS: Objects = "dns.answers", "The answers.";
    ANSWER_NAME: Keyword = "dns.answers.name", "Name of the record.";
    ANSWER_TYPE: Keyword = "dns.answers.type", "Its type.";
    ANSWER_CLASS: Keyword = "dns.answers.class", "Its class.";
    ANSWER_TTL: Keyword = "dns.answers.ttl", "How long it may be kept, in seconds.";
    ANSWER_DATA: Keyword = "dns.answers.data", "Its data in text.";
    AUTHORITIES: Objects = "dns.authorities", "Records of the authority section, with include_authorities.";
    AUTHORITY_NAME: Keyword = "dns.authorities.name", "Name of the record.";
    AUTHORITY_TYPE: Keyword = "dns.authorities.type", "Its type.";
    AUTHORITY_CLASS: Keyword = "dns.authorities.class", "Its class.";
    ADDITIONALS: Objects = "dns.additionals", "Records of the additional section, with include_additionals.";
    ADDITIONAL_NAME: Keyword = "dns.additionals.name", "Name of the record.";
    ADDITIONAL_TYPE: Keyword = "dns.additionals.type", "Its type.";
    ADDITIONAL_CLASS: Keyword = "dns.additionals.class", "Its class.";
    ADDITIONAL_TTL: Keyword = "dns.additionals.ttl", "How long it may be kept, in seconds.";
    ADDITIONAL_DATA: Keyword = "dns.additionals.data", "Its data in text.";
    OPT_VERSION: Keyword = "dns.opt.version", "Version of EDNS.";
    OPT_DO: Boolean = "dns.opt.do", "Whether DNSSEC records are asked for.";
    OPT_EXT_RCODE: Keyword = "dns.opt.ext_rcode", "The code with EDNS's upper bits.";
    OPT_UDP_SIZE: Long = "dns.opt.udp_size", "Largest datagram the sender takes.";
}
