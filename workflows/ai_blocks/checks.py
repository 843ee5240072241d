"""Checks of a model's answer: each says what is wrong, or nothing. `prompts/README.md` explains those of prompt files.

Paths lead into the answer and the inputs; `[]` stands for every item of a list.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workflows.ai_blocks.untrusted import printable
from workflows.common.numbers import unknown_number

Values = Mapping[str, Any]
PATTERN_FLAGS = re.IGNORECASE | re.MULTILINE


def select(value: Any, path: str) -> list[Any]:
    """Return the values at a path, in order; what does not exist is left out."""
    found = [value]
    for part in path.split("."):
        name = part.removesuffix("[]")
        found = [one[name] for one in found if isinstance(one, Mapping) and name in one]
        if part.endswith("[]"):
            found = [item for one in found if isinstance(one, list) for item in one]
    return found


def root(path: str) -> str:
    """Return the first name of a path."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def stands_in(quote: str, source: str) -> bool:
    """Whether a quote stands word for word in a text; case, white space, forms of quotes and dashes do not count."""
    return bool(plain := folded(quote)) and re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", folded(source)) is not None


def folded(text: str) -> str:
    """Return a text as the checks compare it: case, white space, forms of quotes and dashes do not count."""
    text = printable(text).translate(str.maketrans("’‘“”–—", "''\"\"--"))
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", " ".join(text.casefold().split()))


def _first_match(patterns: Iterable[str], text: str) -> str | None:
    matches = (re.search(one, text, PATTERN_FLAGS) for one in patterns)
    return next((match.group() for match in matches if match), None)


def _compilable(text: str) -> str:
    try:
        # With the flags of its use: Python keeps it then, also for processes that are forked later.
        re.compile(text, PATTERN_FLAGS)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    return text


Path = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\[\])?(\.[A-Za-z_]\w*(\[\])?)*$")]
Pattern = Annotated[str, AfterValidator(_compilable)]


@dataclass(frozen=True)
class Refusal:
    """Why an attempt was not accepted."""

    check: str  # `format`, the name of a check, or `validation` where the model refused its own answer.
    reason: str  # In words; the model is told them at the next attempt.


@dataclass(frozen=True)
class CodeCheck:
    """A check that only code of the block's own domain can make: `find_problem` says what is wrong."""

    name: str
    checked_field: str
    find_problem: Callable[[Values], str | None]

    def problem(self, answer: Values, inputs: Values) -> str | None:  # noqa: ARG002
        """Say what is wrong with an answer, None if nothing is."""
        return self.find_problem(answer)


class DeclaredCheck(BaseModel):
    """A check of a prompt file: of the values at `field`, against those at `inputs`, and `also` of the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Path
    inputs: list[Path] = Field(default_factory=list)
    also: list[Path] = Field(default_factory=list)

    @property
    def name(self) -> str:
        """Name in prompt files."""
        return type(self).__name__.lower()

    @property
    def checked_field(self) -> str:
        """Field of the answer that it looks at."""
        return root(self.field)

    def problem(self, answer: Values, inputs: Values) -> str | None:
        """Say what is wrong with the first wrong value, None if nothing is."""
        known = [value for path in self.inputs for value in select(inputs, path)]
        known += [value for path in self.also for value in select(answer, path)]
        problems = (self._find(value, known) for value in select(answer, self.field))
        return next((f"{self.field} {problem}" for problem in problems if problem is not None), None)

    def _find(self, value: Any, known: list[Any]) -> str | None:
        raise NotImplementedError


class Equals(DeclaredCheck):
    """The value is that of the input."""

    def _find(self, value: Any, known: list[Any]) -> str | None:
        return None if value in known else f"has to be {known[0] if known else None!r}"


class Numbers(DeclaredCheck):
    """Every number in the text is one of the inputs' numbers, also rounded, in words or as a percentage."""

    def _find(self, value: Any, known: list[Any]) -> str | None:
        number = unknown_number(str(value), known)
        return None if number is None else f"names the number {number}, which is not among the facts"


class Quotes(DeclaredCheck):
    """The text stands word for word in an input."""

    def _find(self, value: Any, known: list[Any]) -> str | None:
        return None if any(stands_in(str(value), str(one)) for one in known) else f"{value!r:.80} is not a quote"


class Mentions(DeclaredCheck):
    """The text names every one of the inputs' values."""

    def _find(self, value: Any, known: list[Any]) -> str | None:
        missing = next((one for one in known if not stands_in(str(one), str(value))), None)
        return None if missing is None else f"has to name {missing!r:.60}"


class Avoids(DeclaredCheck):
    """The text contains none of the patterns (regular expressions; case does not count)."""

    patterns: list[Pattern] = Field(min_length=1)

    def _find(self, value: Any, known: list[Any]) -> str | None:  # noqa: ARG002
        found = _first_match(self.patterns, str(value))
        return None if found is None else f"must not say {found!r:.60}"


class States(DeclaredCheck):
    """No sentence has a pattern of another value than the input's; with `required`, one has a pattern of its value.

    Sentences that match `unless` are left out: they may speak of what did not happen.
    """

    patterns: dict[str, list[Pattern]] = Field(min_length=2)
    required: bool = True
    unless: Pattern = r"(?!)"

    def _find(self, value: Any, known: list[Any]) -> str | None:
        wanted = str(known[0])
        sentences = re.split(r"(?<=[.!?;])\s+", str(value))
        text = "\n".join(one for one in sentences if not re.search(self.unless, one, PATTERN_FLAGS))
        found = {name: _first_match(patterns, text) for name, patterns in self.patterns.items()}
        wrong = next((said for name, said in found.items() if name != wanted and said), None)
        if wrong is not None:
            return f"says {wrong!r:.60}, but it is {wanted!r}"
        return f"does not say that it is {wanted!r}" if self.required and not found.get(wanted) else None


class Signs(DeclaredCheck):
    """The item names one of the input's numbers (at `key`) and says its sign (at `effect`) in the words given."""

    key: str
    effect: str
    positive: str
    negative: str

    def _find(self, value: Any, known: list[Any]) -> str | None:
        name, numbers = value.get(self.key), known[0]
        if name not in numbers:
            return f"names {name!r:.60}, which is none of {', '.join(numbers)}"
        wanted = self.positive if numbers[name] > 0 else self.negative
        return None if value.get(self.effect) == wanted else f"says the wrong effect of {name}: it {wanted}"


class Members(DeclaredCheck):
    """The item is one of the inputs' items; only the named keys are compared."""

    keys: list[str] = Field(min_length=1)

    def _find(self, value: Any, known: list[Any]) -> str | None:
        def compared(item: Values) -> list[str]:
            return [folded(f"{part:g}" if isinstance(part := item.get(key), float) else str(part)) for key in self.keys]

        found = compared(value)
        return None if found in map(compared, known) else f"has {', '.join(found):.80}, which is unknown"


Check = CodeCheck | DeclaredCheck
DECLARED = {
    check.__name__.lower(): check for check in (Equals, Numbers, Quotes, Mentions, Avoids, States, Signs, Members)
}
