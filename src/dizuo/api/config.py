"""/api/config: the settings of this instance. For the owner alone."""

from fastapi import Request
from pydantic import BaseModel

from dizuo import __version__
from dizuo.api.auth import TheHouse, TheOwner, router
from dizuo.platform.settings import ShownSetting, shown

routes = router("/api/config", "config")


class Config(BaseModel):
    version: str
    home: str
    settings: list[ShownSetting]


@routes.get("")
def show_config(request: Request, house: TheHouse, owner: TheOwner) -> Config:
    """Every setting, its value and where that came from. Keys and passwords are masked."""
    settings = shown(house.settings, house.setting_sources)
    return Config(version=__version__, home=str(house.settings.home), settings=settings)
