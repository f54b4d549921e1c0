"""Random courses of deals: moves in all directions, corrections, reassignments, amounts, deletions, undated facts.

Drawn from a seed: hypothesis' own choices crowd around the simplest deals, and what is hard here is the combination.
"""

from datetime import datetime, timedelta
from random import Random

from hypothesis import strategies as st

from tests.services.kpi.deal_streams import STAGES, Deal, at

OWNERS = ["external:ann", "external:ben", "0190a000-0000-7000-8000-000000000001", None]
# Days around the end of a month, and hours on both sides of Shanghai's midnight.
FIRST = at("2026-01-30 00:00")
HOURS = 24 * 5
CODES = list(STAGES)
OPEN = [code for code, stage in STAGES.items() if stage.kind == "open"]
MONEY = [(None, None), (0, "CNY"), (12_345, "CNY"), (99_999_999, "CNY"), (700, "JPY"), (1, "USD")]
PRODUCTS = [None, "disk", "chip"]


def deals(*, correct_and_reassign: bool = True) -> st.SearchStrategy[list[Deal]]:
    """Return one to five deals; without `correct_and_reassign` no deal has both happen to it."""
    return st.lists(st.integers(0, 2**32), min_size=1, max_size=5).map(
        lambda seeds: [random_deal(Random(seed), both=correct_and_reassign) for seed in seeds]
    )


def random_deal(chance: Random, *, both: bool = True) -> Deal:
    """Return a deal with up to ten events."""
    amount, currency = chance.choice(MONEY)
    deal = Deal(process=chance.choice(["std", "old"])).created(
        chance.choice(OPEN),
        moment(chance),
        owner=chance.choice(OWNERS),
        amount=amount,
        currency=currency,
        product=chance.choice(PRODUCTS),
        source=chance.choice([None, "web"]),
    )
    corrects = chance.random() < 0.4
    kinds = ["move"] * 4 + ["amount", "product", "task"]
    kinds += ["correct", "correct"] if corrects else []
    kinds += ["owner", "owner"] if both or not corrects else []
    for _ in range(chance.randint(0, 9)):
        happen(chance, deal, chance.choice(kinds))
    return deal.deleted() if chance.random() < 0.1 else deal


def moment(chance: Random) -> datetime | None:
    return FIRST + timedelta(hours=chance.randint(0, HOURS)) if chance.random() < 0.8 else None


def happen(chance: Random, deal: Deal, kind: str) -> None:
    if kind == "move":
        deal.moved(chance.choice([code for code in CODES if code != deal.state.stage.code]), moment(chance))
    elif kind == "correct":
        deal.corrected(*((chance.choice(CODES), moment(chance)) for _ in range(chance.randint(1, 5))))
    elif kind == "amount":
        amount, currency = chance.choice(MONEY)
        deal.changed(amount=amount, currency=currency)
    elif kind == "owner":
        deal.changed(owner=chance.choice(OWNERS))
    elif kind == "product":
        deal.changed(product=chance.choice(PRODUCTS))
    else:
        deal.task(FIRST)
