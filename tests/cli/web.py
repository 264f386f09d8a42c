# SPDX-License-Identifier: Apache-2.0
"""A well-behaved web server in this process: Range, ETag, and a brake."""

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BRAKE_STEP = 16384  # bytes between two pauses


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.serve(body=True)

    def do_HEAD(self):
        self.serve(body=False)

    def serve(self, body):
        web = self.server.web
        web.requests.append((self.command, self.path, dict(self.headers)))
        content = web.files.get(self.path)
        if content is None:
            self.answer(404, b"no such file\n", body)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not (match and web.ranges):
            self.answer(200, content, body)
            return
        first = int(match[1])
        last = min(int(match[2]) if match[2] else len(content) - 1, len(content) - 1)
        if first >= len(content):
            self.answer(416, b"", body, ("Content-Range", f"bytes */{len(content)}"))
            return
        self.answer(206, content[first:last + 1], body,
                    ("Content-Range", f"bytes {first}-{last}/{len(content)}"))

    def answer(self, code, content, body, *headers):
        web = self.server.web
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"one"')
        if web.ranges:
            self.send_header("Accept-Ranges", "bytes")
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        try:
            for at in range(0, len(content) if body else 0, BRAKE_STEP):
                self.wfile.write(content[at:at + BRAKE_STEP])
                if web.pause:
                    self.wfile.flush()
                    time.sleep(web.pause)
        except OSError:
            self.close_connection = True  # the client has left

    def log_message(self, *_):
        pass


class Web:
    """files: {path: bytes}. ranges: honour Range. pause: seconds after every 16 KiB."""

    def __init__(self):
        self.files, self.requests = {}, []
        self.ranges, self.pause = True, 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.web = self

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, path, content):
        """Serves content; the URL."""
        self.files[path] = content
        return f"http://127.0.0.1:{self.server.server_port}{path}"
