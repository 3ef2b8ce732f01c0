"""The catalogue of providers that people look for: providers.json, each entry with the page it is from and the day."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from pydantic import Field

from dizuo.core.messages import Noun
from dizuo.platform.catalogue import Language


class Preset(Noun):
    """One provider of the catalogue. Texts are in both languages, under "en" and "zh"."""

    id: str
    name: Mapping[Language, str]
    base_url: str
    local: bool  # a server of one's own
    key_variable: str  # the environment variable that usually holds its key; "" where it needs none
    key_page: str  # where a key is made
    docs: str  # the page that this was read from
    dated: str  # and the day
    without: Sequence[str]  # parameters that it refuses or passes over: NAME, or NAME=VALUE
    differs: Mapping[Language, str] | None  # what else is not as with others
    renames: Mapping[str, str] = Field(default_factory=dict)  # parameters that have another name there
    lists_models: bool = True
    models_headers: Mapping[str, str] = Field(default_factory=dict)  # for its list of models, in place of the usual

    @property
    def needs_key(self) -> bool:
        return not self.local


@cache
def presets() -> Mapping[str, Preset]:
    """The catalogue by id, in its order."""
    raw = json.loads(files("dizuo.gateway").joinpath("providers.json").read_text("utf-8"))
    return {one["id"]: Preset(**one) for one in raw["providers"]}
