"""What a search may spend."""

from pydantic import Field, model_validator

from data.config import Config


class Plateau(Config):
    """When further trials are not worth their cost."""

    trials: int = Field(default=20, ge=2)  # in a row that bring less than min_gain, as ended and as expected
    min_gain: float = Field(default=0.001, ge=0)  # of the first objective


class Budget(Config):
    """What the search may spend; whichever is spent first ends it."""

    trials: int = Field(ge=1)  # in total, the default configuration included, repeats apart
    epochs: int = Field(ge=1)  # of a trial that is not stopped
    total_epochs: int | None = Field(default=None, ge=1)  # of all trials together
    hours: float | None = Field(default=None, gt=0)  # on the clock, over all sessions of the search
    gpu_hours: float | None = Field(default=None, gt=0)  # a trial's share of a GPU times its hours on a worker
    money: float | None = Field(default=None, gt=0)  # in the currency of the prices
    prices: dict[str, float] = Field(default_factory=dict)  # of a node's hour, by node type or `default`
    plateau: Plateau | None = None
    same_failures: int = Field(default=3, ge=2)  # trials in a row that fail with one error end the search

    @model_validator(mode="after")
    def _prices_belong_to_money(self) -> "Budget":
        if self.money is not None and not self.prices:
            raise ValueError("money needs prices: the cost of a node's hour by node type, as in {default: 3.06}")
        if self.prices and self.money is None:
            raise ValueError("prices are only read with money; set it, or remove them")
        for node, price in self.prices.items():
            if price < 0:
                raise ValueError(f"prices.{node}={price} must not be negative")
        return self


class Repeat(Config):
    """Finalists trained again with other seeds, at the full budget, so that noise does not choose the winner."""

    top: int = Field(default=3, ge=1)  # of the trials with the whole budget
    seeds: int = Field(default=3, ge=1)  # further trainings of each
