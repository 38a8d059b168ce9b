"""Prints the packets and events of a v1 feed, ours or osmo-pcap's: feed_v1_subscriber.py [ENDPOINT]"""
import sys, zmq

feed = zmq.Context().socket(zmq.SUB)
feed.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:7712")
feed.subscribe("data.v1.")   # one source: "data.v1.NAME", which also brings NAME0, NAME1, ...
feed.subscribe("event.v1.")
while True:
    topic, *parts = feed.recv_multipart()
    if topic.startswith(b"data."):  # link header (24 bytes of pcap file header), record (16 bytes before the packet)
        print(topic.decode(), f"packet of {len(parts[1]) - 16} bytes:", parts[1][16:48].hex())
    else:
        print(topic.decode(), *(path.decode() for path in parts))
