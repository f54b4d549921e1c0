"""Back-off, giving up, targets that nobody may make us call, and what alerts say."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.domain.addressees import Team, manager_of
from services.notify.domain.delivery import Delivered, Delivery, Refused, Retry, RetryPolicy, after_attempt
from services.notify.domain.targets import BadTarget, is_public, parse_target, refuse_internal_name
from tests.services.notify.building import NOON

POLICY = RetryPolicy()


def tried(tries: int) -> Delivery:
    return Delivery(uuid4(), uuid4(), "fired", "webhook", uuid4(), None, "pending", NOON, NOON, NOON, tries=tries)


@given(st.integers(1, 7), st.floats(0, 1, exclude_max=True))
def test_the_next_attempt_is_somewhere_below_a_growing_ceiling(tries: int, jitter: float) -> None:
    at = POLICY.next_attempt(tried(tries), Retry("no"), NOON, jitter)
    ceiling = min(timedelta(minutes=15), timedelta(seconds=5) * 2 ** (tries - 1))
    assert at is not None
    assert NOON <= at <= NOON + ceiling


def test_it_gives_up_after_eight_tries_or_a_day() -> None:
    assert after_attempt(tried(7), Retry("no"), NOON, POLICY, 0.5)[0] == "failed"
    assert after_attempt(tried(8), Retry("no"), NOON, POLICY, 0.5)[0] == "dead"
    late = NOON + timedelta(hours=24)
    assert after_attempt(tried(2), Retry("no"), late, POLICY, 0.5)[0] == "dead"
    assert after_attempt(tried(1), Refused("no"), NOON, POLICY, 0.5)[0] == "dead"
    assert after_attempt(tried(1), Delivered(200), NOON, POLICY, 0.5)[0] == "sent"


def test_a_target_that_says_when_to_come_back_is_not_asked_earlier() -> None:
    polite = Retry("busy", 429, timedelta(minutes=30))
    assert POLICY.next_attempt(tried(1), polite, NOON, 0.0) == NOON + timedelta(minutes=30)
    assert POLICY.next_attempt(tried(1), replace(polite, after=timedelta(days=2)), NOON, 0.0) is None


def test_the_message_id_is_that_of_the_delivery() -> None:
    one = tried(1)
    assert one.message_id == replace(one, tries=5).message_id
    assert one.message_id != tried(1).message_id


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1",
        "::1", "::", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "::127.0.0.1", "fd00:ec2::254",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_public_internet(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "http://", "https:///x", "example.com",
        "http://user:secret@example.com/", "http://user@example.com/", "http://example.com:0/", "http://example.com:99999/",
        "http://example.com/#part", "http://exa mple.com/", "http://example.com/\r\nX: y", "http://[::1", "http://例子.cn/",
    ],
)  # fmt: skip
def test_urls_that_are_no_target(url: str) -> None:
    with pytest.raises(BadTarget) as refused:
        parse_target(url)
    assert refused.value.code == "invalid_url"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "db.internal", "printer.local", "postgres"])
def test_names_that_are_internal_by_themselves(host: str) -> None:
    with pytest.raises(BadTarget):
        refuse_internal_name(parse_target(f"http://{host}/"))


def test_a_target_is_pinned_with_its_port_and_query() -> None:
    target = parse_target("https://hooks.example.com:8443/a/b?c=d")
    assert target.authority == "hooks.example.com:8443"
    assert target.pinned(ip_address("8.8.8.8")) == "https://8.8.8.8:8443/a/b?c=d"
    assert parse_target("http://example.com").authority == "example.com"
    assert parse_target("http://[2606:4700::1]/x").pinned(ip_address("2606:4700::1")) == "http://[2606:4700::1]:80/x"


def test_the_manager_is_the_next_one_above_who_is_somebody_else() -> None:
    top, middle, low = uuid4(), uuid4(), uuid4()
    boss, lead = uuid4(), uuid4()
    teams = {top: Team(None, boss), middle: Team(top, None), low: Team(middle, lead)}
    assert manager_of(low, teams) == lead
    assert manager_of(low, teams, of=lead) == boss
    assert manager_of(middle, teams) == boss
    assert manager_of(top, teams, of=boss) is None
    assert manager_of(uuid4(), teams) is None
    loop = {top: Team(low, None), low: Team(top, None)}
    assert manager_of(top, loop) is None
