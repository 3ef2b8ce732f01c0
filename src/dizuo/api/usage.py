"""/api/usage: what the calls of models took. Members see their own, the owner everyone's."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.gateway.usage import MOST_DAYS, By, UsageReport
from dizuo.platform.identity import User

routes: APIRouter = router("/api", "usage")

_By = Annotated[By, Query(description="what the sums are by")]
_Days = Annotated[int, Query(ge=1, le=MOST_DAYS, description="how many days, today included; days are those of UTC")]


@routes.get("/usage")
def usage(house: TheHouse, user: TheUser, by: _By = "model", days: _Days = 30) -> UsageReport:
    """Calls, tokens, money by currency and processor time, by model, user, key, app or day."""
    return house.usage.report(by, days, _whose(user))


@routes.get("/usage.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def usage_table(house: TheHouse, user: TheUser, by: _By = "model", days: _Days = 30) -> Response:
    """The same as a table for a spreadsheet."""
    headers = {"Content-Disposition": f'attachment; filename="dizuo-usage-{by}.csv"'}
    # The mark at the beginning tells spreadsheets that it is UTF-8.
    table = "\ufeff" + house.usage.csv(by, days, _whose(user))
    return Response(table, media_type="text/csv; charset=utf-8", headers=headers)


def _whose(user: User) -> int | None:
    return None if user.role == "owner" else user.id
