"""Errors tell the next step, in English by themselves, and survive a process border."""

import pickle

from dizuo.core.errors import DizuoError, NotFound, UserError


def test_an_error_reads_as_english_without_a_catalogue() -> None:
    error = NotFound("No knowledge base is named {name!r}. There are: {names}.", name="x", names="a, b")
    assert str(error) == "No knowledge base is named 'x'. There are: a, b."
    assert (error.status, error.code) == (404, "not_found")


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(NotFound("No {thing}.", thing="{brace}")))
    assert type(error) is NotFound
    assert (str(error), error.params) == ("No {brace}.", {"thing": "{brace}"})


def test_every_user_error_is_a_4xx_or_503_and_has_a_code_of_its_own() -> None:
    def family(kind: type[DizuoError]) -> list[type[DizuoError]]:
        return [kind, *(inner for child in kind.__subclasses__() for inner in family(child))]

    kinds = family(UserError)
    assert all(400 <= kind.status < 500 or kind.status == 503 for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)
