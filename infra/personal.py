"""Finds personal data by presidio, an extra: names and documents that no check of digits knows.

Nothing is downloaded. Where a spaCy pipeline of a language is installed, such as `en_core_web_sm`
or `zh_core_web_sm`, it finds names; without one only patterns and rules find anything.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from release.errors import Invalid, Unavailable

LANGUAGES = ("zh", "en")
LEAST = 0.4
"""Score from which presidio is believed, 0..1."""

NOBODY = frozenset({"DATE_TIME", "URL", "UUID", "ORGANIZATION", "NRP", "LOCATION"})
"""Kinds that tell nobody apart."""

_HAN = re.compile("[\u4e00-\u9fff]")
_PLATE = "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"

PATTERNS = (
    ("zh", "PASSPORT", 0.5, r"(?<![A-Za-z0-9])[EGDSPKH][A-Z]?[0-9]{7,8}(?![A-Za-z0-9])"),
    ("zh", "PLATE", 0.6, _PLATE + r"[A-HJ-NP-Z][·• ]?[A-HJ-NP-Z0-9]{5,6}(?![A-Za-z0-9])"),
    ("zh", "PERSON", 0.5, r"(?:我叫|(?:姓名|联系人|收件人)[:： ]{0,2})[\u4e00-\u9fff]{2,4}"),
    ("en", "PERSON", 0.5, r"(?i:my name is|signed by) [A-Z][a-z]{1,30} [A-Z][a-z]{1,30}\b"),
)
"""Language, kind, score and pattern of what presidio does not bring by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A stretch of a text that tells of a person."""

    kind: str
    """Such as `IBAN_CODE`, as presidio calls it."""

    start: int
    end: int
    score: float


class Finder:
    """Looks for personal data; slow to make, and milliseconds a text.

    Args:
        least: score from which a spot counts, 0..1.

    Raises:
        Invalid: the score is none.
        Unavailable: presidio is not installed.
    """

    def __init__(self, least: float = LEAST) -> None:
        if not 0 <= least <= 1:
            raise Invalid(f"A score must be within 0..1, not {least:g}.", "see --least")
        self._least = least
        try:
            self._analyzer = _analyzer()
        except ImportError as error:
            said = f"Payloads cannot be inspected: {error.name} is not installed."
            raise Unavailable(said, "pip install 'slipway[presidio]'") from error

    def __call__(self, text: str) -> list[Spot]:
        """Find each spot once, in the order of the text."""
        languages = LANGUAGES if _HAN.search(text) else LANGUAGES[1:]
        found = (one for each in languages for one in self._found(text, each))
        spots = {(one.kind, one.start, one.end): one for one in found}
        return sorted(spots.values(), key=lambda one: (one.start, one.end, one.kind))

    def _found(self, text: str, language: str) -> Iterable[Spot]:
        for one in self._analyzer.analyze(text, language=language, score_threshold=self._least):
            if one.entity_type not in NOBODY:
                yield Spot(kind=one.entity_type, start=one.start, end=one.end, score=one.score)


def _analyzer() -> Any:
    import tldextract
    from presidio_analyzer import AnalyzerEngine, Pattern, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # It would fetch a list of domains; the one that it brings will do.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    # Given no model it would download one.
    words = SpacyNlpEngine(models=[{"lang_code": one, "model_name": one} for one in LANGUAGES])
    words.nlp = {one: _pipeline(one) for one in LANGUAGES}
    registry = RecognizerRegistry(supported_languages=list(LANGUAGES))
    registry.load_predefined_recognizers(languages=list(LANGUAGES), nlp_engine=words)
    for language, kind, score, pattern in PATTERNS:
        rules = [Pattern(name=kind, regex=pattern, score=score)]
        registry.add_recognizer(
            PatternRecognizer(
                supported_entity=kind,
                name=f"{language} {kind}",
                patterns=rules,
                supported_language=language,
                global_regex_flags=re.MULTILINE,
            )
        )
    return AnalyzerEngine(registry=registry, nlp_engine=words, supported_languages=list(LANGUAGES))


def _pipeline(language: str) -> Any:
    import spacy

    installed = [one for one in spacy.util.get_installed_models() if one.startswith(f"{language}_")]
    return spacy.load(min(installed)) if installed else spacy.blank(language)
