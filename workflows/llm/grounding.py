"""Check that a text says nothing beyond given facts.

Each sentence has to be carried by one fact: its numbers are that fact's numbers, in the same order and
complete; its words are that fact's words or plain ones; and it negates as often as the fact does. A sentence that joins
several facts is carried part by part. What cannot be traced to a fact is refused, true or not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

# Words that carry no claim of their own: grammar, and the cheer of a fun fact. Negations, comparisons and
# quantities are left out on purpose: those have to come from the fact.
PLAIN_WORDS = frozenset(
    """
    a an the this that these those it its itself he she they them his her their you your i we our who which what
    is are was were be been being am do does did has have had having will would can could may might
    of in on at by for from to with as into about between among out up over per
    and or but so because since while where when if then also too both than thus therefore hence whereas although
    there here just simply really quite very well indeed still
    fun fact did know wow cool neat nice interesting fascinating special wonderful amazing great curious
    makes make made means mean meaning called known get gets gives give written write see think
    number numbers person people passenger passengers someone one
    say says said based according given overall note remember like such case
    """.split()  # noqa: SIM905
)
NEGATIONS = frozenset(
    "not no never none nobody neither nor without cannot hardly barely unlikely".split()  # noqa: SIM905
)
# "one" is mostly a pronoun.
NUMBER_WORDS = {
    "zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
}  # fmt: skip

_TOKEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+|[×*+=/^%<>−]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_PART_END = re.compile(r"[,;:–—]\s+|\s+(?:and|but|while|whereas|although)\s+")
_CONTRACTIONS = re.compile(r"(?:n['’]t)\b", re.IGNORECASE)
_EQUATION = re.compile(r"\d+(?:\s*[×*+]\s*\d+)+\s*=\s*\d+")
_OPERATORS = {"*": "×", "−": "-"}
# One claim in several words, which must not be mistaken for the claim that somebody survived.
_CHANCE = re.compile(
    r"\b(?:survival (?:chances?|rates?|probability|odds|likelihood)"
    r"|(?:chances?|rates?|probability|odds|likelihood) (?:of|for) (?:survival|surviving|survive))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fact:
    """A true statement, in a sentence, and what a text may say on its behalf.

    Attributes:
        text: The sentence that the model gets to see.
        also: Other true ways to say it or a part of it; a sentence may keep to one of them.
        words: Words that are as good as the fact's own (synonyms).
        subject: What the fact is about; all its words have to stand in each part of a sentence that rests on the
            fact, lest what holds for some is said of all.
        claim: Words that say what the fact says of its subject; one of them has to stand in each part of a
            sentence that rests on the fact, lest two subjects are joined under another's claim.
    """

    text: str
    also: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    subject: str = ""
    claim: frozenset[str] = frozenset()

    @cached_property
    def readings(self) -> tuple["Reading", ...]:
        """The fact and its other ways, read."""
        return tuple(read(text, self.words | self.claim) for text in (self.text, *self.also))

    @cached_property
    def subject_stems(self) -> frozenset[str]:
        """The words of `subject` as `read` returns them."""
        return read(self.subject).words

    @cached_property
    def claim_stems(self) -> frozenset[str]:
        """The words of `claim` as `read` returns them."""
        return frozenset(_stem(word) for word in self.claim)


@dataclass(frozen=True)
class Reading:
    """Numbers (in order), words with a claim, and count of negations of a text."""

    numbers: tuple[str, ...]
    words: frozenset[str]
    negations: int


def read(text: str, synonyms: Iterable[str] = ()) -> Reading:
    """Take a text apart; words are compared by a crude stem, so that "divides" is "divide"."""
    numbers: list[str] = []
    words: set[str] = set()
    negations = 0
    for token in _TOKEN.findall(_CONTRACTIONS.sub(" not", _CHANCE.sub("chance", text)).casefold()):
        if token[0].isdigit():
            numbers.append(_canonical(token))
        elif token in NUMBER_WORDS:
            numbers.append(NUMBER_WORDS[token])
        elif token in NEGATIONS:
            negations += 1
        elif token not in PLAIN_WORDS:
            words.add(_stem(_OPERATORS.get(token, token)))
    return Reading(tuple(numbers), frozenset(words | {_stem(word) for word in synonyms}), negations)


def first_unsupported(text: str, facts: Sequence[Fact], subjects: Iterable[str] = ()) -> str | None:
    """Say what in a text is not carried by the facts, None if all of it is.

    Args:
        text: What a model wrote.
        facts: What it may say.
        subjects: Numbers that are talked about, which may be named at any place.
    """
    named = frozenset(subjects)
    if wrong := next((found for found in _EQUATION.findall(text) if not _holds(found)), None):
        return f"{wrong!r} is wrong"
    for sentence in filter(None, (part.strip() for part in _SENTENCE_END.split(text))):
        if (rest := _first_uncarried(_PART_END.split(sentence), facts, named)) is not None:
            return f"{rest!r} is not what the facts say{_strange_words(rest, facts)}"
    return None


def _first_uncarried(pieces: Sequence[str], facts: Sequence[Fact], subjects: frozenset[str]) -> str | None:
    """Return what is left of a sentence where no way to cut it into carried parts goes on, None if one ends it.

    Args:
        pieces: The sentence, cut wherever a part may end.
        facts: What may carry a part.
        subjects: See `first_unsupported`.
    """
    reached = {0}
    for start in range(len(pieces)):
        if start in reached:
            reached |= {
                end
                for end in range(start + 1, len(pieces) + 1)
                if _supported(" ".join(pieces[start:end]), facts, subjects)
            }
    return None if len(pieces) in reached else " ".join(pieces[max(reached) :])


def _supported(text: str, facts: Sequence[Fact], subjects: frozenset[str]) -> bool:
    said = read(text)
    if not said.words and not said.negations and not set(said.numbers) - subjects:
        return True
    return any(
        said.words <= reading.words
        and fact.subject_stems <= said.words
        and (not fact.claim or bool(said.words & fact.claim_stems))
        and said.negations == reading.negations
        and _without(said.numbers, subjects) == _without(reading.numbers, subjects)
        for fact in facts
        for reading in fact.readings
    )


def _without(numbers: Sequence[str], subjects: frozenset[str]) -> tuple[str, ...]:
    return tuple(number for number in numbers if number not in subjects)


def _strange_words(text: str, facts: Sequence[Fact]) -> str:
    known = frozenset(word for fact in facts for reading in fact.readings for word in reading.words)
    strange = sorted(read(text).words - known)
    return f" (not in them: {', '.join(strange[:5])})" if strange else ""


def _canonical(number: str) -> str:
    text = number.replace(",", "")
    return text.rstrip("0").rstrip(".") if "." in text else text.lstrip("0") or "0"


def _stem(word: str) -> str:
    for ending in ("ing", "ied", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _holds(equation: str) -> bool:
    """Whether an equation of sums or products of whole numbers is true; mixed ones are not."""
    left, right = equation.split("=")
    terms = [int(term) for term in re.findall(r"\d+", left)]
    if "+" in left:
        return "×" not in left and "*" not in left and sum(terms) == int(right)
    product = 1
    for term in terms:
        product *= term
    return product == int(right)
