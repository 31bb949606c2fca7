"""Which model answers a request: by its name, or by a share of another's requests (a canary)."""

from collections.abc import Mapping

from doctor_sun.errors import InputError
from doctor_sun.records import sha256
from doctor_sun.serving.guard.refusal import Refusal


class Models:
    """The names of an endpoint.

    Args:
        main: the model that answers where a request names none.
        variants: further models behind the endpoint.
        canary: shares of the main model's requests that variants answer, by their names.

    Raises:
        InputError: a share is of no variant, negative, or all together over 1.
    """

    def __init__(self, main: str, variants: list[str], canary: Mapping[str, float]) -> None:
        for name, share in canary.items():
            if name not in variants or share < 0:
                raise InputError(f"canary.{name}: a share from 0 to 1, of one of the variants")
        if sum(canary.values()) > 1:
            raise InputError("canary: the shares are more than all requests")
        self.main, self.names, self.canary = main, [main, *variants], dict(canary)

    def chosen(self, name: str | None, conversation: str) -> str:
        """The model that answers.

        Args:
            name: as the request has it.
            conversation: what stays the same through a conversation, so that one model answers
                all of it: its first message.

        Raises:
            Refusal: there is no such model.
        """
        if name not in (None, self.main):
            return self.chosen_exactly(str(name))
        place = int(sha256(conversation)[:13], 16) / 16**13
        for variant, share in self.canary.items():
            if place < share:
                return variant
            place -= share
        return self.main

    def chosen_exactly(self, name: str) -> str:
        """The name of a model that is there.

        Raises:
            Refusal: there is no such model.
        """
        if name not in self.names:
            known = ", ".join(self.names)
            raise Refusal(404, "model_not_found", f"no such model; there are: {known}")
        return name
