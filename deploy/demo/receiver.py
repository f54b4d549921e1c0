"""A webhook receiver in a process of its own, as a customer would write one: it checks the signature of what it gets."""

import argparse
import time
from typing import Any

import uvicorn
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def build(secret: str) -> Starlette:
    """Return the receiver: POST /alerts takes a signed alert, GET /alerts lists what came, in order."""
    webhook = Webhook(secret)
    received: list[dict[str, Any]] = []

    async def take(request: Request) -> Response:
        arrived = time.time_ns()
        body = await request.body()
        try:
            alert = webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            return JSONResponse({"error": "bad signature"}, status_code=401)
        received.append({"webhook_id": request.headers["webhook-id"], "arrived_ns": arrived, "alert": alert})
        return Response(status_code=204)

    async def show(request: Request) -> Response:
        behind = int(request.query_params.get("behind", "0"))
        return JSONResponse(received[behind:])

    return Starlette(routes=[Route("/alerts", take, methods=["POST"]), Route("/alerts", show, methods=["GET"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret", required=True)
    arguments = parser.parse_args()
    uvicorn.run(build(arguments.secret), host=arguments.host, port=arguments.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
