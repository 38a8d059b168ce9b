//! The fields of RTP events. Nothing of the payload is among them.

event::fields! {
    /// Fields of `rtp` events.
    pub static TABLE;
    SSRC: Keyword = "rtp.ssrc", "Synchronisation source, as 0x and eight hexadecimal digits.";
    PREVIOUS_SSRC: Keyword = "rtp.previous_ssrc", "The source that sent on the same addresses and ports before this one.";
    FINAL: Boolean = "rtp.final", "True: over the whole stream. False: over one interval of it.";
    PAYLOAD_TYPE: Long = "rtp.payload_type", "The payload type of most packets.";
    PAYLOAD_TYPES: Long = "rtp.payload_types", "All payload types, if there was more than one.";
    CODEC: Keyword = "rtp.codec", "Encoding name of that payload type, as signalled or by its static number.";
    CLOCK_RATE: Long = "rtp.clock_rate", "Ticks of the timestamp per second.";
    PACKETS: Long = "rtp.packets", "Packets received, duplicates included.";
    BYTES: Long = "rtp.bytes", "Payload bytes received, duplicates included.";
    EXPECTED: Long = "rtp.expected", "Highest minus lowest sequence number plus one.";
    LOST: Long = "rtp.lost", "Expected packets that never came.";
    LOST_BY_CAPTURE: Long = "rtp.lost_by_capture", "Those of them that went missing while our own capture lost packets; left out of percent, r_factor and mos.";
    DUPLICATES: Long = "rtp.duplicates", "Packets received again.";
    OUT_OF_ORDER: Long = "rtp.out_of_order", "Packets received after one with a higher number.";
    SECOND_SIGHTS: Long = "rtp.second_sights", "Packets seen again on another interface of a capture on several; counted nowhere else.";
    RESTARTS: Long = "rtp.restarts", "How often the sender began anew with other sequence numbers.";
    STRAY: Long = "rtp.stray", "Packets with numbers far from all others.";
    JITTER_MEAN: Double = "rtp.jitter.mean_ms", "Mean interarrival jitter (RFC 3550 A.8) in milliseconds.";
    JITTER_MAX: Double = "rtp.jitter.max_ms", "Greatest interarrival jitter.";
    JITTER_MIN: Double = "rtp.jitter.min_ms", "Least interarrival jitter.";
    DELTA_MEAN: Double = "rtp.delta.mean_ms", "Mean time between packets in milliseconds.";
    DELTA_MAX: Double = "rtp.delta.max_ms", "Longest time between packets.";
    LOSS_PERCENT: Double = "rtp.loss.percent", "Lost packets in percent of those expected.";
    LOSS_BURST: Long = "rtp.loss.burst", "Packets lost in bursts: fewer than 16 received between one loss and the next (RFC 3611).";
    LOSS_GAP: Long = "rtp.loss.gap", "Packets lost alone.";
    LOSS_RUN_MAX: Long = "rtp.loss.run_max", "The most packets lost in a row.";
    R_FACTOR: Double = "rtp.r_factor", "Rating by the E-model (ITU-T G.107), 0 to 93.2.";
    MOS: Double = "rtp.mos", "Estimated mean opinion score of a conversation, 1 to 4.5.";
    SILENCE: Double = "rtp.silence", "Percent of the time in which the sender sent no sound: silence suppression and comfort noise.";
    DTMF: Keyword = "rtp.dtmf", "Keys pressed (RFC 4733), each shown as x unless send_dtmf is set.";
    CALL_ID: Keyword = "rtp.call_id", "The call whose signalling announced the stream: its sip.call_id, or the connection of another protocol.";
    SIGNALLED_BY: Keyword = "rtp.signalled_by", "The protocol that announced the stream; absent if it was recognised by its content.";
}

/// The fields of RTCP events.
pub mod rtcp {
    event::fields! {
        /// Fields of `rtcp` events.
        pub static TABLE;
        SSRC: Keyword = "rtcp.ssrc", "Who sent the compound, as 0x and eight hexadecimal digits.";
        PACKETS: Keyword = "rtcp.packets", "What the compound holds: sr, rr, sdes, bye, app, xr, rtpfb, psfb or a number.";
        CNAME: Keyword = "rtcp.cname", "Canonical name of the sender.";
        SENDER_PACKETS: Long = "rtcp.sender.packets", "Packets it sent, by its sender report.";
        SENDER_BYTES: Long = "rtcp.sender.bytes", "Payload bytes it sent.";
        SENDER_RTP_TIMESTAMP: Long = "rtcp.sender.rtp_timestamp", "RTP time of the sender report.";
        SENDER_TIME: Time = "rtcp.sender.time", "NTP time of the sender report.";
        REPORTS: Objects = "rtcp.reports", "What it says of the streams it receives: the far end's view.";
        REPORT_SSRC: Keyword = "rtcp.reports.ssrc", "The stream.";
        REPORT_LOSS_PERCENT: Double = "rtcp.reports.loss_percent", "Lost since the report before.";
        REPORT_LOST: Long = "rtcp.reports.lost", "Lost since the beginning; negative with duplicates.";
        REPORT_HIGHEST: Long = "rtcp.reports.highest", "Extended highest sequence number received.";
        REPORT_JITTER: Long = "rtcp.reports.jitter", "Interarrival jitter in ticks of the codec's clock.";
        REPORT_JITTER_MS: Double = "rtcp.reports.jitter_ms", "The same in milliseconds, where the clock is known.";
        REPORT_ROUND_TRIP_MS: Double = "rtcp.reports.round_trip_ms", "From the place of capture to the sender of this compound and back.";
        ROUND_TRIP_MS: Double = "rtcp.round_trip_ms", "From end to end and back: the round trips to both sides added.";
        VOIP: Objects = "rtcp.voip", "VoIP metrics (RFC 3611).";
        VOIP_SSRC: Keyword = "rtcp.voip.ssrc", "The stream.";
        VOIP_LOSS: Double = "rtcp.voip.loss_percent", "Lost by the network.";
        VOIP_DISCARD: Double = "rtcp.voip.discard_percent", "Discarded by the jitter buffer.";
        VOIP_BURST_DENSITY: Double = "rtcp.voip.burst_density_percent", "Lost or discarded within bursts.";
        VOIP_GAP_DENSITY: Double = "rtcp.voip.gap_density_percent", "Lost or discarded within gaps.";
        VOIP_BURST_MS: Long = "rtcp.voip.burst_duration_ms", "Mean length of bursts.";
        VOIP_GAP_MS: Long = "rtcp.voip.gap_duration_ms", "Mean length of gaps.";
        VOIP_ROUND_TRIP_MS: Long = "rtcp.voip.round_trip_ms", "Round trip between the ends.";
        VOIP_END_SYSTEM_MS: Long = "rtcp.voip.end_system_ms", "Delay within the end system.";
        VOIP_BUFFER_MS: Long = "rtcp.voip.jitter_buffer_ms", "Nominal delay of the jitter buffer.";
        VOIP_R_FACTOR: Long = "rtcp.voip.r_factor", "R-factor.";
        VOIP_MOS_LQ: Double = "rtcp.voip.mos_lq", "Mean opinion score of listening.";
        VOIP_MOS_CQ: Double = "rtcp.voip.mos_cq", "Mean opinion score of a conversation.";
        BYE: Keyword = "rtcp.bye.ssrc", "Who says goodbye.";
        BYE_REASON: Keyword = "rtcp.bye.reason", "Why.";
        APP_NAME: Keyword = "rtcp.app.name", "Name of an application-defined packet.";
        ENCRYPTED: Boolean = "rtcp.encrypted", "Whether the reports are encrypted (SRTCP) and only the head could be read.";
        CALL_ID: Keyword = "rtcp.call_id", "The call whose signalling announced it.";
    }
}
