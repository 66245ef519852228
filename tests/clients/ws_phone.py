#!/usr/bin/env python3
"""A SIP phone over (secure) WebSocket, as a page in a browser would be one (RFC 7118).

It registers with digest, then answers one call or makes one, plays silence and counts what it
hears, and prints one JSON object at its end. Framing and TLS are those of the websockets library.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import ssl
import sys
import time

import websockets


def md5(*parts):
    return hashlib.md5(":".join(parts).encode()).hexdigest()


def token():
    return "%012x" % random.getrandbits(48)


class Message:
    """One SIP message: start line, headers in order, body."""

    def __init__(self, text):
        head, _, self.body = text.partition("\r\n\r\n")
        self.start, *rows = head.split("\r\n")
        self.rows = [tuple(part.strip() for part in row.split(":", 1)) for row in rows]

    def all(self, name):
        return [value for key, value in self.rows if key.lower() == name.lower()]

    def get(self, name):
        return next(iter(self.all(name)), "")

    @property
    def status(self):
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else None

    @property
    def method(self):
        return self.get("CSeq").split()[-1]


class Rtp(asyncio.DatagramProtocol):
    """Sends silence as PCMA and counts what comes."""

    def __init__(self):
        self.received = 0
        self.sent = 0

    def connection_made(self, transport):
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, _source):
        self.received += data[0] >> 6 == 2

    async def play(self, address, seconds):
        start = time.monotonic()
        for number in range(int(seconds * 50)):
            head = bytes([0x80, 8]) + number.to_bytes(2, "big") + (number * 160).to_bytes(4, "big")
            self.transport.sendto(head + b"WSPH" + b"\xd5" * 160, address)
            self.sent += 1
            await asyncio.sleep(max(0, start + (number + 1) * 0.02 - time.monotonic()))


class Phone:
    def __init__(self, arguments, socket, rtp):
        self.a, self.socket, self.rtp = arguments, socket, rtp
        self.host = token() + ".invalid"
        self.aor = "sip:%s@%s" % (self.a.user, self.a.domain)
        self.contact = "<sip:%s@%s;transport=ws>" % (self.a.user, self.host)
        self.via_name = "WSS" if self.a.url.startswith("wss") else "WS"
        self.cseq = 0
        self.requests = asyncio.Queue()
        self.answers = asyncio.Queue()
        self.report = {"registered": False, "status": None, "pongs": 0}

    async def read(self):
        async for text in self.socket:
            text = text if isinstance(text, str) else text.decode()
            if not text.strip():
                self.report["pongs"] += 1
                continue
            message = Message(text)
            await (self.requests if message.status is None else self.answers).put(message)
        await self.requests.put(None)

    async def next(self, queue, seconds=20):
        return await asyncio.wait_for(queue.get(), seconds)

    async def final(self):
        while True:
            answer = await self.next(self.answers)
            if answer.status >= 200:
                return answer

    async def request(self, method, uri, rows, body="", cseq=None):
        if cseq is None:
            self.cseq += 1
        rows = [("Via", "SIP/2.0/%s %s;branch=z9hG4bK%s" % (self.via_name, self.host, token())),
                ("Max-Forwards", "70"), ("CSeq", "%d %s" % (cseq or self.cseq, method))] + rows
        await self.send("%s %s SIP/2.0" % (method, uri), rows, body)

    async def send(self, start, rows, body=""):
        if body:
            rows = rows + [("Content-Type", "application/sdp")]
        rows = rows + [("Content-Length", str(len(body)))]
        text = start + "\r\n" + "".join("%s: %s\r\n" % row for row in rows) + "\r\n" + body
        await self.socket.send(text)

    def credentials(self, challenge, method, uri):
        value = challenge.get("WWW-Authenticate") or challenge.get("Proxy-Authenticate")
        name = "Authorization" if challenge.status == 401 else "Proxy-Authorization"
        part = lambda key: re.search(key + '="?([^",]+)', value).group(1)
        nonce, realm, cnonce, count = part("nonce"), part("realm"), token(), "00000001"
        secret = md5(self.a.user, realm, self.a.password)
        proof = md5(secret, nonce, count, cnonce, "auth", md5(method, uri))
        return (name, 'Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", '
                'algorithm=MD5, qop=auth, cnonce="%s", nc=%s'
                % (self.a.user, realm, nonce, uri, proof, cnonce, count))

    async def authorised(self, method, uri, rows, body=""):
        await self.request(method, uri, rows, body)
        answer = await self.final()
        if answer.status in (401, 407):
            if method == "INVITE":
                await self.acknowledge(uri, answer)
            await self.request(method, uri, rows + [self.credentials(answer, method, uri)], body)
            answer = await self.final()
        return answer

    async def acknowledge(self, uri, answer):
        rows = [(name, answer.get(name)) for name in ("From", "To", "Call-ID")]
        await self.request("ACK", uri, rows, cseq=int(answer.get("CSeq").split()[0]))

    async def register(self):
        party = "<%s>" % self.aor
        contact = '%s;reg-id=1;+sip.instance="<urn:uuid:00000000-0000-1000-8000-%s>"' % (
            self.contact, token())
        rows = [("From", party + ";tag=" + token()), ("To", party), ("Call-ID", token()),
                ("Contact", contact), ("Expires", "600"), ("Supported", "path, outbound")]
        answer = await self.authorised("REGISTER", "sip:" + self.a.domain, rows)
        self.report["registered"] = answer.status == 200
        self.report["flow_timer"] = answer.get("Flow-Timer")
        # RFC 5626 §3.5.1: a double CRLF is answered by a single one.
        await self.socket.send("\r\n\r\n")

    def sdp(self):
        return ("v=0\r\no=ws 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n"
                "m=audio {1} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n").format(self.a.media, self.rtp.port)

    async def talk(self, body):
        address = re.search(r"^c=IN IP4 (\S+)", body, re.M).group(1)
        port = int(re.search(r"^m=audio (\d+)", body, re.M).group(1))
        await self.rtp.play((address, port), self.a.seconds)

    async def answer(self):
        while (request := await self.next(self.requests, 60)) is not None:
            rows = [(name, value) for name in ("Via", "Record-Route", "From")
                    for value in request.all(name)]
            to = request.get("To")
            rows += [("To", to if "tag=" in to else to + ";tag=ws1"),
                     ("Call-ID", request.get("Call-ID")), ("CSeq", request.get("CSeq"))]
            if request.method == "INVITE":
                await self.send("SIP/2.0 180 Ringing", rows + [("Contact", self.contact)])
                await self.send("SIP/2.0 200 OK", rows + [("Contact", self.contact)], self.sdp())
                player = asyncio.create_task(self.talk(request.body))
            elif request.method == "BYE":
                await self.send("SIP/2.0 200 OK", rows)
                player.cancel()
                self.report["status"] = 200
                return
            elif request.method != "ACK":
                await self.send("SIP/2.0 200 OK", rows)

    async def call(self):
        uri = "sip:%s@%s" % (self.a.call, self.a.domain)
        rows = [("From", "<%s>;tag=%s" % (self.aor, token())), ("To", "<%s>" % uri),
                ("Call-ID", token()), ("Contact", self.contact)]
        answer = await self.authorised("INVITE", uri, rows, self.sdp())
        self.report["status"] = answer.status
        target = uri
        if answer.status == 200:
            target = re.search("<([^>]+)>", answer.get("Contact")).group(1)
        await self.acknowledge(target, answer)
        if answer.status == 200:
            await self.talk(answer.body)
            dialog = [(name, answer.get(name)) for name in ("From", "To", "Call-ID")]
            await self.request("BYE", target, dialog)
            self.report["bye"] = (await self.final()).status


async def main(arguments):
    tls = ssl.create_default_context(cafile=arguments.ca) if arguments.ca else None
    loop = asyncio.get_running_loop()
    _, rtp = await loop.create_datagram_endpoint(Rtp, local_addr=(arguments.media, 0))
    # No pings of ours: what the library answers by itself are those of the server.
    async with websockets.connect(arguments.url, subprotocols=["sip"], ssl=tls,
                                  ping_interval=None) as socket:
        phone = Phone(arguments, socket, rtp)
        reader = asyncio.create_task(phone.read())
        try:
            await phone.register()
            print("registered", file=sys.stderr, flush=True)
            await (phone.call() if arguments.call else phone.answer())
        finally:
            reader.cancel()
        report = dict(phone.report, sent=rtp.sent, received=rtp.received)
        print(json.dumps(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="ws:// or wss:// of the server")
    parser.add_argument("--ca", help="PEM file of its authority")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--media", required=True, help="own address for RTP")
    parser.add_argument("--call", help="user to call; without it one call is answered")
    parser.add_argument("--seconds", type=float, default=3)
    asyncio.run(main(parser.parse_args()))
