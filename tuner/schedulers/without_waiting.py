"""What schedulers share in which no trial ever waits."""


class WithoutWaiting:
    """Ends and free workers mean nothing to them: what a trial reported keeps counting, and nobody is promoted."""

    def end(self, number: int) -> None:
        """Nothing."""

    def promote(self) -> int | None:
        """Nobody ever waits."""
        return None
