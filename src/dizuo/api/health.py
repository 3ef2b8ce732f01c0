"""/healthz, /readyz and /metrics, for whoever looks after the server."""

import ipaddress
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from dizuo.api.auth import StrictRoute, TheHouse, authenticate
from dizuo.api.errors import ERROR_RESPONSES, ErrorBody
from dizuo.core.errors import NotSignedIn
from dizuo.platform import telemetry

routes = APIRouter(tags=["health"], route_class=StrictRoute, responses={500: ERROR_RESPONSES[500]})


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`missing` says in a word each what is not there yet: database, worker, embedder."""

    ready: bool
    missing: list[str]


@routes.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health()


@routes.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready yet"}})
def readyz(request: Request, house: TheHouse) -> Readiness:
    """The server can do all its work: the database answers, a worker takes jobs, the embedder is loaded."""
    missing = request.app.state.missing()
    ready = Readiness(ready=not missing, missing=missing)
    return ready if ready.ready else JSONResponse(ready.model_dump(), status_code=503)  # pyright: ignore[reportReturnType]


@routes.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        401: {"model": ErrorBody, "description": "Neither from this machine nor with a key"},
    },
)
def metrics(request: Request) -> Response:
    """Counters in the Prometheus text format. From this machine, or with a key."""
    if not _from_here(request):
        try:
            authenticate(request)
        except NotSignedIn:
            raise NotSignedIn("Metrics are for this machine, or for a key: 'Authorization: Bearer KEY'.") from None
    return Response(telemetry.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _from_here(request: Request) -> bool:
    try:
        return ipaddress.ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        return False
