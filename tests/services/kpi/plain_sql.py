"""The built-in KPIs once more, in plain SQL over a history of events: knows nothing of the service.

Rows: kpi, owner (null: nobody), local day (null: undated), process, stage, product, source, currency, num, den, n.
"""

HISTORY = """
    CREATE TEMPORARY TABLE history (
        stream text, version int, kind text, occurred_at timestamptz, deal jsonb, course jsonb, passed jsonb)
"""

RECOMPUTED = """
WITH latest AS (
    SELECT DISTINCT ON (stream) stream, deal FROM history ORDER BY stream, version DESC
), living AS (
    SELECT stream, deal->>'process' AS process, coalesce(deal->>'product', '') AS product,
           coalesce(deal->>'source', '') AS source, deal->>'owner' AS owner,
           (deal->>'amount')::bigint AS amount, coalesce(deal->>'currency', '') AS currency
    FROM latest WHERE deal->>'status' <> 'deleted'
), corrected AS (
    SELECT stream, max(version) AS version FROM history WHERE kind LIKE '%course_corrected%' GROUP BY stream
), told AS (
    -- The last correction replaces everything before it; what came later continues it.
    SELECT h.stream, h.version * 100 + entry.ord AS place, entry.value->'stage' AS stage,
           (entry.value->>'at')::timestamptz AS at, h.deal->>'owner' AS owner,
           coalesce(entry.value->'passed', '[]') AS passed
    FROM history AS h JOIN corrected USING (stream, version),
         jsonb_array_elements(h.course) WITH ORDINALITY AS entry (value, ord)
    UNION ALL
    SELECT h.stream, h.version * 100, h.deal->'stage', h.occurred_at, h.deal->>'owner', coalesce(h.passed, '[]')
    FROM history AS h LEFT JOIN corrected AS c USING (stream)
    WHERE (h.kind LIKE '%created%' OR h.kind LIKE '%moved%') AND h.version > coalesce(c.version, 0)
), visit AS (
    SELECT stream, row_number() OVER w AS nr, count(*) OVER (PARTITION BY stream) AS visits,
           stage->>'code' AS stage, stage->>'kind' AS kind, (stage->>'order')::int AS ord, at,
           (at AT TIME ZONE 'Asia/Shanghai')::date AS day, owner AS owner_then, passed,
           CASE stage->>'kind' WHEN 'won' THEN 1000 WHEN 'lost' THEN -1 ELSE (stage->>'order')::int END AS rank
    FROM told WINDOW w AS (PARTITION BY stream ORDER BY place)
), last AS (
    SELECT * FROM visit WHERE nr = visits
), first AS (
    SELECT * FROM visit WHERE nr = 1
), deal AS (
    SELECT l.*, CASE WHEN last.kind = 'open' THEN l.owner ELSE last.owner_then END AS credited,
           last.kind AS outcome, last.day AS closed_on, last.nr AS last_nr, first.day AS created_on
    FROM living AS l JOIN last USING (stream) JOIN first USING (stream)
), entry AS (
    -- First entries, with those implied by a forward move before the move that implies them.
    SELECT DISTINCT ON (stream, stage) stream, stage, kind, ord, nr, is_actual, day FROM (
        SELECT stream, stage, kind, ord, nr, 1 AS is_actual, day FROM visit
        UNION ALL
        SELECT v.stream, p.value->>'code', 'open', (p.value->>'order')::int, v.nr, 0, v.day
        FROM visit AS v, jsonb_array_elements(v.passed) AS p (value) WHERE p.value->>'kind' = 'open'
    ) AS all_entries ORDER BY stream, stage, nr, is_actual
), reached AS (
    SELECT e.*, EXISTS (SELECT FROM visit AS v WHERE v.stream = e.stream AND v.nr >= e.nr + e.is_actual
                        AND v.rank > e.ord) AS went_on
    FROM entry AS e
), stay AS (
    SELECT v.*, n.day AS left_on, greatest(floor(extract(epoch FROM n.at - v.at)), 0)::bigint AS seconds
    FROM visit AS v JOIN visit AS n ON n.stream = v.stream AND n.nr = v.nr + 1 WHERE v.kind = 'open'
), run AS (
    -- Runs of neighbouring open visits: between two closings.
    SELECT v.*, (SELECT count(*) FROM visit AS c WHERE c.stream = v.stream AND c.nr < v.nr AND c.kind <> 'open') AS run
    FROM visit AS v WHERE v.kind = 'open'
), bounded AS (
    SELECT r.*, max(nr) OVER p AS last_of_run,
           max(day) OVER (PARTITION BY stream, run ORDER BY nr) AS known_day
    FROM run AS r WINDOW p AS (PARTITION BY stream, run)
), standing AS (
    SELECT b.*, after.stream IS NULL AS is_last, after.day AS next_day, closing.stream IS NOT NULL AS has_closing,
           closing.day AS closing_day
    FROM bounded AS b
    LEFT JOIN visit AS after ON after.stream = b.stream AND after.nr = b.nr + 1
    LEFT JOIN visit AS closing ON closing.stream = b.stream AND closing.nr = b.last_of_run + 1
), opening AS (
    SELECT stream, stage, known_day AS day, 1 AS sign FROM standing
    WHERE known_day IS NOT NULL AND (NOT has_closing OR closing_day IS NOT NULL)
    UNION ALL
    SELECT stream, stage, greatest(known_day, next_day), -1 FROM standing
    WHERE known_day IS NOT NULL AND NOT is_last AND (NOT has_closing OR closing_day IS NOT NULL)
    UNION ALL
    SELECT stream, stage, NULL, 1 FROM standing WHERE is_last AND known_day IS NULL
), fact AS (
    SELECT 'deals_created' AS kpi, credited AS owner, created_on AS day, stream, '' AS stage, '' AS currency,
           0::bigint AS num, 0::bigint AS den, 1::bigint AS n FROM deal
    UNION ALL SELECT 'stage_entries', v.owner_then, v.day, stream, v.stage, '', 0, 0, 1 FROM visit AS v
    UNION ALL SELECT 'stage_conversion', credited, r.day, stream, r.stage, '',
                     (r.went_on AND r.kind = 'open')::int, (r.kind = 'open')::int, 1
              FROM reached AS r JOIN deal USING (stream)
    UNION ALL SELECT 'stage_dwell', credited, CASE WHEN at IS NOT NULL THEN left_on END, stream, s.stage, '',
                     CASE WHEN at IS NOT NULL AND left_on IS NOT NULL THEN seconds ELSE 0 END, 1, 1
              FROM stay AS s JOIN deal USING (stream)
    UNION ALL SELECT 'win_rate', credited, closed_on, stream, '', '', (outcome = 'won')::int, 1, 1
              FROM deal WHERE outcome <> 'open'
    UNION ALL SELECT 'won_amount', credited, closed_on, stream, '', currency, amount, (amount <> 0)::int, 1
              FROM deal WHERE outcome = 'won' AND amount IS NOT NULL
    UNION ALL SELECT 'sales_cycle_days', credited, CASE WHEN created_on IS NOT NULL THEN closed_on END, stream, '', '',
                     coalesce(greatest(closed_on - created_on, 0), 0), 1, 1 FROM deal WHERE outcome = 'won'
    UNION ALL SELECT 'open_pipeline_amount', credited, o.day, stream, o.stage, currency, o.sign * coalesce(amount, 0),
                     NULL, o.sign FROM opening AS o JOIN deal USING (stream)
)
SELECT kpi, {owner}, f.day, d.process, f.stage, d.product, d.source, f.currency,
       sum(f.num)::bigint AS num, sum(f.den)::bigint AS den, sum(f.n)::bigint AS n
FROM fact AS f JOIN deal AS d USING (stream)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
HAVING sum(f.num) <> 0 OR sum(f.den) <> 0 OR sum(f.n) <> 0
"""
