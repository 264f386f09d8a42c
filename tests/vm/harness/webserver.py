# SPDX-License-Identifier: Apache-2.0
"""A real nginx on the loopback, which guests reach at 10.0.2.2."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

NGINX = "/usr/sbin/nginx"
CONFIGURATION = """
daemon off;
master_process off;
pid {prefix}/pid;
error_log {prefix}/error.log info;
events {{ }}
http {{
	log_format with_range '$remote_addr - $remote_user [$time_local] "$request" $status '
		'$body_bytes_sent "$http_referer" "$http_user_agent" "$http_range"';
	access_log {prefix}/access.log with_range;
	client_body_temp_path {prefix}/body;
	proxy_temp_path {prefix}/proxy;
	fastcgi_temp_path {prefix}/fastcgi;
	uwsgi_temp_path {prefix}/uwsgi;
	scgi_temp_path {prefix}/scgi;
	sendfile on;
	server {{
		listen 127.0.0.1:{port};
		root {files};
		# /slow/NAME is NAME at 4 MiB/s, /plain/NAME the same without Range.
		location /slow/ {{ alias {files}/; limit_rate 4m; }}
		location /plain/ {{ alias {files}/; max_ranges 0; }}
	}}
}}
"""


@dataclass(frozen=True)
class Answer:
    """To a request that is over."""

    size: int  # bytes of its body that were sent
    start: int  # of the range that was asked for
    end: int | None  # of the same; None: the rest of the file


class WebServer:
    """Serves the files of a directory from start() to stop()."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "files"
        self.files.mkdir(parents=True)
        self._prefix = directory
        self._process: subprocess.Popen | None = None
        self.port = 0

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        text = CONFIGURATION.format(prefix=self._prefix, files=self.files, port=self.port)
        (self._prefix / "nginx.conf").write_text(text)
        log = self._prefix / "start.log"
        command = [NGINX, "-p", str(self._prefix), "-c", "nginx.conf", "-e", str(log)]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=nothing, stderr=nothing)
        self._wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def offer(self, path: Path, name: str | None = None) -> str:
        """Makes a file available; returns its URL as the guest sees it."""
        name = name or path.name
        link = self.files / name
        if not link.exists():
            link.symlink_to(path)
        return self.url(name)

    def url(self, name: str) -> str:
        return f"http://10.0.2.2:{self.port}/{name}"

    def requests(self) -> list[str]:
        """The access log so far."""
        return (self._prefix / "access.log").read_text().splitlines()

    def answers(self, name: str, count: int) -> list[Answer]:
        """To all requests for a file, once there are so many: an answer that was broken off is
        logged only when that is noticed."""
        asked = r'"(?:-|bytes=(\d+)-(\d*))"$'
        line = re.compile(rf'"GET /{re.escape(name)} [^"]*" \d+ (\d+) .* {asked}')
        deadline = time.monotonic() + 10
        while True:
            found = [match for match in map(line.search, self.requests()) if match]
            if len(found) >= count or time.monotonic() > deadline:
                return [_answer(*match.groups()) for match in found]
            time.sleep(0.05)

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                logs = [path.read_text() for path in self._prefix.glob("*.log")]
                raise RuntimeError("nginx did not start:\n" + "".join(logs))
            time.sleep(0.05)


def _answer(size: str, first: str | None, last: str | None) -> Answer:
    return Answer(int(size), int(first or 0), int(last) + 1 if last else None)
