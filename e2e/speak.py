"""One end of a call: binds its ports, then sends datagrams at given times. `speak.py FILE` reads JSON: {"bind": [[ip, port], ...],
"start": unix seconds, "send": [[seconds after start, index of bind, ip, port, hex], ...]}."""
import json
import socket
import sys
import time


def main():
    with open(sys.argv[1], encoding="utf-8") as text:
        script = json.load(text)
    sockets = []
    for ip, port in script["bind"]:
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].bind((ip, port))
    for after, index, ip, port, data in script["send"]:
        time.sleep(max(0.0, script["start"] + after - time.time()))
        sockets[index].sendto(bytes.fromhex(data), (ip, port))
    # Stays until the other end has sent its last: a closed port would answer, and quote what it was sent.
    time.sleep(max(0.0, script["end"] - time.time()))


if __name__ == "__main__":
    main()
