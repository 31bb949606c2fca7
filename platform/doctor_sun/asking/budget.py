"""A cap on tokens and money that no number of actors oversteps."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any

import ray

from doctor_sun.asking.chat_client import Answer

LUMP = 16  # requests' worth that an actor draws at a time, while there is plenty


@dataclass(kw_only=True)
class BudgetConfig:
    """What answers cost, and how much all answers in the folder of answers may cost together."""

    price_prompt: float = 0.0
    """Price of a million prompt tokens."""

    price_completion: float = 0.0
    """Price of a million answer tokens."""

    currency: str = "CNY"
    """Of the prices."""

    most_money: float | None = None
    """Stop before more than this is spent; none sets no cap."""

    most_tokens: int | None = None
    """Stop before more tokens than this are used, prompts and answers; none sets no cap."""


@dataclass(frozen=True)
class Cost:
    """Tokens and their price."""

    tokens: float
    money: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens - other.tokens, self.money - other.money)

    def times(self, factor: float) -> "Cost":
        """This cost so many times."""
        return Cost(factor * self.tokens, factor * self.money)

    def covers(self, other: "Cost") -> bool:
        """Whether it is at least as much in both."""
        return self.tokens >= other.tokens and self.money >= other.money


def cost(prompt_tokens: float, completion_tokens: float, config: BudgetConfig) -> Cost:
    """What so many tokens cost."""
    money = prompt_tokens * config.price_prompt + completion_tokens * config.price_completion
    return Cost(prompt_tokens + completion_tokens, money / 1e6)


def open_purse(config: BudgetConfig, spent: Cost) -> Any:
    """The actor that holds what is left of the budget; None when there is no cap."""
    if config.most_money is None and config.most_tokens is None:
        return None
    most = Cost(
        math.inf if config.most_tokens is None else config.most_tokens,
        math.inf if config.most_money is None else config.most_money,
    )
    return ray.remote(num_cpus=0)(Purse).remote(most - spent)


class Purse:
    """What is left for everybody."""

    def __init__(self, left: Cost) -> None:
        self.left = left

    def draw(self, need: Cost) -> Cost | None:
        """Enough for one request, a lump while there is plenty, None when it is not enough."""
        for amount in (need.times(LUMP), need):
            plenty = self.left if amount is need else self.left.times(1 / 8)
            if plenty.covers(amount):
                self.left -= amount
                return amount
        return None

    def give_back(self, rest: Cost) -> None:
        """Take what an actor did not need."""
        self.left += rest


class Allowance:
    """One actor's draw on the purse. A request is covered at its dearest before it is sent."""

    def __init__(self, purse: Any, config: BudgetConfig) -> None:
        self.purse, self.config = purse, config
        self.left = Cost(0.0, 0.0)
        self.open = 0
        self.changed = asyncio.Event()

    async def take(self, most: Cost) -> bool:
        """Cover one request; False when the budget has no room for it."""
        while self.purse is not None and not self.left.covers(most):
            drawn = await asyncio.wrap_future(self.purse.draw.remote(most).future())
            if drawn is not None:
                self.left += drawn
            elif self.open:  # an answer that cost less than covered makes room
                self.changed.clear()
                await self.changed.wait()
            else:
                return False
        if self.purse is not None:
            self.left -= most
            self.open += 1
        return True

    def settle(self, most: Cost, answer: Answer | None) -> None:
        """Take back what a request did not need."""
        if self.purse is None:
            return
        tokens = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
        self.left += most - cost(*tokens, self.config)
        self.open -= 1
        self.changed.set()

    async def close(self) -> None:
        """Give the rest back."""
        rest, self.left = self.left, Cost(0.0, 0.0)
        if self.purse is not None:
            await asyncio.wrap_future(self.purse.give_back.remote(rest).future())
