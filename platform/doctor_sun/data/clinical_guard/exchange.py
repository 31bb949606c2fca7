"""One content word in the place of another, everything around it equal: systolic for diastolic,
臀位 for 头位, a drug that no list names. Such a pair differs unless the two are reporting words.
"""

from collections.abc import Sequence
from itertools import takewhile

from doctor_sun.data.clinical_guard.terms import TERM, class_of

MOST_WORDS = 2
MOST_CHARACTERS = 4
STEM = 6
# Words that may stand for one another or be left out without changing a finding.
_WORDS = (
    "a an the is are was were be been being has have had of in on at to for with from by as "
    "that this there it its and or which who what how do does did can could may might will "
    "would should must please very also then than when while during because due since about "
    "after through per seen noted present presents identified found observed demonstrated "
    "visualized visible shows showed show reveals revealed demonstrates indicates suggests "
    "suggesting suggestive appears consistent compatible keeping given administered give "
    "administer received take takes taken using use used treated started start began begin "
    "commenced initiated stopped stop discontinued performed done made carried underwent "
    "examination exam image images imaging study scan radiograph film xray patient patients "
    "person people individual subject abnormality abnormalities process finding findings "
    "change changes disease illness condition normal unremarkable evidence sign signs region "
    "area side aspect size sized measuring measures approximately around roughly nearly "
    "reports reported complains states evident usually often commonly typically generally "
    "previous prior earlier last compared comparison interval again still remains remain "
    "physician doctor clinician child children treatment no not none without denies denied "
    "deny never nor cannot avoid therapy treat help helps recommend recommended advised "
    "advise include includes including "
)
_CHARACTERS = (
    "的了是为见示可现有呈行约等患者病人之与和及而并且则也都就还又再很应该需要请问你您我他她在"
    "于对以由其此本做作用使得会能所被把让给予当出发生个地吗呢么什怎样如何哪些多影形态性状灶明"
    "显考虑提诉述主意清楚晰变改未无不否认没非忌禁图中上内像片"
)
NEUTRAL = frozenset(word[:STEM] for word in _WORDS.split()) | frozenset(_CHARACTERS)


def tokens(text: str) -> tuple[str, ...]:
    """Stems of English words, Chinese characters; listed terms as their class."""
    named = ((form, class_of(form)) for form in TERM.findall(text))
    return tuple(" ".join(known) if known else form[:STEM] for form, known in named)


def exchanged_word(a: Sequence[str], b: Sequence[str]) -> tuple[str, str] | None:
    """The one stretch in which two texts differ, when both say something of their own there."""
    start = _shared(a, b)
    rest_a, rest_b = a[start:], b[start:]
    end = _shared(rest_a[::-1], rest_b[::-1])
    middle_a, middle_b = rest_a[: len(rest_a) - end], rest_b[: len(rest_b) - end]
    if not (0 < len(middle_a) <= MOST_CHARACTERS and 0 < len(middle_b) <= MOST_CHARACTERS):
        return None
    if start + end == 0 or max(map(_words, (middle_a, middle_b))) > MOST_WORDS:
        return None
    said_a, said_b = _said(middle_a, middle_b), _said(middle_b, middle_a)
    return (" ".join(said_a), " ".join(said_b)) if said_a and said_b else None


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _words(part: Sequence[str]) -> int:
    return sum(token.isascii() for token in part)


def _said(part: Sequence[str], other: Sequence[str]) -> list[str]:
    """The content words of a stretch that the other lacks."""
    return [token for token in part if token not in NEUTRAL and token not in other]
