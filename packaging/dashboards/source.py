"""What the dashboards show, said once; generate.py writes it in the form of each product. The queries are Lucene's, which all three take.

Fields are those of docs/events.md. A flow's reports count from its beginning, so only the final one is summed. An RTP stream is reported per
interval, the last one included, and once more as a whole (rtp.final): figures over time are the intervals', figures per stream the whole's."""
from collections import namedtuple

# How often something happened, or what a field's values come to: count, sum, avg, min, max, cardinality, percentiles (only over time).
Metric = namedtuple("Metric", "operation field label percents")
# kind: over_time (lines), top (bars, the largest first), share (a ring), table, number. `by`: the fields that divide, outermost first.
Panel = namedtuple("Panel", "title kind query metrics by size width height stacked")
Dashboard = namedtuple("Dashboard", "name title text panels")
# One PromQL expression of a panel, and how its series are named.
Series = namedtuple("Series", "expression legend")
Chart = namedtuple("Chart", "title kind series unit width height text")
Row = namedtuple("Row", "title charts")


def count(label="Events"):
    return Metric("count", None, label, ())


def metric(operation, field, label):
    return Metric(operation, field, label, ())


def percentiles(field, label, percents=(50, 95, 99)):
    return Metric("percentiles", field, label, percents)


def panel(title, kind, query, *metrics, by=(), size=10, width=None, height=None, stacked=False):
    """Widths are 48ths of the page, heights about 20 pixels."""
    by = (by,) if isinstance(by, str) else by
    width = width or {"over_time": 24, "top": 24, "share": 12, "table": 24, "number": 12}[kind]
    height = height or {"number": 7}.get(kind, 14)
    return Panel(title, kind, query, metrics or (count(),), by, size, width, height, stacked)


FLOWS = "type:flow AND flow.final:true"
ERRORS = 'status:("Error" OR "Client Error" OR "Server Error")'
STREAMS = "type:rtp AND rtp.final:true"
INTERVALS = "type:rtp AND rtp.final:false"

EVENTS = [
    Dashboard("overview", "Tapline: overview", "What was decoded, where it was captured, and what we ourselves missed of it.", [
        panel("Events", "number", "*"),
        panel("Capture points that sent packets", "number", "*", metric("cardinality", "tapline.source", "Sources")),
        panel("Events with an error", "number", ERRORS, count("Errors")),
        # Counted, not summed: every event that went on at that moment says how many packets were lost.
        panel("Events during which our own capture lost packets", "number", "tapline.capture_loss:>0"),
        panel("Events by type", "over_time", "*", by="type", width=48, stacked=True),
        panel("Share of each type", "share", "*", by="type"),
        panel("How it went", "share", "*", by="status"),
        panel("Events by capture point", "over_time", "*", by="tapline.source", stacked=True),
        panel("Clients with the most events, flows left out", "top", "NOT type:flow", by="client.ip"),
        panel("Servers with the most events, flows left out", "top", "NOT type:flow", by="server.ip"),
        panel("Errors by type", "over_time", ERRORS, count("Errors"), by="type", stacked=True),
        panel("What the errors were about", "table", ERRORS, count("Errors"), by=("type", "resource")),
        panel("Anomalies: what was wrong with packets", "top", "tapline.anomalies.name:*", by="tapline.anomalies.name", width=48),
    ]),
    Dashboard("flows", "Tapline: flows", "Conversations and their bytes. A flow counts as a whole once it has ended, at the time of its last packet.", [
        panel("Flows that ended", "number", FLOWS, count("Flows")),
        panel("Bytes in both directions", "number", FLOWS, metric("sum", "network.bytes", "Bytes")),
        panel("Packets in both directions", "number", FLOWS, metric("sum", "network.packets", "Packets")),
        panel("Addresses seen", "number", FLOWS, metric("cardinality", "source.ip", "Sources"), metric("cardinality", "destination.ip", "Destinations")),
        panel("Bytes by transport", "over_time", FLOWS, metric("sum", "network.bytes", "Bytes"), by="network.transport", stacked=True),
        panel("Flows by transport", "over_time", FLOWS, count("Flows"), by="network.transport", stacked=True),
        panel("Addresses that began flows, by bytes in both directions", "top", FLOWS, metric("sum", "network.bytes", "Bytes"), by="source.ip"),
        panel("Addresses they went to, by bytes in both directions", "top", FLOWS, metric("sum", "network.bytes", "Bytes"), by="destination.ip"),
        panel("Ports they went to, by bytes in both directions", "top", FLOWS, metric("sum", "network.bytes", "Bytes"), by="destination.port"),
        panel("IPv4 and IPv6", "share", FLOWS, count("Flows"), by="network.type"),
        panel("Share of each transport", "share", FLOWS, count("Flows"), by="network.transport"),
        panel("How long flows last", "over_time", FLOWS, percentiles("event.duration", "Duration", (50, 95))),
        panel("ICMP errors about flows", "over_time", f"{FLOWS} AND flow.icmp_errors.count:>0", metric("sum", "flow.icmp_errors.count", "ICMP errors")),
        panel("Who talks with whom", "table", FLOWS, metric("sum", "network.bytes", "Bytes"), metric("sum", "network.packets", "Packets"), count("Flows"),
              by=("source.ip", "destination.ip"), width=48, size=20),
    ]),
    Dashboard("dns", "Tapline: DNS", "Lookups: how many, how fast, what went wrong, and for which names.", [
        panel("Lookups", "number", "type:dns", count("Lookups")),
        panel("Lookups without an answer", "number", "type:dns AND dns.type:query", count("Lookups")),
        panel("Different names asked for", "number", "type:dns", metric("cardinality", "dns.question.name", "Names")),
        panel("Clients that ask", "number", "type:dns", metric("cardinality", "client.ip", "Clients")),
        panel("Lookups by response code", "over_time", "type:dns", count("Lookups"), by="dns.response_code", stacked=True),
        panel("Time to the answer", "over_time", "type:dns AND dns.type:answer", percentiles("event.duration", "Time to the answer")),
        panel("Response codes", "share", "type:dns", count("Lookups"), by="dns.response_code"),
        panel("Types of record asked for", "share", "type:dns", count("Lookups"), by="dns.question.type"),
        panel("Registered domains asked for", "top", "type:dns", count("Lookups"), by="dns.question.registered_domain"),
        panel("Names asked for", "top", "type:dns", count("Lookups"), by="dns.question.name"),
        panel("Names that failed", "table", "type:dns AND dns.response_code:* AND NOT dns.response_code:NOERROR", count("Lookups"),
              by=("dns.question.name", "dns.response_code"), size=20),
        panel("Servers and how long they take", "table", "type:dns", count("Lookups"), metric("avg", "event.duration", "Mean time"), metric("max", "event.duration", "Longest time"),
              by="server.ip"),
        panel("Clients that ask most", "top", "type:dns", count("Lookups"), by="client.ip"),
        panel("Bytes of questions and answers", "over_time", "type:dns", metric("sum", "client.bytes", "Questions"), metric("sum", "server.bytes", "Answers")),
        panel("Addresses given as answers", "top", "type:dns", count("Lookups"), by="dns.resolved_ip", width=48),
    ]),
    Dashboard("http", "Tapline: HTTP", "Requests and responses without encryption.", [
        panel("Requests", "number", "type:http", count("Requests")),
        panel("Requests that failed or were not answered", "number", f"type:http AND {ERRORS}", count("Requests")),
        panel("Bytes of responses", "number", "type:http", metric("sum", "http.response.bytes", "Bytes")),
        panel("Clients that ask", "number", "type:http", metric("cardinality", "client.ip", "Clients")),
        panel("Requests by status code", "over_time", "type:http", count("Requests"), by="http.response.status_code", stacked=True),
        panel("Time to the end of the response", "over_time", "type:http", percentiles("event.duration", "Time")),
        panel("Methods", "share", "type:http", count("Requests"), by="http.request.method"),
        panel("Status codes", "share", "type:http", count("Requests"), by="http.response.status_code"),
        panel("Hosts asked for", "top", "type:http", count("Requests"), by="url.domain"),
        panel("Bytes of requests and responses", "over_time", "type:http", metric("sum", "http.request.bytes", "Requests"), metric("sum", "http.response.bytes", "Responses")),
        panel("What clients call themselves", "top", "type:http", count("Requests"), by="user_agent.original"),
        panel("Paths and how long they take", "table", "type:http", count("Requests"), metric("avg", "event.duration", "Mean time"), by=("url.domain", "url.path"), size=20),
        panel("Paths answered with status 400 and above", "table", "type:http AND http.response.status_code:>=400", count("Requests"),
              by=("url.domain", "url.path", "http.response.status_code")),
        panel("Servers asked most", "top", "type:http", count("Requests"), by="server.ip"),
        panel("Clients that ask most", "top", "type:http", count("Requests"), by="client.ip"),
    ]),
    Dashboard("voice", "Tapline: voice", "Calls, and how they sounded: loss, jitter and the estimated mean opinion score, without what our own capture lost.", [
        panel("Calls", "number", "type:call", count("Calls")),
        panel("Calls that were answered", "number", "type:call AND call.state:answered", count("Calls")),
        panel("Calls with a MOS below 3.6", "number", "type:call AND call.mos:<3.6", count("Calls")),
        panel("Lowest MOS of a stream", "number", STREAMS, metric("min", "rtp.mos", "MOS")),
        panel("Calls by what became of them", "over_time", "type:call", count("Calls"), by="call.state", stacked=True),
        panel("What became of calls", "share", "type:call", count("Calls"), by="call.state"),
        panel("Final status codes of calls", "share", "type:call", count("Calls"), by="call.code"),
        panel("Time to the first sign of the called side", "over_time", "type:call", percentiles("call.post_dial_delay_ms", "Post-dial delay", (50, 95))),
        panel("From the answer to the end of calls", "over_time", "type:call", percentiles("call.talk_time_ms", "Talk time", (50, 95))),
        panel("MOS of streams: the median and the worst twentieth", "over_time", INTERVALS, percentiles("rtp.mos", "MOS", (5, 50))),
        panel("Loss of streams in the network", "over_time", INTERVALS, metric("avg", "rtp.loss.percent", "Mean loss in percent"),
              metric("max", "rtp.loss.percent", "Greatest loss in percent")),
        panel("Jitter of streams", "over_time", INTERVALS, percentiles("rtp.jitter.mean_ms", "Jitter", (50, 95))),
        panel("RTP packets that never came, and how many at most our own capture lost", "over_time", INTERVALS, metric("sum", "rtp.lost", "Never came"),
              metric("sum", "rtp.lost_by_capture", "At most by our own capture")),
        panel("Codecs of streams", "share", STREAMS, count("Streams"), by="rtp.codec"),
        panel("Protocols that announced streams", "share", STREAMS, count("Streams"), by="rtp.signalled_by"),
        panel("Loss as the far end reports it by RTCP", "over_time", "type:rtcp", metric("avg", "rtcp.reports.loss_percent", "Mean loss in percent"),
              metric("max", "rtcp.reports.loss_percent", "Greatest loss in percent")),
        panel("Round trip to the far end, from RTCP", "over_time", "type:rtcp", percentiles("rtcp.reports.round_trip_ms", "Round trip", (50, 95))),
        panel("Pairs of addresses with the lowest MOS", "table", STREAMS, metric("min", "rtp.mos", "Lowest MOS"), metric("max", "rtp.loss.percent", "Greatest loss in percent"),
              metric("max", "rtp.jitter.mean_ms", "Greatest jitter"), count("Streams"), by=("source.ip", "destination.ip"), size=20),
        panel("Calls with the lowest MOS", "table", "type:call AND call.mos:*", metric("min", "call.mos", "MOS"), metric("max", "call.loss_percent", "Loss in percent"),
              metric("max", "call.jitter_ms", "Jitter"), by=("call.id", "call.caller", "call.callee"), size=20),
        panel("SIP messages by method", "over_time", "type:sip", count("Messages"), by="sip.cseq.method", stacked=True),
        panel("SIP refusals, challenges left out", "table", "type:sip AND sip.code:>=400 AND NOT sip.code:(401 OR 407)", count("Messages"),
              by=("sip.cseq.method", "sip.code", "sip.status")),
        panel("Who calls most", "top", "type:call", count("Calls"), by="call.caller"),
        panel("What phones and servers call themselves", "top", "type:sip", count("Messages"), by="sip.user_agent.original"),
    ]),
]


def chart(title, unit, *series, kind="timeseries", width=24, text=""):
    """`$__rate_interval` is Grafana's: a few scrapes, whatever their interval."""
    return Chart(title, kind, [Series(*one) for one in series], unit, width, 7 if kind == "stat" else 14, text)


def rate(name, by=""):
    return f"sum{f' by ({by})' if by else ''} (rate({name}[$__rate_interval]))"


METRICS = [
    Row("At a glance", [
        chart("Probes connected", "short", ("sum(tapline_source_connected)", "connected"), ("count(tapline_source_connected)", "known"), kind="stat", width=8),
        chart("Packets archived", "pps", (rate("tapline_archive_packets_total"), "packets"), kind="stat", width=8),
        # Both: Prometheus does not see the rise of a series that is new, and the first drop makes one.
        chart("Packets dropped", "short", ("sum(tapline_dropped_packets_total) or vector(0)", "as far back as the balance goes"),
              ("sum(increase(tapline_dropped_packets_total[$__range])) or vector(0)", "in the time shown"), kind="stat", width=8),
        chart("Archives that cannot be written", "short", ("sum(tapline_archive_failing)", "archives"), kind="stat", width=8),
        chart("Epochs whose balance does not close", "short", ("sum(tapline_balance_not_closing)", "epochs"), kind="stat", width=8),
        chart("Outputs whose last attempt failed", "short", ("sum(tapline_output_failing)", "outputs"), kind="stat", width=8),
    ]),
    Row("Probes", [
        chart("Packets captured", "pps", (rate("tapline_probe_captured_packets_total", "source"), "{{source}}")),
        chart("Packets lost at the probe, by place", "pps", (rate("tapline_probe_kernel_dropped_packets_total", "source"), "{{source}}: kernel"),
              (rate("tapline_probe_interface_dropped_packets_total", "source"), "{{source}}: interface"),
              (rate("tapline_probe_dropped_packets_total", "source, place, reason"), "{{source}}: {{place}}, {{reason}}"),
              text="As the probe counts, also while no collector is there."),
        chart("Bytes in the probe's spool", "bytes", ("sum by (source) (tapline_probe_spool_bytes)", "{{source}}")),
        chart("Packets that wait for the collector", "short", ("sum by (source) (tapline_probe_held_packets)", "{{source}}")),
    ]),
    Row("Collector", [
        chart("Packets received", "pps", (rate("tapline_source_received_packets_total", "source"), "{{source}}")),
        chart("Bytes received", "Bps", (rate("tapline_source_received_bytes_total", "source"), "{{source}}")),
        chart("Packets dropped, by source, place and reason", "pps",
              (rate("tapline_dropped_packets_total", "source, place, reason"), "{{source}}: {{place}}, {{reason}}"), text="Everything the balance knows of."),
        chart("Bytes in the probes' spools, as they tell the collector", "bytes", ("max by (source) (tapline_source_spool_bytes)", "{{source}}")),
        chart("Newest packet is behind the clock by", "s", ("time() - max by (source) (tapline_source_newest_packet_seconds > 0)", "{{source}}"),
              text="Rises on a line that is quiet, and while a backlog drains."),
        chart("Time since a batch last came", "s", ("max by (source) (tapline_source_quiet_seconds)", "{{source}}")),
        chart("Probes connected", "short", ("max by (source) (tapline_source_connected)", "{{source}}")),
        chart("Connections turned away or closed", "short", (rate("tapline_collector_refused_connections_total"), "turned away"),
              (rate("tapline_collector_bad_peers_total", "reason"), "{{reason}}"), text="Per second."),
    ]),
    Row("Archive and feed", [
        chart("Bytes archived", "Bps", (rate("tapline_archive_bytes_total"), "captured bytes")),
        chart("Free on the archive's disk", "bytes", ("min by (instance) (tapline_archive_free_bytes)", "{{instance}}")),
        chart("Commits, failed writes, segments removed", "short", (rate("tapline_archive_commits_total"), "commits"), (rate("tapline_archive_errors_total"), "failed writes"),
              (rate("tapline_archive_removed_segments_total"), "segments removed"), text="Per second."),
        chart("Not stored by policy", "pps", (rate("tapline_archive_not_stored_packets_total"), "packets")),
        chart("Published on the feed", "short", (rate("tapline_feed_published_total"), "entries"), (rate("tapline_feed_events_total"), "events"), text="Per second."),
        chart("Batches that watchers of live packets missed", "short", (rate("tapline_live_missed_batches_total"), "batches"), text="Per second."),
    ]),
    Row("Analyzer", [
        chart("Packets archived and decoded", "pps", (rate("tapline_archive_packets_total"), "archived"), (rate("tapline_analyzer_packets_total"), "decoded"),
              text="Where the second stays below the first, the analyzer falls behind."),
        chart("Events by type", "short", (rate("tapline_analyzer_events_by_type_total", "type"), "{{type}}"), text="Per second."),
        chart("Batches fetched, missing, known", "short", (rate("tapline_analyzer_batches_fetched_total"), "fetched from the archive"),
              (rate("tapline_analyzer_batches_missing_total"), "missing everywhere"), (rate("tapline_analyzer_batches_known_total"), "came again"), text="Per second."),
        chart("What went wrong", "short", (rate("tapline_analyzer_messages_bad_total"), "messages without sense"),
              (rate("tapline_analyzer_decoder_panics_total"), "panics of decoders"),
              (rate("tapline_analyzer_packets_lost_total"), "packets lost before they came"), text="Per second."),
        chart("Batches decoded, by source", "short", ("sum by (source) (deriv(tapline_analyzer_next_seq[$__rate_interval]))", "{{source}}"), text="Per second."),
    ]),
    Row("Outputs", [
        chart("Events written", "short", (rate("tapline_output_events_written_total", "output"), "{{output}}"), text="Per second."),
        chart("Bytes written", "Bps", (rate("tapline_output_bytes_written_total", "output"), "{{output}}")),
        chart("Batches in the queue", "short", ("max by (output) (tapline_output_batches_queued)", "{{output}}")),
        chart("Backlog on disk", "bytes", ("max by (output) (tapline_output_spilled_bytes)", "{{output}}")),
        chart("Events that wait on disk", "short", ("max by (output) (tapline_output_spilled_events)", "{{output}}")),
        chart("Events held for an index that takes nothing", "short", ("max by (output) (tapline_output_held_events)", "{{output}}")),
        chart("Events lost, refused, sent again", "short", (rate("tapline_output_events_dropped_total", "output"), "{{output}}: lost"),
              (rate("tapline_output_events_refused_total", "output"), "{{output}}: refused"), (rate("tapline_output_events_damaged_total", "output"), "{{output}}: damaged on disk"),
              (rate("tapline_output_events_retried_total", "output"), "{{output}}: sent again"), (rate("tapline_output_failures_total", "output"), "{{output}}: failed attempts"), text="Per second."),
    ]),
    Row("Console", [
        chart("Requests by status", "reqps", (rate("tapline_console_requests_total", "code"), "{{code}}")),
        chart("Time of an answer from the store", "s",
              ("sum(rate(tapline_console_question_seconds_sum[$__rate_interval])) / sum(rate(tapline_console_question_seconds_count[$__rate_interval]))", "mean"),
              ("max(tapline_console_question_longest_seconds)", "longest")),
    ]),
]
