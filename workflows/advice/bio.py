"""Read what a bio says about a passenger, by rules: each attribute with the text that it comes from.

A bio is data: it is searched, never followed. What it does not say, or says in two ways, stays unknown.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workflows.advice.framework import Value
from workflows.ai_blocks.grounding import NUMBER_WORDS
from workflows.common.errors import InvalidInputError
from workflows.sql_python.passengers import age_band, family_band

MAX_BIO_CHARACTERS = 2000
MAX_AGE_YEARS = 120
EXAMPLE = '{"about_me": {"bio": "I am a 21-year-old student."}}'


@dataclass(frozen=True)
class Found:
    """An attribute that the bio states.

    Attributes:
        value: What it states.
        text: The words that state it.
        start: Where they begin in the bio, in characters.
        end: Where they end.
    """

    value: Any
    text: str
    start: int
    end: int


def read_about_me(about_me: object) -> str:
    """Return the bio of the variable `about_me: {bio: text}`.

    Raises:
        InvalidInputError: `.fields` says what is wrong with `about_me` or `about_me.bio`.
    """
    if about_me is None:
        raise _invalid("about_me", "is missing")
    if not isinstance(about_me, Mapping):
        raise _invalid("about_me", "is not an object")
    bio = about_me.get("bio")
    if bio is None:
        raise _invalid("about_me.bio", "is missing")
    if not isinstance(bio, str):
        raise _invalid("about_me.bio", "is not a string")
    if len(bio) > MAX_BIO_CHARACTERS:
        raise _invalid("about_me.bio", f"is longer than {MAX_BIO_CHARACTERS} characters")
    if not clean(bio)[0]:
        raise _invalid("about_me.bio", "is empty")
    return bio


def clean(bio: str) -> tuple[str, list[int]]:
    """Drop control and format characters, and make every run of white space one space.

    Returns:
        The cleaned bio, and for each of its characters the place where it stood.
    """
    kept: list[tuple[str, int]] = []
    for place, char in enumerate(bio):
        if char.isspace():
            if kept and kept[-1][0] != " ":
                kept.append((" ", place))
        elif unicodedata.category(char)[0] != "C":
            kept.append((char, place))
    if kept and kept[-1][0] == " ":
        kept.pop()
    return "".join(char for char, _ in kept), [place for _, place in kept]


def attributes_of(bio: str) -> dict[str, Found | None]:
    """Return `sex`, `age` (years), `pclass`, `family` (people on board, the author included) and `embarked`."""
    cleaned, places = clean(bio)
    found = {name: search(cleaned) for name, search in _SEARCHES.items()}
    return {
        name: replace(one, start=places[one.start], end=places[one.end - 1] + 1) if one is not None else None
        for name, one in found.items()
    }


def known_values(attributes: Mapping[str, Found | None]) -> dict[str, Value]:
    """Return the attributes that a framework groups by, without the unknown ones."""
    age, family = attributes.get("age"), attributes.get("family")
    values: dict[str, Value | None] = {
        name: found.value if (found := attributes.get(name)) is not None else None
        for name in ("sex", "pclass", "embarked")
    }
    values["age_band"] = age_band(age.value) if age is not None else None
    values["family"] = family_band(family.value) if family is not None else None
    return {name: value for name, value in values.items() if value is not None}


_NUMBERS = {"a": 1, "an": 1, "one": 1, **NUMBER_WORDS}
_WORDS = "|".join(sorted((word.replace(" ", "[ -]") for word in NUMBER_WORDS), key=len, reverse=True))
_AGE = rf"(?P<age>\d{{1,3}}(?:\.\d+)?|{_WORDS})"
_FEW = r"(?:\d{1,2}|an?|one|two|three|four|five|six|seven|eight|nine|ten)"
_FLAGS = re.IGNORECASE
_I_AM = r"\bI(?:['’]m| am)"
_HARDLY_SAYS = r"(?:(?:just|only|now|actually|currently|still|also|really)\s+)*"
_MALE_ROLES = "father|dad|husband|widower|son|grandfather|granddad|grandpa|grandson|businessman|brother|uncle"
_FEMALE_ROLES = "mother|mom|mum|wife|widow|daughter|grandmother|grandma|granddaughter|businesswoman|sister|aunt"
_ADULTS = "man|woman|boy|girl|guy|gentleman|lady|lad|male|female|widow|widower|businessman|businesswoman"
_MALE_NOUNS = rf"male|man|boy(?! scouts?\b)|guy|gentleman|lad|{_MALE_ROLES}"
_FEMALE_NOUNS = rf"female|woman|girl(?! (?:scouts?|guides?)\b)|lady|{_FEMALE_ROLES}"

# What stands before a match, up to the end of the sentence before.
_SENTENCE_START = re.compile(r"[.!?;](?=\s)(?<!\bMr\.)(?<!\bDr\.)(?<!\bMrs\.)(?<!\bMs\.)")
_CLAUSE_START = re.compile(r"[.!?;,](?=\s)")
_SOMEBODY = r"(?:my|our|his|her|their|your|an?other|the)"
# "my daughter", "my little brother,": what follows is theirs.
_OF_SOMEBODY_ELSE = re.compile(rf"\b{_SOMEBODY}(?:\s+[\w-]+){{0,2}}\s*[,(]?\s*(?:an?\s+)?$", _FLAGS)
# "My best friend is a": what follows is said of another, unless the author comes in between.
_SAID_OF_ANOTHER = re.compile(
    rf"\b(?:{_SOMEBODY}(?:\s+[\w'’-]+){{1,4}}|he|she|they|who|it)\s+(?:is|are|was|were|has|had|turned|travels?|sails?|will)\b"
    r"(?!.*\bI\b)",
    _FLAGS,
)
# "mother to a boy of 6 and a girl of 3"
_OF_A_CHILD = re.compile(
    r"\b(?:mother|father|mum|mom|dad|parent|grandmother|grandfather|guardian|brother|sister|aunt|uncle)\s+(?:of|to)\b[^,.;!?]*$",
    _FLAGS,
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|no|nor|without|instead of|unlike|hardly|rather than)\b|n['’]t\b)[^.!?,;]{0,25}$", _FLAGS
)
# Wished for, planned, or long ago.
_UNREAL = re.compile(
    r"\b(?:wish|wished|dream\w*|hope|hoping|want\w*|would|could|should|might|may|if|someday|one day|used to|once|"
    r"imagine|"
    r"pretend\w*|plan\w*|rather|almost|nearly|ago|was|were|when|since|before|after|until|till|feel|feels|look|looks|next)\b[^.!?;]*$"
    r"|\b(?:told|tells?|said|says?|thinks?|guess\w*)(?: (?:me|us|that))*\s+$",
    _FLAGS,
)

_PRONOUNS = {
    "male": re.compile(r"(?<![/\w])he\s*/\s*(?:him|his)\b(?!\s*/| is\b)", _FLAGS),
    "female": re.compile(r"(?<![/\w])she\s*/\s*(?:her|hers)\b(?!\s*/\s*they| is\b)", _FLAGS),
}
# A name that ends a clause: "Mr Smith told me" is about another.
_A_NAME = r"(?=\.?(?:\s+[A-Z][\w'’.-]*)+\s*(?:[,.;(|]|$))"
_TITLES = {
    "male": re.compile(rf"\bMr\b{_A_NAME}"),
    "female": re.compile(rf"\b(?:Mrs|Ms|Miss)\b{_A_NAME}"),
}
_NOUNS = {
    "male": re.compile(rf"\b(?:{_MALE_NOUNS})\b(?!['’]s\b|-in-law)", _FLAGS),
    "female": re.compile(rf"\b(?:{_FEMALE_NOUNS})\b(?!['’]s\b|-in-law)", _FLAGS),
}
# "I'm a tall", "I am her", "As a 60-year-old", "I'm 30 and": what follows says what the author is.
_LINKING_STOPS = r"(?:of|for|with|to|in|by|from|who|that|about|like|than|at|on|against|not|without|behind)\b"
_AUTHOR_IS = re.compile(
    rf"(?:{_I_AM}|^as|[,;(]\s*as)\s+{_HARDLY_SAYS}(?:(?:an?|the|his|her|their|\d+|{_WORDS})\b[\s,-]*(?:(?!{_LINKING_STOPS})[\w'’/-]+[\s,]+){{0,5}})?$",
    _FLAGS,
)
# A note without a verb: "34 y/o guy", "Proud grandfather of five", "Born in Cork, woman in tech".
_NOTE = re.compile(
    rf"(?:(?:an?|and|proud|single|married|divorced|loving|happy|busy|young|old|tall|retired|working|devoted|{_WORDS}|\d+"
    r"|years?|olds?|y/?o|aged?|of)[\s,-]+)*$",
    _FLAGS,
)
_HAS_A_SUBJECT = re.compile(
    r"\b(?:I(?!['’]m\b| am\b)|we|he|she|they|it|my(?! name is)|our|his|her|their|with)\b(?!\s*/)", _FLAGS
)

_AGES = (
    re.compile(rf"\b{_AGE}(?:\s+|-)years?(?:\s+|-)(?:olds?|young|of age)\b(?! at heart)", _FLAGS),
    re.compile(rf"\b{_AGE}\s*(?:y/?o|yrs? old)\b", _FLAGS),
    re.compile(rf"{_I_AM}\s+{_HARDLY_SAYS}{_AGE}(?= *(?:[.,;!?)](?!\d)|and\b|but\b|years? *(?:[.,;!?)]|$)|$))", _FLAGS),
    re.compile(rf"\b(?:{_ADULTS}) of {_AGE}\b(?=\s*(?:[.,;!?)]|$|in\b|with\b|and\b|from\b|who\b|travel))", _FLAGS),
    re.compile(rf"\b(?:aged?|age is|age:)\s*{_AGE}\b", _FLAGS),
    re.compile(
        rf"(?:\bI\s+{_HARDLY_SAYS}|(?:^|[.!?]\s+)(?:just\s+|recently\s+)?)turned {_AGE}"
        r"(?= *(?:[.,;!)]|$|and\b|last (?:week|month)\b|yesterday|today|recently|this (?:week|month)))",
        _FLAGS,
    ),
    # Alone between commas, behind what can only be the author: "she/her, 27", "Hi, I'm Anna, 27", "27, photographer".
    re.compile(
        rf"(?:^|(?:he/him|she/her|they/them|{_I_AM}\s+(?-i:[A-Z])[\w-]+"
        rf"|(?-i:Mr|Mrs|Ms|Miss|Dr)\.?(?: (?-i:[A-Z])[\w-]+)+"
        rf"|\b(?:{_MALE_NOUNS}|{_FEMALE_NOUNS}))[,;|] *|{_I_AM} (?:an?|her|his) [^,.;!?]*, ){_AGE}(?=\s*[.,;|](?!\d))",
        _FLAGS,
    ),
)
# "I drive a 12-year-old car": of a thing, or of another.
_OWNS = re.compile(
    r"\b(?:I|we|he|she|they)(?:['’]ve)? (?!am\b|['’]m)[\w'’]+\b[^.!?;,]*$"
    r"|\b(?:with|for|of|have|has|own) (?:an?|two|three) $",
    _FLAGS,
)

_FOR_A_SHIP = (
    r"(?=\s*(?:[.,;:!?)]|$|(?:tickets?|cabins?|passage|passengers?|berths?|fare|accommodation|with|and|or|but|from|on|to|for|"
    r"alone|all|again|because|as|this|who)\b))"
)
_GOES = (
    r"\b(?:travel\w*|sail\w*|go|goes|going|booked|ticket|passage|berth|cabin|journey|cross\w*|sel(?:f|ves)|alone|own)\b"
)
_CLASSES = {
    number: re.compile(
        rf"\b(?:{word}|{short})[\s-]+class\b{_FOR_A_SHIP}|\bclass (?:{number}|{name}|(?-i:{roman}))\b{extra}"
        rf"|(?<=\bin ){word}(?=\s*(?:[.,;!?)]|$|with\b|and\b|from\b))",
        _FLAGS,
    )
    for number, word, short, name, roman, extra in (
        (1, "first", "1st", "one", "I", ""),
        (2, "second", "2nd", "two", "II", ""),
        (3, "third", "3rd", "three", "III", r"|\bsteerage\b"),
    )
}
_IN_CLASS = re.compile(rf"{_GOES}[^.!?;,]{{0,25}}\bin $", _FLAGS)
_BOARDS = (
    r"(?:\bboard(?:ed|ing|s)?|\bembark(?:ed|ing|s)?|\bgot on|\bget on|\bgetting on|\bjoin(?:ed|ing)?|\bleav(?:e|es|ing)"
    r"|\bdepart(?:ed|ing|s)?"
    r"|\bsail(?:ed|ing|s)?|\btravel(?:l?ed|l?ing|s)?|\bcame (?:on board|aboard))"
)
_PORTS = {
    port: re.compile(rf"{_BOARDS}(?: (?:the|her|ship|Titanic|in|on|at|from|{name}))*? (?:at|in|from) {name}\b", _FLAGS)
    for port, name in (("S", "Southampton"), ("C", "Cherbourg"), ("Q", "Queenstown"))
}

_ALONE = re.compile(
    r"\b(?:travel(?:l?ing|l?ed|s)?|sail(?:ing|ed|s)?|go(?:ing)?|am|'m|’m)\s+(?:all\s+)?"
    r"(?:alone|unaccompanied|solo|by (?:my|him|her)self|on (?:my|his|her) own)\b",
    _FLAGS,
)
_WITH_FAMILY = re.compile(rf"\bwith (?:my|our|his|her|an?|{_FEW}) [^.!?;]*", _FLAGS)
_MEMBERS = (
    r"wife|husband|spouse|brothers?|sisters?|siblings?|sons?|daughters?|child|children|kids?|mother|father|mom|mum|dad|"
    r"parents"
)
_MEMBER = re.compile(
    rf"\b(?:(?P<number>{_FEW})\s+)?(?:(?!and\b)[\w-]+\s+)?(?P<member>{_MEMBERS})\b(?!-in-law|['’]s\b)", _FLAGS
)
_AND_I = re.compile(rf"\bmy ((?:{_MEMBERS})\b[^.!?;]{{0,40}}?),? and I\b", _FLAGS)
_SOME = frozenset("brothers sisters siblings sons daughters children kids".split())  # noqa: SIM905
_FAMILY_OF = re.compile(
    rf"\b(?:(?:in|as|part of|member of)|we(?:['’]re| are)) a family of (?P<number>{_FEW})\b", _FLAGS
)
# With whom one lives is no matter of who is on board.
_STAYS = re.compile(
    r"\b(?:liv|stay|work|play|dinner|spen|love|like|grew|share|argu|talk|home|house|flat|marri|happy)\w*\b[^.!?;]*$",
    _FLAGS,
)


def _before(bio: str, position: int, start: re.Pattern[str] = _SENTENCE_START) -> str:
    """Return what stands before a place in its sentence, or in its clause."""
    return bio[max((match.end() for match in start.finditer(bio, 0, position)), default=0) : position].lstrip()


def _is_of_author(before: str) -> bool:
    """Whether what follows in a sentence may be said of the author, and as true today."""
    return not any(
        pattern.search(before) for pattern in (_OF_SOMEBODY_ELSE, _SAID_OF_ANOTHER, _OF_A_CHILD, _DENIED, _UNREAL)
    )


def _all(bio: str, pattern: re.Pattern[str], value: Any) -> list[Found]:
    """Return the places where a pattern is said of the author."""
    return [
        Found(value, match.group(), match.start(), match.end())
        for match in pattern.finditer(bio)
        if _is_of_author(_before(bio, match.start()))
    ]


def _only(found: Iterable[Found]) -> Found | None:
    """Return the first finding, unless others differ in value."""
    present = list(found)
    return min(present, key=lambda one: one.start) if len({one.value for one in present}) == 1 else None


def _sex(bio: str) -> Found | None:
    found = []
    for sex, pattern in _PRONOUNS.items():
        found += _all(bio, pattern, sex)
    for sex, pattern in _TITLES.items():
        for match in pattern.finditer(bio):
            before = _before(bio, match.start())
            if not before or re.search(rf"(?:{_I_AM}|\bname is|\bcall me)\s+$", before, _FLAGS):
                found.append(Found(sex, match.group(), match.start(), match.end()))
    for sex, pattern in _NOUNS.items():
        for match in pattern.finditer(bio):
            before = _before(bio, match.start())
            if not before.lower().endswith(("i'm her ", "i'm his ", "i am her ", "i am his ")) and not _is_of_author(
                before
            ):
                continue
            noted = _NOTE.fullmatch(_before(bio, match.start(), _CLAUSE_START)) and not _HAS_A_SUBJECT.search(before)
            if noted or _AUTHOR_IS.search(before):
                found.append(Found(sex, match.group(), match.start(), match.end()))
    return _only(found)


def _age(bio: str) -> Found | None:
    found = []
    for pattern in _AGES:
        for match in pattern.finditer(bio):
            before = _before(bio, match.start())
            if re.search(r"\bmy $", before, _FLAGS) and match.group().lower().startswith("age is"):
                before = ""
            age = _number(match["age"])
            if age <= MAX_AGE_YEARS and _is_of_author(before) and not _OWNS.search(before):
                found.append(Found(age, match.group(), match.start(), match.end()))
    return _only(found)


def _number(text: str) -> float:
    return float(text) if text[0].isdigit() else float(NUMBER_WORDS[text.lower().replace("-", " ")])


def _pclass(bio: str) -> Found | None:
    found = [one for value, pattern in _CLASSES.items() for one in _all(bio, pattern, value)]
    return _only(
        one
        for one in found
        if one.text.lower() not in {"first", "second", "third"} or _IN_CLASS.search(bio[: one.start])
    )


def _embarked(bio: str) -> Found | None:
    return _only(one for value, pattern in _PORTS.items() for one in _all(bio, pattern, value))


def _family(bio: str) -> Found | None:
    found = _all(bio, _ALONE, 1)
    found += [Found(_few(one.text.split()[-1]), one.text, one.start, one.end) for one in _all(bio, _FAMILY_OF, 0)]
    together = 0
    for match in _WITH_FAMILY.finditer(bio):
        before = _before(bio, match.start())
        companions = _AND_I.search(before)
        if _STAYS.search(before) or _UNREAL.search(before) or _DENIED.search(before):
            continue
        if companions is None and (_SAID_OF_ANOTHER.search(before) or re.search(r"\bwe\b", before, _FLAGS)):
            # "We travel with our kids": it is not said who "we" are.
            return None
        people = _members(f"{companions[1] if companions else ''} {match.group()}")
        if people is None:
            return None
        if people:
            found.append(Found(1 + people, match.group().strip(), match.start(), match.end()))
            together += 1
    # Named at two places, they may be the same people or others.
    return _only(found) if together < 2 else None


def _members(text: str) -> int | None:
    """Count the relatives that are named, None where it is not said how many they are."""
    if re.search(rf"['’]s (?:\w+ )?(?:{_MEMBERS})\b", text, _FLAGS):
        return None
    people = 0
    for member in _MEMBER.finditer(text):
        number, name = member["number"], member["member"].lower()
        if number is None and name in _SOME:
            return None
        people += _few(number) if number is not None else {"parents": 2}.get(name, 1)
    return people


def _few(number: str) -> int:
    return int(number) if number.isdigit() else _NUMBERS[number.lower()]


def _invalid(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"will_i_survive needs variables like {EXAMPLE}", {field: reason})


_SEARCHES: dict[str, Callable[[str], Found | None]] = {
    "sex": _sex,
    "age": _age,
    "pclass": _pclass,
    "family": _family,
    "embarked": _embarked,
}
