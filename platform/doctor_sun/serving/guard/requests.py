"""What a request may hold: every parameter by name, type and range; all others are refused.

The models are stricter than the engine's own: vLLM also takes chat templates, prompt embeddings and
processor arguments from a client, and a number that is none. Patients' names come in `user` and
`name`; both are taken and dropped.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from doctor_sun.serving.guard.refusal import Refusal

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
INT64 = 2**63
ASKING = ("system", "developer", "user")  # roles whose texts the client writes
MOST_TOKENS = 1_000_000  # the model itself takes fewer
Asked = TypeVar("Asked", bound=BaseModel)
SAID = {  # pydantic's errors whose messages hold limits and types only
    "missing",
    "literal_error",
    "finite_number",
    "less_than",
    "less_than_equal",
    "greater_than",
    "greater_than_equal",
    "too_long",
    "too_short",
    "string_too_long",
    "string_too_short",
    *(f"{kind}_type" for kind in ("string", "int", "float", "bool", "list", "dict", "model")),
    "value_error",
}


@dataclass(kw_only=True)
class RequestConfig:
    """What one request may ask for."""

    max_messages: int = 200
    """Messages of a conversation."""

    max_text_bytes: int | None = None
    """Bytes of text in a request; none takes 8 for each token of the model's length."""

    max_answers: int = 4
    """Answers to one request (`n`), and prompts in one completion request."""

    max_stops: int = 8
    """Strings that end an answer (`stop`)."""

    max_schema_nodes: int = 300
    """Values in the JSON schema of a `response_format`; it nests 12 deep at most."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class JsonSchema(_Strict):
    """`response_format.json_schema`."""

    name: str = Field(max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = Field(default=None, max_length=2000)
    strict: bool | None = None


class ResponseFormat(_Strict):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, and must be there")
        return self


class DicomView(_Strict):
    """Which frame of a DICOM file is shown, and in which window."""

    class Window(_Strict):
        """Centre and width, in the units of the file (Hounsfield units in CT)."""

        center: float
        width: float = Field(gt=0)

    frame: int = Field(default=0, ge=0)
    window: Window | None = None


class ImageUrl(_Strict):
    """`image_url`."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class TextPart(_Strict):
    """A text in a message."""

    type: Literal["text"]
    text: str


class ImagePart(_Strict):
    """A picture in a message; `dicom` is this endpoint's own."""

    type: Literal["image_url"]
    image_url: ImageUrl
    dicom: DicomView | None = None


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """One message; what a client sends back of an earlier answer beside its text is dropped."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    @model_validator(mode="after")
    def _pictures_are_the_users(self) -> "Message":
        if self.role != "user" and any(isinstance(part, ImagePart) for part in self.parts()):
            raise ValueError("only a message of the user may hold pictures")
        if self.role != "assistant" and self.content is None:
            raise ValueError("content is required")
        return self

    def parts(self) -> Sequence[TextPart | ImagePart]:
        """The content as parts."""
        if isinstance(self.content, list):
            return self.content
        return [TextPart(type="text", text=self.content or "")]


class Sampling(_Strict):
    """What both routes take."""

    model: str | None = Field(default=None, max_length=200)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=1000)
    min_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-INT64, lt=INT64)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, max_length=300
    )
    min_tokens: int | None = Field(default=None, ge=0, le=MOST_TOKENS)
    ignore_eos: bool | None = None
    response_format: ResponseFormat | None = None
    user: str | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _together(self) -> "Sampling":
        if self.stream_options and not self.stream:
            raise ValueError("stream_options needs stream")
        if self.temperature == 0 and (self.n or 1) > 1:
            raise ValueError("n over 1 needs a temperature over 0: they would be the same answer")
        return self


class ChatRequest(Sampling):
    """The body of `/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    store: Literal[False] | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _top_needs_logprobs(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs")
        return self

    def texts(self, *roles: str) -> Iterator[str]:
        """Every text that the model is to read, of the given roles if any are given."""
        for message in self.messages:
            if not roles or message.role in roles:
                yield from (part.text for part in message.parts() if isinstance(part, TextPart))

    def pictures(self) -> list[ImagePart]:
        """The pictures, in the order in which they stand."""
        return [
            part for message in self.messages for part in message.parts() if part.type != "text"
        ]


class CompletionRequest(Sampling):
    """The body of `/v1/completions`."""

    prompt: str | list[str]
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = None

    def texts(self) -> Iterator[str]:
        """Every text that the model is to read."""
        yield from [self.prompt] if isinstance(self.prompt, str) else self.prompt


class DicomRequest(DicomView):
    """The body of `/v1/dicom/preview`."""

    dicom: str


@dataclass(frozen=True)
class RequestLimits:
    """What is refused beside types and ranges; known once the model is."""

    config: RequestConfig
    model_tokens: int
    """The model's length."""
    pictures: int
    """Pictures in one request."""
    picture_tokens: int
    """Tokens of a picture."""
    special_tokens: Sequence[str]
    """Tokens that a text must not hold: they would end a turn and begin another."""

    def check(self, request: ChatRequest | CompletionRequest) -> None:
        """Refuse what is too much, or no text for the model.

        Raises:
            Refusal: naming the limit.
        """
        stops = request.stop if isinstance(request.stop, list) else []
        _at_most(len(stops), self.config.max_stops, "stop")
        _at_most(request.n or 1, self.config.max_answers, "n")
        if isinstance(request, ChatRequest):
            _at_most(len(request.messages), self.config.max_messages, "messages")
            _at_most(len(request.pictures()), self.pictures, "messages", "pictures")
        elif isinstance(request.prompt, list):
            _at_most(len(request.prompt) * (request.n or 1), self.config.max_answers, "prompt")
        self._check_texts(request)
        if request.response_format and request.response_format.json_schema:
            check_schema(request.response_format.json_schema.schema_, self.config.max_schema_nodes)

    def _check_texts(self, request: ChatRequest | CompletionRequest) -> None:
        most = self.config.max_text_bytes or 8 * self.model_tokens
        if sum(len(text.encode()) for text in request.texts()) > most:
            raise Refusal(
                400,
                "context_length_exceeded",
                f"the texts of a request take {most} bytes at most "
                f"(the model reads {self.model_tokens} tokens)",
            )
        special: Sequence[str] = ()
        asked = request.texts()
        if isinstance(request, ChatRequest):
            special = self.special_tokens
            # What the model said may hold anything, and comes back with the next question.
            asked = request.texts(*ASKING)
        if any(CONTROL.search(text) for text in asked):
            raise Refusal(400, "control_characters", "a text holds control characters")
        if any(token in text for text in request.texts() for token in special):
            raise Refusal(400, "special_tokens", "a text holds a control token of the model")


def _at_most(found: int, most: int, param: str, what: str = "") -> None:
    if found > most:
        message = f"{what or param}: at most {most} in one request"
        raise Refusal(400, f"too_many_{what or param}", message, param=param)


def check_schema(schema: Mapping[str, Any], most: int) -> None:
    """Refuse a JSON schema whose grammar would be large: the engine compiles it.

    Raises:
        Refusal: it nests too deep, is too large, or counts too far.
    """
    pending: list[tuple[Any, int]] = [(schema, 0)]
    seen = 0
    while pending:
        value, depth = pending.pop()
        seen += 1
        too_far = isinstance(value, int | float) and abs(value) > 1024
        if seen > most or depth > 12 or too_far or (isinstance(value, str) and len(value) > 256):
            raise Refusal(
                400,
                "schema_too_large",
                f"a JSON schema holds {most} values at most, 12 deep, "
                "numbers to 1024 and strings to 256 characters",
                param="response_format",
            )
        if isinstance(value, Mapping):
            pending += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            pending += [(inner, depth + 1) for inner in value]


def parsed(kind: type[Asked], document: Any) -> Asked:
    """The request in a JSON document.

    Raises:
        Refusal: a parameter is unknown, missing, of another type or out of its range.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _refusal(kind, error) from None


def _refusal(kind: type[BaseModel], error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(step) for step in first["loc"] if _is_known(step)) or None
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(field.alias or name for name, field in kind.model_fields.items()))
        said = f"a parameter that is not taken; the request takes {known}"
        return Refusal(400, "unknown_parameter", said)
    said = first["msg"] if first["type"] in SAID else "is not what this parameter takes"
    said = said.removeprefix("Value error, ")
    return Refusal(400, "invalid_parameter", f"{param or 'the request'}: {said}", param=param)


def _fields(kind: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in kind.model_fields.items()}


KNOWN = {
    name
    for kind in (
        *(ChatRequest, CompletionRequest, DicomRequest, Message, TextPart, ImagePart, ImageUrl),
        *(DicomView.Window, ResponseFormat, JsonSchema, StreamOptions),
    )
    for name in _fields(kind)
}


def _is_known(step: str | int) -> bool:
    """Whether a step of an error's place is ours: a key of the client's might be anything."""
    return isinstance(step, int) or step in KNOWN
