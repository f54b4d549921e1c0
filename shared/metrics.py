"""Every Prometheus metric of the system, in one place so that a name means one thing.

They live in the process-wide registry and carry the service as a label, since four services may share one process.
Labels never hold ids: routes are templates, topics and codes are few.
"""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)

HTTP_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Time from a request's first byte to its answer's last, by route template.",
    ["service", "method", "route", "status"],
    buckets=_FAST,
)
SSE_CLIENTS = Gauge("sse_clients", "Open event streams.", ["service", "feed"])
DB_POOL_IN_USE = Gauge("db_pool_in_use", "Connections taken from the pool.", ["service"])

OUTBOX_PENDING = Gauge("outbox_pending", "Outbox rows not yet acknowledged by the bus.", ["service"])
OUTBOX_OLDEST_AGE = Gauge("outbox_oldest_age_seconds", "Age of the oldest outbox row.", ["service"])
OUTBOX_PUBLISHED = Counter("outbox_published_total", "Messages acknowledged by the bus.", ["service"])

CONSUMER_LAG = Gauge("consumer_lag_records", "Records behind the end of a partition.", ["group", "topic", "partition"])
CONSUMER_PARKED = Gauge("consumer_parked_streams", "Streams behind a gap or a dead letter.", ["group"])
EVENTS_CONSUMED = Counter("events_consumed_total", "Events by what became of them.", ["group", "type", "result"])
INBOX_DUPLICATES = Counter("inbox_duplicates_total", "Events that had been applied before.", ["group"])
DEAD_LETTERS = Counter("dlq_total", "Events put aside as dead letters.", ["group"])
END_TO_END = Histogram(
    "event_end_to_end_seconds", "Time from recording an event to applying it.", ["group", "type"], buckets=_SLOW
)

NOTIFICATIONS = Counter("notification_send_total", "Deliveries by channel kind and result.", ["channel", "result"])
JOB_LAST_SUCCESS = Gauge(
    "scheduler_last_success_timestamp", "When a job last succeeded, seconds since the epoch.", ["service", "job"]
)

GATEWAY_REPLICAS = Gauge("gateway_ready_replicas", "Replicas that say they are ready.", ["service"])
GATEWAY_RETRIES = Counter("gateway_retries_total", "Requests that went on to another replica.", ["service"])

EXPOSITION_TYPE = CONTENT_TYPE_LATEST


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest()
