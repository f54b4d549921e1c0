"""The public HTTP API as the demonstration uses it: bearer token, language, JSON, problems as errors."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.demo.processes import DemoFailure
from shared.http_client import Answer, HttpClient
from shared.language import Language

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal(Exception):  # noqa: N818 - the name of the fact
    """A problem that the demonstration wants to show."""

    problem: Json


class Api:
    """A client with one bearer's rights."""

    def __init__(self, base_url: str, token: str, language: Language) -> None:
        self._client = HttpClient(
            base_url=base_url, headers={"authorization": f"Bearer {token}", "accept-language": language}
        )

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        return self._read(path, await self._client.request("GET", path, params=params))

    async def get_text(self, path: str) -> str:
        return (await self._client.request("GET", path)).body.decode()

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        return self._read(path, await self._send("POST", path, body, headers))

    async def put(self, path: str, body: Any) -> Any:
        return self._read(path, await self._send("PUT", path, body, None))

    async def patch(self, path: str, body: Any) -> Any:
        return self._read(path, await self._send("PATCH", path, body, {"if-match": "*"}))

    async def try_post(self, path: str, body: Any) -> Any:
        """As `post`, but a problem (4xx) is raised as a Refusal instead of ending the demonstration."""
        answer = await self._send("POST", path, body, None)
        if 400 <= answer.status < 500:  # noqa: PLR2004 - HTTP's own numbers
            raise Refusal(json.loads(answer.body))
        return self._read(path, answer)

    async def upload(self, kind: str, file_name: str, content: bytes, mapping: Json) -> Any:
        """Post an import as multipart/form-data."""
        boundary = secrets.token_hex(16)
        fields = {"kind": kind, "mapping": json.dumps(mapping)}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n\r\n'.encode()
        body = b"".join([*parts, head, content, f"\r\n--{boundary}--\r\n".encode()])
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        path = "/pipeline/v1/imports"
        return self._read(path, await self._client.request("POST", path, headers=headers, body=body))

    async def close(self) -> None:
        await self._client.close()

    async def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None) -> Answer:
        content = json.dumps(body, ensure_ascii=False).encode()
        return await self._client.request(
            method, path, headers={"content-type": "application/json", **(headers or {})}, body=content
        )

    def _read(self, path: str, answer: Answer) -> Any:
        if not answer.ok:
            message = f"{path} answered {answer.status}: {answer.body.decode(errors='replace')[:800]}"
            raise DemoFailure(message)
        return json.loads(answer.body) if answer.body else None
