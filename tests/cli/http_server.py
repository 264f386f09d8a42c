# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server that misbehaves on demand.

    with Server() as server:
        server.put("/bundle", data, faults=[{"cut": 1000}, {"status": 503, "retry_after": "1"}])
        ... fetch server.url("/bundle") ...
        server.requests  # what was asked for, in order

Every request to a resource takes the first of its faults, if any is left; `None` is a good answer.
As an HTTP proxy (absolute request URIs) it serves its own resources whatever the host.

A fault is a dict of:
    status, headers  answer with this status and these extra headers, without the content
    retry_after      the Retry-After header
    reset            close without an answer
    rst              a TCP reset after this many bytes of the body
    drip             the body in pieces of this many bytes, `seconds` (default 0.2) after each
    endless          the announced body, then these bytes again and again
    raw, endless_raw  instead of an answer: these bytes, and then those again and again
    cut              close after this many bytes of the body
    stall            send this many bytes of the body, then nothing for `seconds` (default 30), or
                     `until` an event is set
    content          replace the resource's content, from this request on
    etag, last_modified, ranges   the same for its other properties
    extra            more bytes of body than announced
    patch            headers that replace the regular ones (None: left out)
"""

import contextlib
import email.utils
import http.server
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse


class Resource:
    def __init__(self, content, etag='"one"', last_modified=None, ranges=True, chunked=False,
                 patch=None, faults=()):
        self.content = content
        self.etag = etag
        self.last_modified = last_modified
        self.ranges = ranges
        self.chunked = chunked
        self.patch = patch or {}
        self.faults = list(faults)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server.owner
        path = urllib.parse.urlsplit(self.path).path
        with server.lock:
            server.requests.append({
                "path": self.path,
                "headers": {k.lower(): v for k, v in self.headers.items()},
                "port": self.client_address[1],
                "time": time.monotonic(),
            })
            resource = server.resources.get(path)
            fault = (resource.faults.pop(0) if resource and resource.faults else None) or {}
            for name in ("content", "etag", "last_modified", "ranges"):
                if name in fault:
                    setattr(resource, name, fault[name])
        if fault.get("reset"):
            self.close_connection = True
        elif "raw" in fault:
            self.wfile.write(fault["raw"])
            self.send_without_end(fault["endless_raw"])
        elif resource is None:
            self.answer(404, {}, b"nothing here")
        elif "status" in fault:
            headers = dict(fault.get("headers", {}))
            if "retry_after" in fault:
                headers["Retry-After"] = fault["retry_after"]
            self.answer(fault["status"], headers, fault.get("body", b"a problem\n"))
        else:
            self.send_resource(resource, fault)

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def wanted_range(self, resource):
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not resource.ranges or not match:
            return None
        if self.headers.get("If-Range", resource.etag or resource.last_modified) not in (
                resource.etag, resource.last_modified):
            return None
        last = len(resource.content) - 1
        return int(match[1]), min(int(match[2] or last), last)

    def send_resource(self, resource, fault):
        size = len(resource.content)
        wanted = self.wanted_range(resource)
        headers = {"ETag": resource.etag, "Last-Modified": resource.last_modified}
        body = resource.content
        status = 200
        if wanted and wanted[0] >= size:
            self.answer(416, {"Content-Range": f"bytes */{size}"}, b"")
            return
        if wanted:
            status = 206
            headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[1]}/{size}"
            body = resource.content[wanted[0]:wanted[1] + 1]
        if resource.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(body))
        headers.update(resource.patch)
        headers.update(fault.get("patch", {}))
        self.send_response_only(status)
        if "Date" not in headers:
            self.send_header("Date", email.utils.formatdate(usegmt=True))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.send_body(resource, body + fault.get("extra", b""), fault)

    def send_without_end(self, piece):
        self.close_connection = True
        with contextlib.suppress(OSError):
            while not self.server.owner.stopping.is_set():
                self.wfile.write(piece)
                self.server.owner.endless += len(piece)

    def reset_connection(self):
        """What a middlebox or a crashed server does."""
        self.wfile.flush()
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def send_slowly(self, body, size, seconds):
        for i in range(0, len(body), size):
            self.wfile.write(body[i:i + size])
            self.wfile.flush()
            if self.server.owner.stopping.wait(seconds):
                break

    def send_body(self, resource, body, fault):
        if "drip" in fault:
            self.close_connection = True
            with contextlib.suppress(ConnectionError):
                self.send_slowly(body, fault["drip"], fault.get("seconds", 0.2))
            return
        if "endless" in fault:
            self.wfile.write(body)
            self.send_without_end(fault["endless"])
            return
        if "rst" in fault:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body[:fault["rst"]])
                self.reset_connection()
            return
        stop = fault.get("cut", fault.get("stall"))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            part = body if stop is None else body[:stop]
            if resource.chunked:
                for i in range(0, len(part), 50000):
                    piece = part[i:i + 50000]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if stop is None:
                    self.wfile.write(b"0\r\n\r\n")
            else:
                self.wfile.write(part)
            with self.server.owner.lock:
                self.server.owner.sent += len(part)
            self.wfile.flush()
            if "stall" in fault:
                self.server.owner.stalled.set()
                fault.get("until", self.server.owner.stopping).wait(fault.get("seconds", 30))
        if stop is not None:
            self.close_connection = True

    def do_CONNECT(self):
        self.server.owner.requests.append({"path": self.path, "headers": {}})
        self.answer(403, {}, b"no tunnels")


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def get_request(self):
        connection, address = super().get_request()
        self.owner.connections += 1
        if self.owner.connections in self.owner.hang_up_on:
            connection.close()
            raise OSError("hung up")
        return connection, address

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is being tested


class Server:
    """Serves on a free port of 127.0.0.1 while its `with` block runs."""

    def __init__(self, tls=None):
        self.resources = {}
        self.requests = []
        self.sent = 0  # bytes of bodies
        self.connections = 0
        self.hang_up_on = ()  # numbers of connections, from 1
        self.endless = 0  # bytes of what has no end
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.stalled = threading.Event()  # a stall has begun; cleared by nobody else
        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.http.owner = self
        self.port = self.http.server_address[1]
        self.scheme = "https" if tls else "http"
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True,
                                               do_handshake_on_connect=False)

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def put(self, path, content, **properties):
        self.resources[path] = Resource(content, **properties)
        return self.url(path)

    def url(self, path, host="127.0.0.1", user=""):
        return f"{self.scheme}://{user}{host}:{self.port}{path}"

    def ranges(self):
        """The Range header of every request so far."""
        return [request["headers"].get("range") for request in self.requests]


def free_port():
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
