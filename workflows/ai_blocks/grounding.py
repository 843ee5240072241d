"""Check that a text says nothing beyond given facts.

A fact comes with the ways in which it may be said: patterns of words, which its author vouches for. A text is carried
if each of its sentences can be cut, word by word and without a rest, into parts that are said in one of these ways,
joined by words that claim nothing. What cannot be traced to a fact is refused, true or not: a word that no pattern has,
a number in another place, a "not" too many.

Patterns are regular expressions over words:

    [a b]      optional
    (a|b c)    one of them
    {a; b}     all of them in any order
    {?a; b}    at least one of them in any order, joined by nothing, a comma or "and"
    {+a; b}    all of them in any order, joined by nothing, a comma or "and"

Texts are read in one form: lower case, contractions written out ("isn't" is "is not"), numbers in digits, `%` for
percent, hyphens as spaces; brackets, semicolons and dashes as commas. A comma in a pattern stands for a colon too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Literal

Positions = frozenset[int]
Link = Literal[
    "start", "comma", "colon", "neutral", "contrast", "although", "despite", "because", "so", "that is because"
]

# "one" is mostly a pronoun.
_ONES = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBER_WORDS = {
    **{word: number for number, word in enumerate(_ONES) if number > 1},
    **{word: number for number, word in enumerate(_TEENS, start=10)},
    **{ten: 10 * number for number, ten in enumerate(_TENS, start=2)},
    **{f"{ten} {_ONES[one]}": 10 * tens + one for tens, ten in enumerate(_TENS, start=2) for one in range(1, 10)},
}
_NUMBER_WORD = re.compile(
    rf"\b(?:{'|'.join(sorted((word.replace(' ', '[ -]') for word in NUMBER_WORDS), key=len, reverse=True))})\b"
)
_SPELLINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[‘’ʼ]", "'"),
        (r"[“”]", '"'),
        (r"[\u00a0\u2009\u202f]", " "),
        (r"\bcan't\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"\b(i|you|he|she|it|we|they)'d\b", r"\1 would"),
        (r"'re\b", " are"),
        (r"'ve\b", " have"),
        (r"\bi'm\b", "i am"),
        (r"\b(it|that|he|she|here|what)'s\b", r"\1 is"),
        (r"\b1st\b", "first"),
        (r"\b2nd\b", "second"),
        (r"\b3rd\b", "third"),
        (r"\bper ?cent\b", "%"),
        (r"(?<=[0-9])\s*[*x×]\s*(?=[0-9])", " × "),
        (r"(?<=[a-z0-9])[-‐‑](?=[a-z])", " "),
        (r"\s[-–—]+\s|[–—]|[;()\[\]]", " , "),
        (r"\btraveling\b", "travelling"),
        (r"\btraveled\b", "travelled"),
        (r"\bfavor\b", "favour"),
        (r"\baboard\b", "on board"),
    )
)
_TOKEN = re.compile(r"[0-9]+(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|'s\b|[a-z]+|\S")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_END_MARKS = re.compile(r"[\s.!?…]*$")
# Cheer that may end a sentence; other pictures may say something.
_PICTURES = re.compile("[🎉🎊✨🤩😄🙂🔢🧮]")
_PAUSES = frozenset({",", ":"})
_MARKS = frozenset(".!?[](){}|;@")
# "Acme Inc. has", "St. Mary", "U.S.": marks behind a letter with more of the fact behind them.
_MARK_INSIDE = re.compile(r"(\S*[^\W\d_][.!?]+)(?:(?=\S)|\s+([^\W_]+))")
EVERYBODY = "everybody"
_PATTERN_TOKEN = re.compile(r"\{[?+]|[\[\](){}|;]|[^\s\[\](){}|;]+")


@dataclass(frozen=True)
class Fact:
    """A true statement, and the ways in which a text may say it.

    Attributes:
        text: The sentence that the model gets to see.
        also: Patterns of other true ways to say it.
        partly: Patterns that are true too, but after which the fact still has to be said where it must be.
        elliptical: Patterns without a verb, which need another part of the same kind before them in the sentence.
        anaphoric: Patterns with "it" for what was said last: another part of the same kind has to stand before them, in
            the sentence or the one before.
        reasons: Patterns that give the fact as the reason for the first of the facts, which has to stand right before
            them, in the sentence or the one before.
        subject: Pattern of the ways to name what the fact is about.
        claim: Patterns of what is said of the subject, `@` where it stands. Facts with the same claim may share one: "A
            and B raised the chance". Facts with different claims say the opposite, and may be contrasted.
        opening: Patterns that may open a text.
        kind: What sort of subject it has. Within a sentence only facts of one kind follow each other, lest "in first
            class" is read into what is said next of women; `EVERYBODY` and the empty kind go with each.
        is_reason: Whether it may be given as the reason for the first of the facts; if it has a claim and is none, it
            may be contrasted with it.
        is_required: Whether a text has to say it.
    """

    text: str
    also: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    elliptical: tuple[str, ...] = ()
    anaphoric: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    subject: str = ""
    claim: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()
    kind: str = ""
    is_reason: bool = False
    is_required: bool = False

    @cached_property
    def own_words(self) -> str:
        """The sentence itself as a pattern."""
        return literal(self.text)

    @cached_property
    def names(self) -> "Matcher | None":
        """Matches the subject."""
        return compiled(self.subject) if self.subject else None

    @cached_property
    def marks_inside(self) -> "re.Pattern[str] | None":
        """Finds the words of the fact with marks that end no sentence, in upper or lower case."""
        found = []
        for match in _MARK_INSIDE.finditer(self.text):
            word, following = re.escape(match[1]), match[2]
            behind = rf"\s+(?:(?i:{re.escape(following)})\b|[a-z])" if following else r"\S"
            found.append(rf"(?<!\w)(?i:{word})(?={behind})")
        return re.compile("|".join(found)) if found else None


@dataclass(frozen=True)
class Examination:
    """What was found in a text: what in it is not carried (None if nothing), and the facts that it says."""

    unsupported: str | None
    said: frozenset[int] = frozenset()


def read(text: str) -> list[str]:
    """Return the words, numbers and marks of a text in the one form that patterns are written in."""
    text = _PICTURES.sub("", text).lower()
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = _NUMBER_WORD.sub(lambda match: str(NUMBER_WORDS[match.group().replace("-", " ")]), text)
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        word = token.replace(",", "") if token[0].isdigit() else token
        if word not in _PAUSES or (tokens and tokens[-1] not in _PAUSES):
            tokens.append(word)
    return tokens


def literal(text: str) -> str:
    """Return the pattern of a text as it is, whatever marks it has; those of patterns are left out."""
    return " ".join("," if token in _PAUSES else token for token in read(text) if token not in _MARKS)


def objection(text: str, facts: Sequence[Fact], subjects: Iterable[str] = ()) -> str | None:
    """Say what in a text is not carried by the facts, or which fact it had to say, None if nothing.

    Args:
        text: What a model wrote.
        facts: What it may say.
        subjects: Numbers that are talked about, which may be named for themselves.
    """
    found = examine(text, facts, subjects)
    if found.unsupported is not None:
        return found.unsupported
    left_out = next((fact for place, fact in enumerate(facts) if fact.is_required and place not in found.said), None)
    return f"it is left out that {left_out.text!r}" if left_out else None


def examine(text: str, facts: Sequence[Fact], subjects: Iterable[str] = ()) -> Examination:
    """Say what in a text is not carried by the facts, and which of them it says; see `objection`."""
    ways = _ways(facts)
    text = _without_marks_inside(text, facts)
    numbers = tuple(sorted(subjects))
    lead = _lead(numbers, tuple(pattern for fact in facts for pattern in fact.opening))
    said: frozenset[int] = frozenset()
    before = -1
    for sentence in filter(None, (part.strip() for part in _SENTENCE_END.split(text))):
        found = _said_by(sentence, facts, ways, lead, before)
        if found is None:
            return Examination(f"{sentence!r} is not what the facts say{_strange_words(sentence, facts)}")
        said |= found.said
        before = found.last if found.last >= 0 else before
        lead = _lead(numbers)
    return Examination(None, said)


def _without_marks_inside(text: str, facts: Sequence[Fact]) -> str:
    for fact in facts:
        if fact.marks_inside:
            text = fact.marks_inside.sub(lambda match: re.sub(r"[.!?]", " ", match.group()), text)
    return text


# Words between parts that claim nothing by themselves.
_NEUTRAL = "and|as well as|and also|but also|and then"
# Words that claim that what stands before them speaks for something else than what stands behind them.
_CONTRASTS = (
    "but|while|whereas|although|though|even though|yet|versus|vs|[as] compared (with|to)|against|in contrast to|"
    "despite the fact that"
)
_CONTRAST_LEADS = "(however|conversely|in contrast|by contrast|on the other hand) [,]"
_LEADS = """
    (overall|in total|in all|in short|in summary|to sum up|simply put|put simply|in fact|indeed|specifically|here|also|
    moreover|furthermore|in addition|additionally|statistically|finally|lastly|meanwhile|for comparison|note that|
    remember that|as a quick guide|in these figures|
    (based on|according to|looking at|going by|in) (the|these|our) (data|facts|figures|numbers|rates)|
    did you know [that]|[here is a] fun (fact|one)|wow|cool|guess what|hey|psst|get this|believe it or not) [,|that]
"""
_CHEERS = """
    wow|hooray|cool|neat|guess what|fun fact|how (cool|neat|fun|nice|fascinating|amazing|wonderful) is that|
    is not that (cool|neat|fun|nice|fascinating|amazing|wonderful)|(pretty|so|very) (cool|neat) [, right|, huh]|
    what a (neat|cool|fun|lovely|special|wonderful|fascinating) number|
    [is not] (maths|math|mathematics) [is] [so] (fun|cool|neat|wonderful|amazing)
"""
_ASKS = ("did", "you", "know")


@dataclass(frozen=True)
class _Way:
    """One way to say something.

    Attributes:
        match: Of its words.
        facts: Which it says, by place; of several, those whose subjects are named.
        full: Whether it counts as having said them.
        elliptical: Whether it needs another part before it, see `Fact.elliptical`.
        anaphoric: See `Fact.anaphoric`.
        gives_reason: See `Fact.reasons`.
        is_noun: Whether it is the subject alone, which says the fact behind "despite".
    """

    match: "Matcher"
    facts: tuple[int, ...]
    full: bool = True
    elliptical: bool = False
    anaphoric: bool = False
    gives_reason: bool = False
    is_noun: bool = False


@dataclass(frozen=True)
class _State:
    """How far a sentence is read.

    Attributes:
        position: In words.
        before: The fact that the sentence before said last, -1 for none.
        last: The fact that this sentence said last, -1 for none.
        reasons: Whether reasons are being given, for what was said or for what is announced to come.
        mixed: Whether something else than a reason was said and not contrasted: then no "so" follows.
        against: The fact that the following ones are contrasted with, -1 for none.
        contrast_due: Whether what it is contrasted with is still to come, as behind "although" at the start.
        said: All that was said.
    """

    position: int
    before: int = -1
    last: int = -1
    reasons: Literal["", "given", "announced"] = ""
    mixed: bool = False
    against: int = -1
    contrast_due: bool = False
    said: frozenset[int] = frozenset()

    @property
    def right_before(self) -> int:
        """The fact that was said last, in this sentence or the one before; -1 for none."""
        return self.last if self.last >= 0 else self.before

    @property
    def is_complete(self) -> bool:
        """Whether the sentence may end: what it announces has come."""
        return not self.contrast_due and (self.reasons != "announced" or 0 in self.said)


def _said_by(sentence: str, facts: Sequence[Fact], ways: Sequence[_Way], lead: "Matcher", before: int) -> _State | None:
    """Return the state at the end of a sentence that says facts alone, None if it says anything else."""
    marks = _END_MARKS.search(sentence)
    tokens = read(sentence[: marks.start()] if marks else sentence)
    while tokens and tokens[-1] in _PAUSES:
        tokens.pop()
    end = frozenset({len(tokens)})
    if not tokens or end <= compiled(_CHEERS)(tokens, frozenset({0})) or end <= lead(tokens, frozenset({0})):
        return _State(len(tokens))
    if marks and "?" in marks.group() and tuple(tokens[:3]) != _ASKS:
        return None
    waiting, seen = [_State(0, before)], set()
    while waiting:
        state = waiting.pop()
        for link, position in _links(tokens, state, lead):
            for following in _followed(tokens, position, state, link, facts, ways):
                if following.position == len(tokens) and following.is_complete:
                    return following
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
    return None


def _links(tokens: Sequence[str], state: _State, lead: "Matcher") -> Iterator[tuple[Link, int]]:
    """Yield how the next part may be joined, and where it then starts, behind a lead if there is one."""
    for link, start in _joints(tokens, state):
        here = frozenset({start})
        for position in {start} | lead(tokens, here):
            yield link, position
        if link in {"start", "comma", "neutral", "contrast"}:
            for position in compiled(_CONTRAST_LEADS)(tokens, here):
                yield "contrast", position


def _joints(tokens: Sequence[str], state: _State) -> Iterator[tuple[Link, int]]:
    here = frozenset({state.position})
    for start in compiled("[,] (despite|in spite of)")(tokens, here):
        yield "despite", start
    if state.last < 0:
        yield "start", 0
        for start in compiled("although|though|even though|while|whereas|despite the fact that")(tokens, here):
            yield "although", start
        for start in compiled("because|since|as|given that")(tokens, here):
            yield "because", start
        for start in compiled("(that|this) is [mainly] (because|since|as)")(tokens, here):
            yield "that is because", start
        return
    for start in compiled(",")(tokens, here):
        yield "comma" if tokens[start - 1] == "," else "colon", start
    for start in compiled(f"[,] ({_NEUTRAL})")(tokens, here):
        yield "neutral", start
    for start in compiled(f"[,] ({_CONTRASTS})")(tokens, here):
        yield "contrast", start
    for start in compiled("[,] [and] [that is|this is|mainly] (because|since|as|given that|for)")(tokens, here):
        yield "because", start
    for start in compiled("[,] [and] (so|therefore|thus|hence|meaning [that]|which means [that])")(tokens, here):
        yield "so", start


def _followed(  # noqa: PLR0917
    tokens: Sequence[str], position: int, state: _State, link: Link, facts: Sequence[Fact], ways: Sequence[_Way]
) -> Iterator[_State]:
    """Yield the states after each part that can stand at a position."""
    for way in ways:
        for end in way.match(tokens, frozenset({position})):
            named = _named(tokens[position:end], facts, way)
            if not (_may_follow(facts, state, link, way, named) and _fits_contrast(facts, state, link, named)):
                continue
            reasons = state.reasons
            if link == "because" and state.last < 0:
                reasons = "announced"
            elif link in {"because", "that is because"}:
                reasons = "given"
            elif 0 in named and reasons == "announced":
                reasons = ""
            against, is_due = state.against, state.contrast_due
            if link in {"although", "despite", "contrast"}:
                is_due = link != "contrast" and state.last < 0
                against = max(named) if is_due else state.right_before
            elif link in {"because", "so"}:
                against = -1
            elif is_due:
                is_due = not _contrast(facts, against, named)
            mixed = 0 not in named and (state.mixed or against < 0)
            if all(facts[place].is_reason for place in named):
                # "… raised it, but … lowered it, so …": what is contrasted is no reason either.
                mixed = state.mixed and link != "contrast"
            said = state.said | named if way.full else state.said
            yield _State(end, state.before, max(named), reasons, mixed, against, is_due, said)


def _may_follow(facts: Sequence[Fact], state: _State, link: Link, way: _Way, named: frozenset[int]) -> bool:
    """Whether a way to say something may be joined to what was said before, contrasts aside."""
    first, last = min(named), state.last
    is_reason = all(facts[place].is_reason for place in named)
    if way.is_noun != (link == "despite") or (way.gives_reason and state.right_before != 0):
        return False
    if last < 0:
        is_clear = not way.elliptical and (not way.anaphoric or _may_be_it(facts, state.before, first))
        is_explained = link != "that is because" or state.before == 0
        return is_clear and is_explained and (is_reason or link not in {"because", "that is because"})
    kinds = {facts[first].kind, facts[last].kind} - {"", EVERYBODY}
    is_incomplete = way.elliptical or way.anaphoric
    if len(kinds) > 1 or (is_incomplete and (link in {"because", "so"} or not facts[last].kind)):
        return False
    # Said again in other words, but not one thing that is said of a subject as the reason for another.
    is_again = named == {last} and not facts[last].subject
    if link == "because":
        return is_again or (last == 0 and is_reason)
    if link == "so":
        return is_again or (first == 0 and facts[last].is_reason and not state.mixed)
    # What a colon joins to the first fact seems to be its reason, unless both are rates.
    seems_reason = link == "colon" and last == 0 and not facts[0].kind
    return is_reason or named <= {0, last} or not (state.reasons or seems_reason)


def _may_be_it(facts: Sequence[Fact], before: int, place: int) -> bool:
    """Whether "it" in what is said of one fact stands for what the sentence before said last."""
    return before >= 0 and facts[before].kind in {facts[place].kind, EVERYBODY}


def _fits_contrast(facts: Sequence[Fact], state: _State, link: Link, named: frozenset[int]) -> bool:
    """Whether all contrasts that a part would stand in are real."""
    if link == "contrast" or (link == "despite" and state.last >= 0):
        return state.right_before >= 0 and not state.contrast_due and _contrast(facts, state.right_before, named)
    if link in {"because", "so"}:
        return not state.contrast_due
    if state.against < 0 or link in {"although", "despite"}:
        return True
    if state.contrast_due and link == "neutral":
        # "Although A and B raised the chance, …"
        return bool(facts[min(named)].claim) and facts[min(named)].claim == facts[state.against].claim
    return _contrast(facts, state.against, named)


def _contrast(facts: Sequence[Fact], one: int, others: Iterable[int]) -> bool:
    """Whether a fact speaks for something else than others do: so do opposite claims, and rates of other groups."""
    return all(_are_opposed(facts, min(one, other), max(one, other)) for other in others)


def _are_opposed(facts: Sequence[Fact], one: int, other: int) -> bool:
    if one == other:
        return False
    if one == 0 and facts[other].claim:
        return not facts[other].is_reason
    if facts[one].claim or facts[other].claim:
        return bool(facts[one].claim and facts[other].claim) and facts[one].claim != facts[other].claim
    return bool(facts[one].kind and facts[other].kind)


def _named(tokens: Sequence[str], facts: Sequence[Fact], way: _Way) -> frozenset[int]:
    if len(way.facts) == 1:
        return frozenset(way.facts)
    starts = frozenset(range(len(tokens)))
    return frozenset(place for place in way.facts if (names := facts[place].names) and names(tokens, starts))


def _ways(facts: Sequence[Fact]) -> list[_Way]:
    ways: list[_Way] = []
    sharing: dict[tuple[str, ...], list[int]] = {}
    for place, fact in enumerate(facts):
        ways += [_Way(compiled(pattern), (place,)) for pattern in (fact.own_words, *fact.also)]
        ways += [_Way(compiled(pattern), (place,), full=False) for pattern in fact.partly]
        ways += [_Way(compiled(pattern), (place,), elliptical=True) for pattern in fact.elliptical]
        ways += [_Way(compiled(pattern), (place,), anaphoric=True) for pattern in fact.anaphoric]
        ways += [_Way(compiled(pattern), (place,), gives_reason=True) for pattern in fact.reasons]
        if fact.claim:
            sharing.setdefault(fact.claim, []).append(place)
    for claim, places in sharing.items():
        names = "|".join(facts[place].subject for place in places)
        among = f"({names})"
        several = f"[both] {among} [[,] (and|as well as|along with|together with) {among}]"
        if len(places) > 2:
            several = f"({several}|{among} , {among} [,] and {among})"
        ways += [_Way(compiled(template, several), tuple(places)) for template in claim]
        ways.append(_Way(compiled(several), tuple(places), is_noun=True))
    return ways


@lru_cache(maxsize=1024)
def _lead(subjects: tuple[str, ...], opening: tuple[str, ...] = ()) -> "Matcher":
    numbers = f"|[the number] ({'|'.join(subjects)}) [,]" if subjects else ""
    openings = f"|({'|'.join(opening)}) [,] [{_LEADS}]" if opening else ""
    return compiled(f"({_LEADS}|({_CHEERS}) [,]) [{_LEADS}]{numbers}{openings}")


def _strange_words(text: str, facts: Sequence[Fact]) -> str:
    known = {word for fact in facts for word in read(fact.text)}
    for fact in facts:
        for pattern in (
            *fact.also,
            *fact.partly,
            *fact.elliptical,
            *fact.anaphoric,
            *fact.reasons,
            fact.subject,
            *fact.claim,
            _LEADS,
            _NEUTRAL,
            _CONTRASTS,
            _CONTRAST_LEADS,
        ):
            known.update(_PATTERN_TOKEN.findall(pattern))
    strange = sorted({word for word in read(text) if word.isalnum()} - known)
    return f" (not in them: {', '.join(strange[:5])})" if strange else ""


class Matcher:
    """A compiled pattern: called with words and the places where a match may start, it returns where matches end."""

    def __init__(self, matches: Callable[[Sequence[str], Positions], Positions], first: frozenset[str], empty: bool):
        self._matches = matches
        # The words that a match may start with, and whether it may have none: most patterns are ruled out by them.
        self.first = first
        self.empty = empty

    def __call__(self, text: Sequence[str], starts: Positions) -> Positions:
        """Return the places where matches end that start at one of the given."""
        if not self.empty:
            starts = frozenset(start for start in starts if start < len(text) and text[start] in self.first)
        return self._matches(text, starts) if starts else starts


@lru_cache(maxsize=8192)
def compiled(pattern: str, subject: str = "") -> Matcher:
    """Return the matcher of a pattern, in which `@` stands for the pattern of a subject.

    Raises:
        ValueError: a bracket is not closed, or not opened.
    """
    tokens = _PATTERN_TOKEN.findall(pattern)
    matcher, end = _alternatives(tokens, 0, "", compiled(subject) if subject else None)
    if end != len(tokens):
        raise ValueError(f"The pattern {pattern!r} has a bracket too many")
    return matcher


def _alternatives(tokens: Sequence[str], start: int, closing: str, subject: Matcher | None) -> tuple[Matcher, int]:
    """Compile up to a closing bracket (or the end): alternatives, each a sequence."""
    options: list[Matcher] = []
    sequence: list[Matcher] = []
    place = start
    while place < len(tokens) and tokens[place] not in _CLOSING:
        token = tokens[place]
        if token == "|":
            options.append(_in_sequence(sequence))
            sequence = []
            place += 1
        elif token in {"(", "["}:
            matcher, end = _alternatives(tokens, place + 1, ")" if token == "(" else "]", subject)
            sequence.append(matcher if token == "(" else _one_of([matcher, _in_sequence([])]))
            place = end + 1
        elif token in {"{", "{?", "{+"}:
            items, end = [], place
            while end == place or tokens[end] == ";":
                item, end = _alternatives(tokens, end + 1, ";}", subject)
                items.append(item)
            sequence.append(_in_any_order(items, all_needed=token != "{?", may_be_joined=token != "{"))
            place = end + 1
        else:
            sequence.append(subject if token == "@" and subject else _word(token))
            place += 1
    if closing and (place == len(tokens) or tokens[place] not in closing):
        raise ValueError(f"The pattern {' '.join(tokens)!r} lacks one of {closing!r}")
    return _one_of([*options, _in_sequence(sequence)]), place


_CLOSING = frozenset("]);}")


@cache
def _word(word: str) -> Matcher:
    words = _PAUSES if word == "," else frozenset({word})
    return Matcher(lambda _, starts: frozenset(start + 1 for start in starts), words, empty=False)


def _in_sequence(matchers: Sequence[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]
    first: set[str] = set()
    for matcher in matchers:
        first |= matcher.first
        if not matcher.empty:
            break

    def matches(text: Sequence[str], starts: Positions) -> Positions:
        for matcher in matchers:
            starts = matcher(text, starts)
            if not starts:
                break
        return starts

    return Matcher(matches, frozenset(first), all(matcher.empty for matcher in matchers))


def _one_of(matchers: Sequence[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]

    def matches(text: Sequence[str], starts: Positions) -> Positions:
        return frozenset().union(*(matcher(text, starts) for matcher in matchers))

    first = frozenset().union(*(matcher.first for matcher in matchers))
    return Matcher(matches, first, any(matcher.empty for matcher in matchers))


def _in_any_order(matchers: Sequence[Matcher], all_needed: bool, may_be_joined: bool) -> Matcher:
    everything = frozenset(range(len(matchers)))

    def matches(text: Sequence[str], starts: Positions) -> Positions:
        ends: set[int] = set()
        states = {(everything, start) for start in starts}
        while states:
            following = set()
            for left, position in states:
                here = frozenset({position})
                begins = here if left == everything or not may_be_joined else here | _JOINED(text, here)
                for item in left:
                    following |= {(left - {item}, end) for end in matchers[item](text, begins)}
            ends |= {position for left, position in following if not left or not all_needed}
            states = following
        return frozenset(ends)

    return Matcher(matches, frozenset().union(*(matcher.first for matcher in matchers)), empty=False)


_JOINED = compiled(", [and]|and")
