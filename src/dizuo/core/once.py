"""A property that is computed once, whichever thread comes first."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class once(cached_property[T]):  # as a decorator is written
    """`functools.cached_property` with the lock that it lost in Python 3.12.

    Without one, two threads that come first each compute the value, and go on with different ones. The lock is one for
    all instances of the class, and held while the value is computed: for what is made quickly and loads later.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        super().__init__(compute)
        self._computing = threading.RLock()

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        with self._computing:
            return super().__get__(instance, owner)
