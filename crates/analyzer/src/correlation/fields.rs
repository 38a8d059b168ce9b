//! The fields of call events.

event::fields! {
    /// Fields of `call` events; `sip.call_id` belongs to them too.
    pub static TABLE;
    ID: Keyword = "call.id", "Call-ID of the dialog.";
    STATE: Keyword = "call.state", "answered, rejected, cancelled, unanswered or open.";
    CALLER: Keyword = "call.caller", "Who calls: user and host of From.";
    CALLEE: Keyword = "call.callee", "Who is called: user and host of To.";
    START: Time = "call.start", "When the first INVITE was sent.";
    RING: Time = "call.ring", "When it rang, or its progress was told.";
    ANSWER: Time = "call.answer", "When it was answered.";
    END: Time = "call.end", "When it ended.";
    ENDED_BY: Keyword = "call.ended_by", "caller, callee or network.";
    CODE: Long = "call.code", "The final status code of the INVITE.";
    REASON: Keyword = "call.reason", "Its reason phrase.";
    POST_DIAL_DELAY_MS: Double = "call.post_dial_delay_ms", "From the INVITE to the first sign of the called side (18x or the final answer).";
    SETUP_TIME_MS: Double = "call.setup_time_ms", "From the INVITE to the answer.";
    TALK_TIME_MS: Double = "call.talk_time_ms", "From the answer to the end.";
    LEGS: Long = "call.legs", "Between how many pairs of addresses the dialog was seen: its hops.";
    CODECS: Keyword = "call.codecs", "Codecs of its media.";
    MOS: Double = "call.mos", "The lowest estimated mean opinion score among its streams.";
    LOSS_PERCENT: Double = "call.loss_percent", "The highest loss among its streams.";
    JITTER_MS: Double = "call.jitter_ms", "The highest mean jitter among its streams.";
    MEDIA: Objects = "call.media", "Its streams, as far as they were seen.";
    MEDIA_SSRC: Keyword = "call.media.ssrc", "Synchronisation source.";
    MEDIA_SOURCE_IP: Ip = "call.media.source.ip", "Where it comes from.";
    MEDIA_SOURCE_PORT: Long = "call.media.source.port", "From which port.";
    MEDIA_DESTINATION_IP: Ip = "call.media.destination.ip", "Where it goes.";
    MEDIA_DESTINATION_PORT: Long = "call.media.destination.port", "To which port.";
    MEDIA_CODEC: Keyword = "call.media.codec", "Its codec.";
    MEDIA_PACKETS: Long = "call.media.packets", "Packets received.";
    MEDIA_LOST: Long = "call.media.lost", "Packets lost.";
    MEDIA_LOSS_PERCENT: Double = "call.media.loss_percent", "The same in percent.";
    MEDIA_JITTER_MS: Double = "call.media.jitter_ms", "Mean jitter.";
    MEDIA_MOS: Double = "call.media.mos", "Estimated mean opinion score.";
}
