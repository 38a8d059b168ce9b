"""Prints the entries and events of a feed: feed_v2_subscriber.py [ENDPOINT]"""
import json, sys, zmq

feed = zmq.Context().socket(zmq.SUB)
feed.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:7711")
feed.subscribe("data.v2.")   # one source only: "data.v2.NAME/"
feed.subscribe("event.v2.")
while True:
    topic, text, *frame = feed.recv_multipart()
    about = json.loads(text)
    if topic.startswith(b"data."):  # frame[0]: pcapng blocks, compressed as about["encoding"] says
        print(f"{about['source']} {about['kind']} {about['seq']}: {about['packets']} packets, {len(frame[0])} bytes")
    else:
        print(about["event"], about["source"], about)
