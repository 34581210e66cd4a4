# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that asks another instance of itself by UDP: `serve`, `ask ADDRESS SIZE`, `stream ADDRESS`.

The answer names the address that the question came from; no packet may be fragmented.
"""

from __future__ import annotations

import signal
import socket
import sys
import time

PORT = 7777
# https://man7.org/linux/man-pages/man7/ip.7.html; the module socket has no names for them.
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


def serve() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", PORT))
        while True:
            question, asked_from = server.recvfrom(65535)
            server.sendto(question[:8] + asked_from[0].encode(), asked_from)


def ask(address: str, size: int) -> int:
    """Print the address that the other side saw; 1 when no answer came within a second."""
    with _client(address) as client:
        client.settimeout(1)
        try:
            client.send(bytes(size))
            print(client.recv(100)[8:].decode())
        except OSError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def stream(address: str) -> int:
    """Ask 50 times a second until SIGINT, then print how many questions were sent and how many answered."""
    ended: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: ended.append(1))
    sent, answers, last = 0, set(), 0.0
    with _client(address) as client:
        client.setblocking(False)
        while not ended or time.monotonic() < last + 1:
            if not ended:
                try:
                    client.send(sent.to_bytes(8, "big"))
                except OSError as error:
                    print(error, file=sys.stderr)
                sent, last = sent + 1, time.monotonic()
                if sent == 5:
                    print("running", flush=True)
            time.sleep(0.02)
            while True:
                try:
                    answers.add(client.recv(100)[:8])
                except OSError:
                    break
    print(sent, len(answers), flush=True)
    return 0


def _client(address: str) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    client.connect((address, PORT))
    return client


if __name__ == "__main__":
    command = sys.argv[1]
    if command == "serve":
        serve()
    sys.exit(ask(sys.argv[2], int(sys.argv[3])) if command == "ask" else stream(sys.argv[2]))
