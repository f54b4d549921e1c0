"""The gateway between real sockets: what passes, what ends here, what is tried again, and what it says by itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from deploy.demo.processes import free_port
from tests.postgres_cluster import PostgresCluster
from tests.processes.site import Process, Site, site_of
from tests.processes.upstream import Got, Upstream, answered, read_body, silent, upstream
from tests.system_caller import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

LARGE = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def place(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_of(postgres, tmp_path_factory.mktemp("gateway"), "gateway") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[tuple[Upstream, Upstream]]:
    async with upstream() as first, upstream() as second:
        yield first, second


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(place: Site, pair: tuple[Upstream, Upstream]) -> AsyncIterator[Process]:
    """Pipeline has two replicas; one of kpi's two is not there; goals and notify have nobody."""
    first, second = pair
    made = place.gateway(
        pipeline=f"{first.url}, {second.url}", kpi=f"http://127.0.0.1:{free_port(None)},http://localhost:{second.port}"
    )
    made.start()
    await made.answering()

    async def all_seen() -> bool:
        _, told = await made.readiness()
        return told["services"]["pipeline"]["replicas"] == {"known": 2, "ready": 2} and (
            told["services"]["kpi"]["replicas"]["ready"] == 1
        )

    await until(all_seen)
    yield made
    made.end()


@pytest.fixture
def first(pair: tuple[Upstream, Upstream]) -> Upstream:
    return _as_new(pair)[0]


@pytest.fixture
def second(first: Upstream, pair: tuple[Upstream, Upstream]) -> Upstream:
    return pair[1]


@pytest_asyncio.fixture(loop_scope="module")
async def client(gateway: Process, first: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=20) as made:
        yield made


def _as_new(pair: tuple[Upstream, Upstream]) -> tuple[Upstream, Upstream]:
    for each in pair:
        each.got, each.answer = [], answered
        each.gone.clear()
    return pair


async def test_the_request_passes_as_it_is_but_for_what_belongs_to_one_connection(
    client: httpx.AsyncClient, first: Upstream, second: Upstream
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await client.post(
        "/pipeline/v1/deals/a%2Fb?x=%20y&x=2", content=b"{}",
        headers=[("X-Request-ID", "mine"), ("traceparent", trace), ("Connection", "x-hop"), ("X-Hop", "1"),
                 ("TE", "trailers"), ("X-Forwarded-For", "6.6.6.6"), ("X-Twice", "a"), ("X-Twice", "b")],
    )  # fmt: skip
    assert (answer.status_code, answer.text) == (200, "done")
    (got,) = first.got + second.got
    assert (got.method, got.target, bytes(got.body)) == ("POST", "/pipeline/v1/deals/a%2Fb?x=%20y&x=2", b"{}")
    assert (got.header("x-request-id"), got.header("traceparent")) == (["mine"], [trace])
    assert got.header("x-twice") == ["a", "b"]
    assert got.header("host") == got.header("x-forwarded-host") == [client.base_url.netloc.decode()]
    assert (got.header("x-forwarded-for"), got.header("x-forwarded-proto")) == (["127.0.0.1"], ["http"])
    assert not any(got.header(name) for name in ("x-hop", "te", "connection", "transfer-encoding"))


async def test_the_answer_passes_as_it_is(client: httpx.AsyncClient, first: Upstream, second: Upstream) -> None:
    async def rich(_got: Got, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 207 Many\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nkeep-alive: timeout=5\r\nconnection: x-own\r\n"
            b'x-own: 1\r\netag: "7"\r\ncontent-length: 2\r\n\r\nok'
        )
        await writer.drain()

    first.answer = second.answer = rich
    answer = await client.get("/pipeline/v1/deals")
    assert (answer.status_code, answer.text, answer.headers["etag"]) == (207, "ok", '"7"')
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert "x-own" not in answer.headers
    assert "keep-alive" not in answer.headers
    assert len(answer.headers.get_list("date")) == 1


async def test_replicas_take_turns(client: httpx.AsyncClient, first: Upstream, second: Upstream) -> None:
    for _ in range(6):
        await client.get("/pipeline/v1/deals")
    assert (len(first.got), len(second.got)) == (3, 3)


@pytest.mark.parametrize("key", [None, "once"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_what_may_be_done_twice_is_tried_on_another_replica(
    client: httpx.AsyncClient, gateway: Process, first: Upstream, second: Upstream, method: str, key: str | None
) -> None:
    await _both_ready(gateway)
    first.answer = silent
    headers = {"idempotency-key": key} if key else {}
    answers = [await client.request(method, "/pipeline/v1/deals", content=b"{}", headers=headers) for _ in range(2)]
    assert len(first.got) == 1
    if method == "GET" or key:
        assert [answer.status_code for answer in answers] == [200, 200]
        assert len(second.got) == 2
    else:
        # Whose turn it was first is not known; one of the two met the replica that died.
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert (refused.status_code, refused.json()["code"]) == (502, "outcome_unknown")
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        assert len(second.got) == 1


async def test_what_was_never_sent_goes_to_another_replica_whatever_it_is(
    client: httpx.AsyncClient, second: Upstream
) -> None:
    for _ in range(4):
        assert (await client.post("/kpi/v1/definitions", content=b"{}")).status_code == 200
    assert len(second.got) == 4


async def test_when_nobody_is_there_it_says_when_to_come_again(client: httpx.AsyncClient) -> None:
    answer = await client.get("/goals/v1/goals", headers={"accept-language": "zh"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["code"], told["title"], told["instance"]) == (
        "upstream_unavailable",
        "服务暂不可用",
        "/goals/v1/goals",
    )
    assert (await client.get("/openapi.json")).status_code == 503
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
    assert (await client.get("/livez")).status_code == 200
    assert 'gateway_ready_replicas{service="pipeline"} 2.0' in (await client.get("/metrics")).text
    assert (await client.get("/nowhere/v1/x")).json()["code"] == "not_found"
    everything = await client.request("OPTIONS", "/", extensions={"target": b"*"})
    assert (everything.status_code, everything.json()["code"]) == (404, "not_found")
    assert (await client.get("/")).headers["location"] == "/pipeline/docs"


async def test_streams_pass_piece_by_piece_and_end_with_their_reader(
    client: httpx.AsyncClient, first: Upstream, second: Upstream
) -> None:
    more = asyncio.Event()

    async def events(_got: Got, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"7\r\nid: 1\n\n\r\n", b"7\r\nid: 2\n\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await more.wait()
        # Nothing more: until the reader goes.
        assert await reader.read() == b""

    first.answer = second.answer = events
    async with client.stream("GET", "/pipeline/v1/stream") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"id: 1\n\n"
        more.set()
        assert await anext(pieces) == b"id: 2\n\n"
    async with asyncio.timeout(10):
        await asyncio.wait({asyncio.ensure_future(each.gone.wait()) for each in (first, second)},
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip


async def test_a_large_upload_passes_while_it_comes(
    client: httpx.AsyncClient, first: Upstream, second: Upstream
) -> None:
    arrived = asyncio.Event()

    async def taking(got: Got, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int(await reader.readline(), 16)
        got.body += (await reader.readexactly(size + 2))[:-2]
        arrived.set()
        await read_body(got, reader)
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async def content() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        # The rest follows only when the beginning has reached the service.
        await arrived.wait()
        for _ in range(LARGE // 65536):
            yield b"b" * 65536

    first.answer = second.answer = taking
    answer = await client.post("/pipeline/v1/imports", content=content())
    assert answer.status_code == 202
    (got,) = first.got + second.got
    assert bytes(got.body) == b"a" * 1000 + b"b" * LARGE


async def test_an_answer_that_breaks_off_does_not_look_whole(
    client: httpx.AsyncClient, first: Upstream, second: Upstream
) -> None:
    async def half(_got: Got, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()

    first.answer = second.answer = half
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/pipeline/v1/deals")


async def _both_ready(gateway: Process) -> None:
    async def seen() -> bool:
        _, told = await gateway.readiness()
        return bool(told["services"]["pipeline"]["replicas"]["ready"] == 2)

    await until(seen)
