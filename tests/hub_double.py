"""A stand-in for the Hub on this machine: the routes that pushing and loading a model need, in memory.

Small files come in the commit, large ones by LFS (clients must set HF_HUB_DISABLE_XET=1). The token is checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


TOKEN = "hf_good_token_of_the_double"
READ_ONLY = "hf_read_only_token_of_the_double"


class HubDouble:
    """Repositories by name, Spaces as `spaces/owner/name`; each branch is a list of `(commit id, {path: content})`.

    Attributes:
        cut_uploads: close the connection in the middle of every LFS upload.
        refuse_spaces: say 403 to who makes a Space.
        log: method and path of each request.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, list[tuple[str, dict[str, bytes]]]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.cut_uploads = self.refuse_spaces = False
        self.log: list[str] = []
        double = self

        class Handler(_Handler):
            hub = double

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        """What a branch, or a commit, holds."""
        return self.commit(repository, revision)[1]

    def commits(self, repository: str, revision: str = "main") -> list[tuple[str, dict[str, bytes]]]:
        return self.repositories[repository][revision]

    def commit(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """The newest of a branch, or the one of that id; StopIteration if there is none."""
        branches = self.repositories[repository]
        if revision in branches:
            return branches[revision][-1]
        return next(one for own in branches.values() for one in own if one[0] == revision)


class _Handler(BaseHTTPRequestHandler):
    hub: HubDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    # -- replies

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, status: int = 200) -> None:
        self._reply(status, json.dumps(content).encode(), Content_Type="application/json")

    def _missing(self, what: str) -> None:
        self._reply(404, b"{}", X_Error_Code=what)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _may_write(self) -> bool:
        """Replies and says no where the token isn't good for writing."""
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given == TOKEN:
            return True
        self._body()
        self._reply(403 if given == READ_ONLY else 401, b"{}")
        return False

    # -- routes

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append(f"POST {path}")
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            self._body()
            self._json({"errors": [], "warnings": []})
        elif not self._may_write():
            pass
        elif path == "/api/repos/create":
            self._create(json.loads(self._body()))
        elif "/branch/" in path:
            self._branch("/".join(parts[2:4]), parts[5])
        elif "/preupload/" in path:
            files = json.loads(self._body())["files"]
            modes = ["lfs" if file["path"].endswith(".safetensors") else "regular" for file in files]
            self._json({"files": [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
                for file, mode in zip(files, modes, strict=True)
            ]})  # fmt: skip
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(self._body())["objects"]
            upload = {"upload": {"href": f"{self.hub.url}/upload/"}}
            self._json({"objects": [
                one | {"actions": {"upload": {"href": f"{upload['upload']['href']}{one['oid']}"}}} for one in objects
            ]})  # fmt: skip
        elif "/commit/" in path:
            self._commit("/".join(parts[1 if parts[1] == "spaces" else 2 : 4]), parts[5])
        else:
            self._missing("EntryNotFound")

    def _create(self, content: dict[str, Any]) -> None:
        name = f"{content.get('organization') or 'me'}/{content['name']}"
        url = f"{self.hub.url}/{name}"
        if content.get("type") == "space" and self.hub.refuse_spaces:
            return self._reply(403, b"{}")
        if content.get("type") == "space":
            name, url = f"spaces/{name}", f"{self.hub.url}/spaces/{name}"
        known = name in self.hub.repositories
        if not known:
            self.hub.repositories[name] = {"main": [("0" * 40, {})]}
            self.hub.private[name] = content.get("visibility") == "private" or bool(content.get("private"))
        return self._json({"url": url}, 409 if known else 200)

    def _branch(self, repository: str, branch: str) -> None:
        self._body()
        branches = self.hub.repositories[repository]
        known = branch in branches
        branches.setdefault(branch, [branches["main"][-1]])
        self._json({}, 409 if known else 200)

    def _commit(self, repository: str, revision: str) -> None:
        branches = self.hub.repositories.get(repository, {})
        if revision not in branches:
            self._body()
            return self._missing("RevisionNotFound")
        files = dict(branches[revision][-1][1])
        for line in self._body().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        digest = hashlib.sha1(repr((len(branches[revision]), sorted(files.items()))).encode()).hexdigest()
        branches[revision].append((digest, files))
        url = f"{self.hub.url}/{repository}/commit/{digest}"
        return self._json({"commitUrl": url, "commitOid": digest, "pullRequestUrl": None})

    def do_PUT(self) -> None:
        path = urlsplit(self.path).path
        self.hub.log.append(f"PUT {path}")
        if self.hub.cut_uploads:
            self.rfile.read(1000)
            self.close_connection = True
            self.connection.close()
            return
        body, oid = self._body(), path.rsplit("/", 1)[-1]
        if hashlib.sha256(body).hexdigest() != oid:
            self._reply(400)
            return
        self.hub.large[oid] = body
        self._reply(200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if "resolve" in parts:
            name = "/".join(parts[:2])
        elif parts[0] == "api" and len(parts) >= 4:
            name = "/".join(parts[1 if parts[1] == "spaces" else 2 : 4])
        else:
            self._missing("EntryNotFound")
            return
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if name not in self.hub.repositories or (self.hub.private[name] and given not in (TOKEN, READ_ONLY)):
            self._missing("RepoNotFound")  # as the Hub says of a private one to who may not see it
        elif "resolve" in parts:
            self._resolve(name, parts[3], "/".join(parts[4:]))
        else:
            self._model(name, parts[4:])

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        try:
            commit, files = self.hub.commit(repository, revision)
        except StopIteration:
            return self._missing("RevisionNotFound")
        if name not in files:
            return self._reply(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        return self._reply(200, files[name], ETag=etag, X_Repo_Commit=commit)

    def _model(self, repository: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        try:
            commit, files = self.hub.commit(repository, revision)
        except StopIteration:
            return self._missing("RevisionNotFound")
        if rest[:1] == ["tree"]:
            if len(rest) > 2:
                return self._missing("EntryNotFound")
            oids = {name: hashlib.sha1(content).hexdigest() for name, content in files.items()}
            return self._json([
                {"type": "file", "path": name, "size": len(content), "oid": oids[name]}
                for name, content in files.items()
            ])  # fmt: skip
        siblings = [{"rfilename": name} for name in files]
        return self._json(
            {
                "id": repository,
                "sha": commit,
                "siblings": siblings,
                "private": self.hub.private[repository],
                "tags": [],
            }
        )
