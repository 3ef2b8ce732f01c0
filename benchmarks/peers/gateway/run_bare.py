"""The least that a gateway in FastAPI and httpx can be: `run_bare.py PORT STUB_PORT` passes bytes on, and no more."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

PORT, STUB_PORT = int(sys.argv[1]), int(sys.argv[2])
STUB = f"http://127.0.0.1:{STUB_PORT}/v1/chat/completions"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # As many connections as there are requests: httpx would let the rest of 200 wait for the first 100.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/chat/completions")
async def complete(request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    headers = {"content-type": "application/json"}
    asked = client.build_request("POST", STUB, content=await request.body(), headers=headers)
    answer = await client.send(asked, stream=True)
    kept = {name: answer.headers[name] for name in ("content-type", "content-length") if name in answer.headers}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
