"""/v1/rerank: documents in the order in which they fit a query. The shape that Jina, Cohere and vLLM share.

https://api.jina.ai/redoc#tag/rerank
"""

from typing import Annotated, Any, ClassVar

from fastapi import Request
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, router
from dizuo.api.replies import WISHES
from dizuo.api.requests import RequestBody, Text, Words
from dizuo.api.work import in_thread
from dizuo.core.errors import TooLarge
from dizuo.core.ids import random_hex
from dizuo.core.messages import Usage
from dizuo.gateway.estimate import texts_tokens
from dizuo.wiring import House

routes = router("/v1", "OpenAI protocol")

MAX_DOCUMENTS = 1000


class RerankDocument(RequestBody):
    text: Text


class RerankRequest(RequestBody):
    model: Text = Field(description="a local model of the kind rerank: `local/NAME`")
    query: Words
    documents: Annotated[list[Text | RerankDocument], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1)] | None = Field(None, description="how many of the best to return; else all")
    return_documents: bool = Field(True, description="false: their numbers and scores only")

    unsupported: ClassVar[frozenset[str]] = frozenset({"max_chunks_per_doc", "max_tokens_per_doc", "rank_fields"})

    def texts(self) -> list[str]:
        return [one if isinstance(one, str) else one.text for one in self.documents]


class RerankResult(BaseModel):
    index: int = Field(description="which of the documents sent")
    relevance_score: float = Field(description="0 to 1; larger fits better")
    document: dict[str, str] | None = None


class RerankUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class RerankAnswer(BaseModel):
    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage


@routes.post("/rerank", response_model=RerankAnswer, response_model_exclude_none=True, dependencies=WISHES)
async def rerank(asked: RerankRequest, request: Request, house: TheHouse) -> Any:
    """The documents by how well they fit the query, the best first; each is read together with the query."""
    if len(asked.documents) > MAX_DOCUMENTS:
        raise TooLarge(
            "{n} documents were sent; a request takes {limit}. Send several, and put the results in order by score.",
            n=len(asked.documents),
            limit=MAX_DOCUMENTS,
            param="documents",
        )
    return await in_thread(request, lambda: _ranked(asked, house))


def _ranked(asked: RerankRequest, house: House) -> RerankAnswer:
    texts = asked.texts()
    with house.gateway.call("rerank", asked.model, texts_tokens([asked.query, *texts])) as call:
        reranker = house.models.reranker(asked.model)
        scores = reranker.score(asked.query, texts)
        tokens = reranker.count_tokens(asked.query) + sum(map(reranker.count_tokens, texts))
        call.usage = Usage(prompt_tokens=tokens)
    order = sorted(range(len(texts)), key=lambda i: -scores[i])[: asked.top_n]
    results = [
        RerankResult(
            index=i,
            relevance_score=scores[i],
            document={"text": texts[i]} if asked.return_documents else None,
        )
        for i in order
    ]
    usage = RerankUsage(prompt_tokens=tokens, total_tokens=tokens)
    return RerankAnswer(id=f"rerank-{random_hex(12)}", model=asked.model, results=results, usage=usage)
