"""A stand-in for the Hub on this machine: the routes that pushing and loading a model or data set need, in memory.

Small files come in the commit, large ones by LFS (clients must set HF_HUB_DISABLE_XET=1). The token is checked.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import transformers
from huggingface_hub import constants


TOKEN = "hf_good_token_of_the_double"
READ_ONLY = "hf_read_only_token_of_the_double"


class HubDouble:
    """Repositories by name, Spaces as `spaces/owner/name`, data sets as `datasets/owner/name`.

    Each branch is a list of `(commit id, {path: content})`.

    Attributes:
        cut_uploads: close the connection in the middle of every LFS upload.
        refuse_spaces: answer 403 to the creation of a Space.
        gated: repositories whose files nobody may see.
        fault: what goes wrong with each request, given its method and path: a status; `close`, no answer; `cut`, half
            of the answer's body; `garbage`, another body; None, nothing.
        log: method and path of each request.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, list[tuple[str, dict[str, bytes]]]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.cut_uploads = self.refuse_spaces = False
        self.gated: set[str] = set()
        self.fault: Callable[[str, str], int | str | None] = lambda method, path: None
        self.log: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the Hub for this process, with a token that may write."""
        for name, value in {"ENDPOINT": self.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(constants, name, value)
        # The client that transformers made for an earlier double, and keeps.
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        """What a branch, or a commit, holds."""
        return self.commit(repository, revision)[1]

    def commits(self, repository: str, revision: str = "main") -> list[tuple[str, dict[str, bytes]]]:
        return self.repositories[repository][revision]

    def commit(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """The newest commit of a branch, or the one of that id; StopIteration if there is none."""
        branches = self.repositories[repository]
        if revision in branches:
            return branches[revision][-1]
        return next(commit for commits in branches.values() for commit in commits if commit[0] == revision)


class _Handler(BaseHTTPRequestHandler):
    hub: HubDouble
    protocol_version = "HTTP/1.1"
    fault: int | str | None = None
    wbufsize = -1  # headers and body in one packet: a second one waits 40 ms for the client's word of the first

    def log_message(self, *args: Any) -> None:
        pass

    def parse_request(self) -> bool:
        """Read the head of a request; answer those with a fault here."""
        self.fault = None
        if not super().parse_request():
            return False
        self.fault = self.hub.fault(self.command, urlsplit(self.path).path)
        if self.fault == "close":
            self.close_connection = True
        elif isinstance(self.fault, int):
            self._body()
            self._reply(self.fault, b'{"error": "at\x1bfault"}')
            self.wfile.flush()
        return self.fault in (None, "cut", "garbage")

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        body = b"<html>\x1bno</html>" if self.fault == "garbage" and body else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.fault == "cut" and body:
            body, self.close_connection = body[: len(body) // 2], True
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, status: int = 200) -> None:
        self._reply(status, json.dumps(content).encode(), Content_Type="application/json")

    def _missing(self, what: str, **headers: str) -> None:
        self._reply(404, b"{}", X_Error_Code=what, **headers)

    def _start(self) -> tuple[str, list[str], str]:
        """Log the request; return its path, the parts of the path, and the token."""
        quoted = urlsplit(self.path).path
        path = unquote(quoted)
        self.hub.log.append(f"{self.command} {path}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return path, [*map(unquote, quoted.strip("/").split("/"))], token

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        path, parts, token = self._start()
        body = self._body()
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif token != TOKEN:
            self._reply(403 if token == READ_ONLY else 401, b"{}")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif "/branch/" in path:
            branches = self.hub.repositories["/".join(parts[2:4])]
            known = parts[5] in branches
            branches.setdefault(parts[5], [branches["main"][-1]])
            self._json({}, 409 if known else 200)
        elif "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            answer = {"shouldIgnore": False, "oid": None}
            self._json({"files": [{"path": name, "uploadMode": mode, **answer} for name, mode in modes.items()]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for file in objects:
                file["actions"] = {"upload": {"href": f"{self.hub.url}/upload/{file['oid']}"}}
            self._json({"objects": objects})
        elif "/commit/" in path:
            self._commit("/".join(parts[1 if parts[1] == "spaces" else 2 : 4]), parts[5], body)
        else:
            self._missing("EntryNotFound")

    def _create(self, content: dict[str, Any]) -> None:
        space = content.get("type") == "space"
        if space and self.hub.refuse_spaces:
            return self._reply(403, b"{}")
        name = f"{'spaces/' * space}{content.get('organization') or 'me'}/{content['name']}"
        known = name in self.hub.repositories
        if not known:
            self.hub.repositories[name] = {"main": [("0" * 40, {})]}
            self.hub.private[name] = content.get("visibility") == "private" or bool(content.get("private"))
        return self._json({"url": f"{self.hub.url}/{name}"}, 409 if known else 200)

    def _commit(self, repository: str, revision: str, body: bytes) -> None:
        branches = self.hub.repositories.get(repository, {})
        if revision not in branches:
            return self._missing("RevisionNotFound")
        files = dict(branches[revision][-1][1])
        for item in map(json.loads, body.splitlines()):
            value = item["value"]
            if item["key"] == "header":
                self.hub.log.append(f"commit {value['summary']}")
            elif item["key"] == "file":
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
        _, parts, _ = self._start()
        if self.hub.cut_uploads:
            self.rfile.read(1000)
            self.close_connection = True
            return self.connection.close()
        body = self._body()
        if hashlib.sha256(body).hexdigest() != parts[-1]:
            return self._reply(400)
        self.hub.large[parts[-1]] = body
        return self._reply(200)

    def do_GET(self) -> None:
        _, parts, token = self._start()
        if "resolve" in parts:
            at = parts.index("resolve")
            name, revision, path = "/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :])
        elif parts[0] == "api" and len(parts) >= 4:
            name = "/".join(parts[2 if parts[1] == "models" else 1 : 4])
            revision = parts[5] if len(parts) > 5 else "main"
        else:
            return self._missing("EntryNotFound")
        if name not in self.hub.repositories or (self.hub.private[name] and token not in (TOKEN, READ_ONLY)):
            return self._missing("RepoNotFound")  # as the Hub says of a private one to whoever may not see it
        try:
            commit, files = self.hub.commit(name, revision)
        except StopIteration:
            return self._missing("RevisionNotFound")
        digests = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
        if "resolve" in parts:
            if name in self.hub.gated:
                return self._reply(403, X_Error_Code="GatedRepo")
            if path not in files:
                return self._missing("EntryNotFound", X_Repo_Commit=commit)
            return self._reply(200, files[path], ETag=f'"{digests[path]}"', X_Repo_Commit=commit)
        if parts[4:5] == ["tree"]:
            return self._list("/".join(parts[6:]), files, digests)
        about = {"id": name, "sha": commit, "private": self.hub.private[name], "tags": []}
        return self._json(about | {"siblings": [{"rfilename": path} for path in files]})

    def _list(self, folder: str, files: dict[str, bytes], digests: dict[str, str]) -> None:
        """What a folder holds, with all below it if the client asks for that."""
        inside = [path for path in files if path.startswith(f"{folder}/" if folder else "")]
        if folder and not inside:
            return self._missing("EntryNotFound")
        depth = None if "recursive=true" in self.path.lower() else folder.count("/") + bool(folder) + 1
        paths = dict.fromkeys("/".join(path.split("/")[:depth]) for path in inside)
        items = [{"type": "file", "size": len(files[p])} if p in files else {"type": "directory"} for p in paths]
        return self._json([{"path": p, "oid": digests.get(p, p)} | item for p, item in zip(paths, items, strict=True)])

    do_HEAD = do_GET
