"""Every built-in KPI in plain SQL over pipeline's `deal_history`: it knows no service, only the stored event values.

`prepare` makes temporary tables on a connection: `visit` (the stays of each deal, folded event by event), `deal` (its
present state) and `fact`: one row for each thing that a KPI counts, with the local day on which (null: nobody knows).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

ZONE = "Asia/Shanghai"
MONEY = ("won_amount", "average_deal_size", "open_pipeline_amount")
QUOTIENTS = ("stage_conversion", "stage_dwell", "win_rate", "average_deal_size", "sales_cycle_days")
PLAIN = ("deals_created", "stage_entries", "won_count", "lost_count", "won_amount", "open_pipeline_amount")
KPIS = (*PLAIN, *QUOTIENTS)
OF_STAGES = ("stage_entries", "stage_conversion", "stage_dwell", "open_pipeline_amount")

_EVENT = """
CREATE TEMPORARY TABLE event AS
SELECT deal_id, version, split_part(headers::jsonb->>'ce_type', '.', 3) AS kind, convert_from(value, 'UTF8')::jsonb AS data
FROM deal_history
"""
# A correction replaces the whole course; a stay that keeps its place and stage keeps who owned the deal then.
_VISIT = """
CREATE TEMPORARY TABLE visit AS
WITH RECURSIVE course AS (
    SELECT deal_id, version, jsonb_build_array(jsonb_build_object(
               'stage', data->'deal'->'stage', 'at', data->'occurred_at', 'owner', data->'deal'->'owner')) AS stays
    FROM event WHERE version = 1
    UNION ALL
    SELECT e.deal_id, e.version, CASE e.kind
        WHEN 'moved' THEN c.stays || jsonb_build_array(jsonb_build_object(
            'stage', e.data->'deal'->'stage', 'at', e.data->'occurred_at', 'owner', e.data->'deal'->'owner',
            'passed', e.data->'passed'))
        WHEN 'course_corrected' THEN (
            SELECT jsonb_agg(jsonb_build_object(
                       'stage', told.entry->'stage', 'at', told.entry->'at', 'passed', told.entry->'passed',
                       'owner', CASE WHEN c.stays->(told.nr - 1)::int->'stage'->>'code' = told.entry->'stage'->>'code'
                                     THEN c.stays->(told.nr - 1)::int->'owner' ELSE e.data->'deal'->'owner' END)
                   ORDER BY told.nr)
            FROM jsonb_array_elements(e.data->'course') WITH ORDINALITY AS told (entry, nr))
        ELSE c.stays END
    FROM course AS c JOIN event AS e ON e.deal_id = c.deal_id AND e.version = c.version + 1
), newest AS (
    SELECT DISTINCT ON (deal_id) deal_id, stays FROM course ORDER BY deal_id, version DESC
)
SELECT deal_id, nr, nr = jsonb_array_length(stays) AS is_last, stay->'stage'->>'code' AS stage,
       stay->'stage'->>'kind' AS kind, (stay->'stage'->>'order')::int AS place, (stay->>'at')::timestamptz AS at,
       ((stay->>'at')::timestamptz AT TIME ZONE '{zone}')::date AS day, stay->>'owner' AS owner,
       CASE jsonb_typeof(stay->'passed') WHEN 'array' THEN stay->'passed' ELSE '[]' END AS passed,
       CASE stay->'stage'->>'kind' WHEN 'won' THEN 1000000 WHEN 'lost' THEN -1
                                   ELSE (stay->'stage'->>'order')::int END AS progress
FROM newest, jsonb_array_elements(stays) WITH ORDINALITY AS one (stay, nr)
"""
_DEAL = """
CREATE TEMPORARY TABLE deal_now AS
SELECT e.deal_id, state->>'process' AS process, state->>'product' AS product, state->>'source' AS source,
       state->>'currency' AS currency, (state->>'amount')::numeric AS amount, last.kind AS outcome,
       CASE WHEN last.kind = 'open' THEN state->>'owner' ELSE last.owner END AS owner,
       last.day AS closed_on, first.day AS begun_on
FROM (SELECT DISTINCT ON (deal_id) deal_id, kind, data->'deal' AS state FROM event ORDER BY deal_id, version DESC) AS e
JOIN visit AS last ON last.deal_id = e.deal_id AND last.is_last
JOIN visit AS first ON first.deal_id = e.deal_id AND first.nr = 1
WHERE e.kind <> 'deleted'
"""
_FACT = """
CREATE TEMPORARY TABLE fact AS
WITH stay AS (
    SELECT v.*, n.at AS left_at, n.day AS left_on, n.deal_id IS NULL AS lasts
    FROM visit AS v LEFT JOIN visit AS n ON n.deal_id = v.deal_id AND n.nr = v.nr + 1
), arrival AS (
    -- The first time that a deal came to an open stage, or skipped it.
    SELECT DISTINCT ON (deal_id, stage) * FROM (
        SELECT deal_id, stage, place, day, nr, nr + 1 AS behind FROM visit WHERE kind = 'open'
        UNION ALL
        SELECT deal_id, skipped->>'code', (skipped->>'order')::int, day, nr, nr
        FROM visit, jsonb_array_elements(passed) AS skipped WHERE skipped->>'kind' = 'open'
    ) AS every_time ORDER BY deal_id, stage, nr, behind
), run AS (
    -- Open stays without a closing between them are one run; `since` is the first day of it that is known.
    SELECT *, max(day) OVER (PARTITION BY deal_id, run ORDER BY nr) AS since,
           bool_or(NOT lasts AND left_on IS NULL AND next_kind <> 'open') OVER (PARTITION BY deal_id, run) AS is_vague
    FROM (SELECT s.*, lead(kind) OVER w AS next_kind, sum((kind <> 'open')::int) OVER w AS run
          FROM stay AS s WINDOW w AS (PARTITION BY deal_id ORDER BY nr)) AS s
    WHERE kind = 'open'
), standing AS (
    SELECT deal_id, stage, since AS day, 1 AS sign FROM run WHERE since IS NOT NULL AND NOT is_vague
    UNION ALL
    SELECT deal_id, stage, greatest(since, left_on), -1 FROM run WHERE since IS NOT NULL AND NOT is_vague AND NOT lasts
    UNION ALL
    SELECT deal_id, stage, NULL, 1 FROM run WHERE since IS NULL AND lasts
), counted AS (
    SELECT 'deals_created' AS kpi, deal_id, begun_on AS day, NULL AS stage, 1::numeric AS num, 1::numeric AS den,
           1 AS cases, owner FROM deal_now
    UNION ALL SELECT 'stage_entries', deal_id, v.day, v.stage, 1, 1, 1, v.owner FROM visit AS v
    UNION ALL SELECT 'stage_conversion', deal_id, a.day, a.stage,
                     EXISTS (SELECT FROM visit AS v WHERE v.deal_id = a.deal_id AND v.nr >= a.behind
                             AND v.progress > a.place)::int, 1, 1, owner
              FROM arrival AS a JOIN deal_now USING (deal_id)
    UNION ALL SELECT 'stage_dwell', deal_id, CASE WHEN at IS NOT NULL THEN left_on END, stage,
                     coalesce(greatest(floor(extract(epoch FROM left_at - at)), 0), 0), 1, 1, d.owner
              FROM stay JOIN deal_now AS d USING (deal_id) WHERE kind = 'open' AND NOT lasts
    UNION ALL SELECT 'won_count', deal_id, closed_on, NULL, 1, 1, 1, owner FROM deal_now WHERE outcome = 'won'
    UNION ALL SELECT 'lost_count', deal_id, closed_on, NULL, 1, 1, 1, owner FROM deal_now WHERE outcome = 'lost'
    UNION ALL SELECT 'win_rate', deal_id, closed_on, NULL, (outcome = 'won')::int, 1, 1, owner
              FROM deal_now WHERE outcome <> 'open'
    UNION ALL SELECT 'won_amount', deal_id, closed_on, NULL, amount, 1, 1, owner
              FROM deal_now WHERE outcome = 'won' AND amount IS NOT NULL
    UNION ALL SELECT 'average_deal_size', deal_id, closed_on, NULL, amount, 1, 1, owner
              FROM deal_now WHERE outcome = 'won' AND amount <> 0
    UNION ALL SELECT 'sales_cycle_days', deal_id, CASE WHEN begun_on IS NOT NULL THEN closed_on END, NULL,
                     coalesce(greatest(closed_on - begun_on, 0), 0), 1, 1, owner FROM deal_now WHERE outcome = 'won'
    UNION ALL SELECT 'open_pipeline_amount', deal_id, s.day, s.stage, s.sign * coalesce(amount, 0), 1, s.sign, owner
              FROM standing AS s JOIN deal_now USING (deal_id)
)
SELECT c.kpi, c.day, c.stage, c.num, c.den, c.cases, coalesce(known.id, c.owner) AS owner,
       d.process, d.product, d.source, CASE WHEN c.kpi = ANY('{money}') THEN d.currency END AS currency
FROM counted AS c JOIN deal_now AS d USING (deal_id)
LEFT JOIN jsonb_each_text('{people}') AS known (key, id) ON known.key = c.owner
WHERE NOT (c.kpi = ANY('{money}') AND d.currency IS NULL)
"""
_FUNCTIONS = """
CREATE FUNCTION pg_temp.divided(num numeric, den numeric) RETURNS numeric LANGUAGE sql AS $$
    -- The nearest integer, the even one of two equally near.
    SELECT CASE WHEN 2 * mod(num, den) > den OR (2 * mod(num, den) = den AND mod(div(num, den), 2) = 1)
                THEN div(num, den) + 1 ELSE div(num, den) END
$$;
CREATE FUNCTION pg_temp.money(minor numeric, currency text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE currency WHEN 'JPY' THEN round(minor, 0) WHEN 'KWD' THEN round(minor / 1000, 3)
                         ELSE round(minor / 100, 2) END::text
$$
"""
_ITEMS = """
WITH period AS (
    SELECT greatest(begin, $1::date) AS begin, least((begin + $4::text::interval)::date, $2::date) AS finish FROM (
        SELECT generate_series(date_trunc($3, $1::date::timestamp), $2::date - interval '1 day', $4::text::interval)::date
    ) AS every (begin)
), mine AS (
    SELECT *, ARRAY[{by}]::text[] AS by FROM fact WHERE kpi = ANY($5) AND ($6::text[] IS NULL OR owner = ANY($6))
), grouped AS (
    SELECT kpi, by, currency, sum(cases) FILTER (WHERE day IS NULL) AS undated FROM mine GROUP BY kpi, by, currency
), summed AS (
    SELECT g.kpi, g.by, g.currency, p.begin, coalesce(sum(m.num), 0) AS num, coalesce(sum(m.den), 0) AS den,
           coalesce(sum(m.cases), 0) AS cases, coalesce(g.undated, 0) AS undated
    FROM grouped AS g CROSS JOIN period AS p
    LEFT JOIN mine AS m ON m.kpi = g.kpi AND m.by = g.by AND m.currency IS NOT DISTINCT FROM g.currency
         AND m.day < p.finish AND (m.day >= p.begin OR m.kpi = 'open_pipeline_amount')
    GROUP BY g.kpi, g.by, g.currency, g.undated, p.begin
)
SELECT kpi, by, currency, begin::text,
       CASE WHEN kpi = 'average_deal_size' AND den > 0 THEN pg_temp.money(pg_temp.divided(num, den), currency)
            WHEN kpi = ANY($7) AND den > 0 THEN round(pg_temp.divided(num * 1000000, den) / 1000000, 6)::text
            WHEN kpi = ANY($7) THEN NULL
            WHEN currency IS NOT NULL THEN pg_temp.money(num, currency) ELSE num::text END,
       CASE WHEN currency IS NOT NULL THEN pg_temp.money(num, currency) ELSE num::text END,
       CASE WHEN kpi = ANY($7) THEN den::text ELSE '1' END, cases::int, undated::int
FROM summed WHERE num <> 0 OR cases <> 0 OR undated <> 0
"""

# What PostgreSQL calls a grain, and its length; all the time there is stands in one millennium.
STEPS = {
    "day": ("day", "1 day"),
    "week": ("week", "7 days"),
    "month": ("month", "1 month"),
    "quarter": ("quarter", "3 months"),
    "year": ("year", "1 year"),
    "total": ("millennium", "1000 years"),
}
Item = tuple[Any, ...]
"""kpi, breakdown, currency, first day of the period."""
Number = tuple[Any, ...]
"""value, numerator, denominator, sample size, undated."""


async def prepare(connection: Any, people: Mapping[str, str]) -> None:
    """Make the temporary tables; `people` says by owner key who is meant."""
    quoted = "{" + ",".join(MONEY) + "}"
    names = "{" + ",".join(f'"{key}": "{person}"' for key, person in people.items()) + "}"
    for name in ("event", "visit", "deal_now", "fact"):
        await connection.execute(f"DROP TABLE IF EXISTS pg_temp.{name}")
    await connection.execute("DROP FUNCTION IF EXISTS pg_temp.divided; DROP FUNCTION IF EXISTS pg_temp.money")
    await connection.execute(_FUNCTIONS)
    await connection.execute(_EVENT)
    await connection.execute(_VISIT.format(zone=ZONE))
    await connection.execute(_DEAL)
    await connection.execute(_FACT.format(money=quoted, people=names))


async def recomputed(
    connection: Any,
    kpis: Sequence[str],
    owners: Sequence[str] | None,
    grain: str,
    days: tuple[date, date],
    by: Sequence[str],
) -> dict[Item, Number]:
    """Return what the history says: every item that counts anything."""
    rows = await connection.fetch(
        _ITEMS.format(by=", ".join(by)), *days, *STEPS[grain], list(kpis), owners, list(QUOTIENTS)
    )
    return {(row[0], tuple(row[1]), row[2], row[3]): tuple(row)[4:] for row in rows}
