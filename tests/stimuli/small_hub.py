"""A server that answers as much of the Hugging Face hub's protocol as fetching a data set needs."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE_BYTES = 200  # larger files are described as LFS files: the cache then names them by their SHA-256


class SmallHub:
    """One data set, at some commits.

    Attributes:
        url: Where it listens.
        asked: (method, path) of all requests so far.
        commits: Files by commit.
        revisions: Commit by branch or tag.
        trouble: Status and headers to answer everything with, if any.
        claimed: Size by name of a file that it says to be of another size than it is.
    """

    def __init__(self, repo, commits, revisions):
        self.repo, self.commits, self.revisions, self.asked = repo, commits, revisions, []
        self.trouble = None
        self.claimed = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path):
        """Return (status, headers, body) for a path."""
        if self.trouble:
            return *self.trouble, b""
        parts = urlsplit(path)
        pieces = [unquote(piece) for piece in parts.path.strip("/").split("/")]
        if pieces[:2] == ["api", "datasets"]:
            repo, kind, revision = "/".join(pieces[2:4]), *pieces[4:6]
        else:
            repo, kind, revision = "/".join(pieces[1:3]), *pieces[3:5]
        if repo != self.repo:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.revisions.get(revision, revision)
        if commit not in self.commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self.commits[commit]
        if kind == "revision":
            return 200, {}, json.dumps({"id": repo, "sha": commit, "siblings": []}).encode()
        if kind == "tree":
            entries = [_entry(name, content) for name, content in files.items()]
            return 200, {}, json.dumps(entries).encode()
        content = files["/".join(pieces[5:])]
        headers = {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": commit}
        claimed = self.claimed.get("/".join(pieces[5:]))
        return 200, headers | ({"X-Linked-Size": str(claimed)} if claimed else {}), content


def _etag(content):
    return hashlib.sha256(content).hexdigest() if len(content) > LARGE_BYTES else _git_id(content)


def _git_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name, content):
    entry = {"type": "file", "path": name, "size": len(content), "oid": _git_id(content)}
    if len(content) > LARGE_BYTES:
        entry["lfs"] = {"oid": _etag(content), "size": len(content), "pointerSize": 130}
    return entry


def _handler_of(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self):
            hub.asked.append((self.command, self.path))
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD = _reply  # noqa: N815

        def log_message(self, *_):
            pass

    return Handler
