"""A cap on tokens and money that no number of actors oversteps."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import ray

from doctor_sun.asking.chat_client import Answer

ASK_AGAIN = 0.2  # seconds


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

    def covers(self, other: "Cost") -> bool:
        """Whether it is at least as much in both."""
        return self.tokens >= other.tokens and self.money >= other.money


def cost(prompt_tokens: float, completion_tokens: float, config: BudgetConfig) -> Cost:
    """What so many tokens cost."""
    money = prompt_tokens * config.price_prompt + completion_tokens * config.price_completion
    return Cost(prompt_tokens + completion_tokens, money / 1e6)


def open_purse(config: BudgetConfig, spent: Cost, patience: float) -> Any:
    """The actor that holds what is left of the budget; None when there is no cap.

    Args:
        config: the cap.
        spent: what the answers of earlier runs cost.
        patience: seconds without an answer after which none of those under way is waited for.
    """
    if config.most_money is None and config.most_tokens is None:
        return None
    most = Cost(
        math.inf if config.most_tokens is None else config.most_tokens,
        math.inf if config.most_money is None else config.most_money,
    )
    return ray.remote(num_cpus=0)(Purse).remote(most - spent, patience)


class Purse:
    """What is left for everybody, less what the requests under way cost at their dearest."""

    def __init__(self, left: Cost, patience: float) -> None:
        self.left, self.patience = left, patience
        self.under_way = 0
        self.changed = time.monotonic()

    def draw(self, most: Cost) -> bool | None:
        """Cover a request: whether there is room; None while answers under way may make some."""
        if self.left.covers(most):
            self.left -= most
            self.under_way += 1
            self.changed = time.monotonic()
            return True
        # One that died with its actor never comes back; it may have been paid, and stays covered.
        waiting = self.under_way and time.monotonic() - self.changed < self.patience
        return None if waiting else False

    def settle(self, rest: Cost) -> None:
        """Take back what a request did not need."""
        self.left += rest
        self.under_way -= 1
        self.changed = time.monotonic()


class Allowance:
    """An actor's access to the purse. A request is covered at its dearest before it is sent."""

    def __init__(self, purse: Any, config: BudgetConfig) -> None:
        self.purse, self.config = purse, config

    async def take(self, most: Cost) -> bool:
        """Cover one request; False when the budget has no room for it."""
        while self.purse is not None:
            covered = await asyncio.wrap_future(self.purse.draw.remote(most).future())
            if covered is not None:
                return bool(covered)
            await asyncio.sleep(ASK_AGAIN)
        return True

    def settle(self, most: Cost, answer: Answer | None) -> None:
        """Give back what a request did not need."""
        if self.purse is not None:
            tokens = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
            self.purse.settle.remote(most - cost(*tokens, self.config))
