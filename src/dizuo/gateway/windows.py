"""How much came in the last minute, to the second, in a fixed little room."""

SECONDS = 60


class Window:
    """A count for each of the last sixty seconds. Times are whole seconds of one clock, never going back."""

    __slots__ = ("_counts", "_last", "_second", "sum")

    def __init__(self, second: int) -> None:
        self._counts = [0] * SECONDS
        self._second = self._last = second
        self.sum = 0

    def at(self, second: int) -> int:
        """What came in the minute that ends with that second."""
        passed = second - self._second
        if passed > 0:
            if passed >= SECONDS:
                self._counts = [0] * SECONDS
                self.sum = 0
            else:
                for one in range(self._second + 1, second + 1):
                    self.sum -= self._counts[one % SECONDS]
                    self._counts[one % SECONDS] = 0
            self._second = second
        return self.sum

    def add(self, second: int, count: int) -> None:
        """Counts something that comes in that second."""
        self.at(second)
        self._counts[self._second % SECONDS] += count
        self.sum += count
        self._last = self._second

    def empty_in(self) -> int:
        """Seconds until all of it lies more than a minute back."""
        return max(0, self._last + SECONDS - self._second) if self.sum else 0

    def free_in(self, over: int) -> int:
        """Seconds until at least `over` of it lies more than a minute back."""
        gone = 0
        for step in range(1, SECONDS + 1):
            gone += self._counts[(self._second + step) % SECONDS]
            if gone >= over:
                return step
        return SECONDS
