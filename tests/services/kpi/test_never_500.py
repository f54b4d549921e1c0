"""Whatever is asked of kpi, the answer is a success or a problem below 500."""

from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.kpi.deal_streams import Deal, at, process_changed
from tests.services.kpi.harness import Kpi

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SAID = {
    "kpi": ["won_count", "won_amount", "open_pipeline_amount", "win_rate", "happiness"],
    "scope": ["org", "person:ann", "team:x", "person:", "team:", ":", "org:", "person:external:ann"],
    "grain": ["day", "week", "month", "quarter", "year", "total"],
    "from": ["1900-01-01", "1899-12-31", "2026-01-01", "9999-12-31", "0001-01-01", "2026-13-01", "20260101"],
    "to": ["1900-01-01", "2026-03-01", "9999-12-31", "2026-02-30", "1e9"],
    "by": ["stage", "owner", "product", "source", "process", "currency"],
    "process": ["std", "standard", ""],
    "stage": ["lead", ""],
    "currency": ["CNY", "XXX", "cny"],
    "consistency_token": ["deal:x@0", "deal@x", "@", "a@b@1", "x@999999999999999999"],
    "basis": ["cohort", "period"],
    "last_event_id": ["0", "-1", "9" * 30, "x"],
    "cursor": ["", "x", "="],
    "stream": ["value:a::2026-01-01", "value:", ":"],
    "after_version": ["0", "-1", str(2**63)],
}
queries = st.lists(
    st.sampled_from(sorted(SAID)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(SAID[name]) | text)),
    max_size=8,
)
paths = st.sampled_from(["/values", "/values?kpi=won_amount", "/funnel", "/definitions", "/exports/kpi.values.v1"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths, query=queries)
async def test_every_answer_is_a_success_or_a_problem(kpi: Kpi, path: str, query: list[tuple[str, str]]) -> None:
    if not await kpi.rows("SELECT 1 FROM process"):
        deal = Deal().created("lead", at("2026-02-01 01:00"), owner="external:ann", amount=5, currency="CNY")
        await kpi.apply(process_changed(), *deal.moved("won", at("2026-02-02 01:00")).messages)
    said = [(name, value) for name, value in query if name != "consistency_token" or "999" not in value]
    url = f"/kpi/v1{path}{'&' if '?' in path else '?'}{urlencode(said)}"
    answer = await kpi.client.request("GET", url, headers={"authorization": f"Bearer {kpi.issuer.token('admin')}"})
    assert answer.status in (200, 400, 404, 422), (url, answer.body)
