#!/usr/bin/env python
"""Personal identifiers found, clinical text left alone: the recognisers against two peers' rules.

    python benchmarks/privacy.py [--quick]

The sentences are those of `tests/data/privacy` (Chinese and English). An identifier counts as found
when every letter and digit of it lies in findings, of whatever kind: what is left over would leak.
A negative is touched when anything is found in it. Peers run as they come, without a language model
(none is packaged): every pattern recogniser of presidio-analyzer, phones of China added, at its
usual score of 0.4 and at any score; OpenMed's safety sweep in the sentence's language. They are
Python packages; OpenMed is installed with

    pip install --no-deps openmed==3.1.0 faker==40.63.0 jieba==0.42.1 pysbd==0.3.4

`--quick` measures the speed over one pass instead of five. Each set is also shown alone: it was
scored before the rules were changed for it (`tests/data/privacy/README.md` has those figures).

The last line is our recall over the best peer's. Fails when recall is below 0.97, more than one
negative is touched, or a peer cannot be run.
"""

import argparse
import json
import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from doctor_sun.data.privacy import KINDS, find_identifiers
from tests.identifier_sets import SETS, Sentence, read

RESULTS = Path(__file__).parent / "results"
LEAST_RECALL, MOST_TOUCHED = 0.97, 1
SCORE = 0.4
INSTALL = "pip install --no-deps openmed==3.1.0 faker==40.63.0 jieba==0.42.1 pysbd==0.3.4"

Spans = list[tuple[int, int]]
Finder = Callable[[str, str], Spans]


def ours(text: str, language: str) -> Spans:
    """What this library finds."""
    return [(found.start, found.end) for found in find_identifiers(text, language)]


def presidio(least_score: float) -> Finder:
    """Every pattern recogniser of presidio-analyzer together."""
    import tldextract
    from presidio_analyzer import LocalRecognizer
    from presidio_analyzer import predefined_recognizers as predefined

    # Its e-mail recogniser would fetch the list of top-level domains; the packaged one is there.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    regions = (*predefined.PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS, "CN")
    recognizers: list[LocalRecognizer] = [predefined.PhoneRecognizer(supported_regions=regions)]
    for name, kind in vars(predefined).items():
        module = str(getattr(kind, "__module__", ""))
        rules = ".country_specific." in module or ".generic." in module
        if rules and isinstance(kind, type) and name != "PhoneRecognizer":
            recognizers.append(kind())

    def find(text: str, language: str) -> Spans:
        found = [r for one in recognizers for r in one.analyze(text, one.supported_entities, None)]
        return [(result.start, result.end) for result in found if result.score >= least_score]

    return find


def openmed() -> Finder:
    """OpenMed's rules for structured identifiers and Chinese names."""
    from openmed.core.safety_sweep import safety_sweep

    def find(text: str, language: str) -> Spans:
        return [(found.start, found.end) for found in safety_sweep(text, [], lang=language)]

    return find


def covered(text: str, start: int, end: int, spans: Spans) -> bool:
    """Whether every letter and digit of a stretch lies in one of the spans."""
    places = [place for place in range(start, end) if text[place].isalnum()]
    return all(any(s <= place < e for s, e in spans) for place in places)


def measure(find: Finder, sentences: Sequence[Sentence], passes: int) -> dict[str, Any]:
    """Recall, also by kind, negatives touched, and texts a second (one untimed pass before)."""
    found = [find(sentence.text, sentence.language) for sentence in sentences]
    hits, touched = defaultdict[str, list[bool]](list), 0
    for sentence, spans in zip(sentences, found, strict=True):
        for item in sentence.identifiers:
            hits[item.kind].append(covered(sentence.text, item.start, item.end, spans))
        touched += bool(spans and not sentence.identifiers)
    started = time.perf_counter()
    for _ in range(passes):
        for sentence in sentences:
            find(sentence.text, sentence.language)
    seconds = (time.perf_counter() - started) / passes
    return {
        "recall": _mean(hit for kind in hits.values() for hit in kind),
        "by_kind": {kind: _mean(hits[kind]) for kind in KINDS if kind in hits},
        "touched": touched,
        "texts_per_second": len(sentences) / seconds,
    }


def _mean(hits: Iterable[bool]) -> float:
    counted = Counter(hits)
    return counted[True] / counted.total()


def table(results: dict[str, dict[str, Any]], sentences: Sequence[Sentence]) -> None:
    """Print one column a finder."""
    kinds = Counter(item.kind for sentence in sentences for item in sentence.identifiers)
    negatives = sum(not sentence.identifiers for sentence in sentences)
    print(f"{'':<22}{'spans':>6}" + "".join(f"{name:>20}" for name in results))
    for kind in (kind for kind in KINDS if kind in kinds):
        cells = "".join(f"{result['by_kind'][kind]:>20.3f}" for result in results.values())
        print(f"{kind:<22}{kinds[kind]:>6}{cells}")
    cells = "".join(f"{result['recall']:>20.4f}" for result in results.values())
    print(f"{'recall':<22}{kinds.total():>6}{cells}")
    cells = "".join(f"{result['touched']:>20}" for result in results.values())
    print(f"{'negatives touched':<22}{negatives:>6}{cells}")
    cells = "".join(f"{result['texts_per_second']:>20.0f}" for result in results.values())
    print(f"{'texts a second':<28}{cells}")


def main() -> None:
    """Measure all, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one timed pass instead of five")
    passes = 1 if parser.parse_args().quick else 5
    logging.disable(logging.WARNING)  # Presidio speaks of each recogniser's language
    sets = {name: read(name) for name in SETS}
    sentences = [sentence for own in sets.values() for sentence in own]
    try:
        finders = {
            "ours": ours,
            f"Presidio >= {SCORE}": presidio(SCORE),
            "Presidio any score": presidio(0),
            "OpenMed": openmed(),
        }
    except ImportError as error:
        sys.exit(f"error: a peer cannot be run ({error}); install it with: {INSTALL}")
    results = {name: measure(find, sentences, passes) for name, find in finders.items()}
    alone = {name: measure(ours, own, 1) for name, own in sets.items()}
    table(results, sentences)
    for name, result in alone.items():
        print(f"ours, {name} alone: recall {result['recall']:.4f}, touched {result['touched']}")
    found, *peers = results.values()
    ratio = found["recall"] / max(peer["recall"] for peer in peers)
    RESULTS.mkdir(exist_ok=True)
    written = {"ratio": ratio, "finders": results, "ours_by_set": alone}
    (RESULTS / "privacy.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    print(f"ratio: {ratio:.2f} (identifiers found, to the best peer)")
    if found["recall"] < LEAST_RECALL or found["touched"] > MOST_TOUCHED:
        sys.exit(1)


if __name__ == "__main__":
    main()
