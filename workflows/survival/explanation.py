"""Why the model predicts what it does for one passenger: exact contributions, worded by a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.grounding import Fact, literal, read
from workflows.ai_blocks.phrases import likelihood, percent, percent_pattern, size_of_chance
from workflows.common.errors import InvalidInputError
from workflows.sql_python.passengers import ADULT_FROM_YEARS, CLASSES, PORTS
from workflows.survival.features import BOY_AGE_YEARS, FEATURES, title_of

FEATURES_NAMED = 3
LARGEST_PROBABILITY = 0.999

_CHANCE_OF = "[of (survival|surviving)]"
# Verbs for raising the chance of survival, and for lowering it.
_VERBS = {
    True: "raised|raises|raise|increased|increases|increase|improved|improves|improve|boosted|boosts|boost|helped",
    False: "lowered|lowers|lower|reduced|reduces|reduce|decreased|decreases|decrease|hurt|hurts|diminished|worsened",
}


def explain(prediction: Mapping[str, Any], model: LanguageModel | None = None, run: object = None) -> dict[str, Any]:
    """Explain a prediction in a few sentences.

    Args:
        prediction: What `workflows.survival.inference.predict_passenger` returns.
        model: Whom to ask; by default the configured one.
        run: Id of the pipeline run, to which the tokens are booked.

    Returns:
        `survived` (0 or 1), `probability` and `model_version` of the prediction; `explanation`;
        `strongest_features`, name and log-odds; where the text comes from, see `Answer.provenance`.

    Raises:
        InvalidInputError: the prediction lacks something.
        ServiceError: the language model's server could not be reached, or refused.
    """
    lacking = {"survived", "probability", "passenger", "contributions", "model_version"} - set(prediction)
    if lacking:
        raise InvalidInputError("The prediction cannot be explained", dict.fromkeys(sorted(lacking), "is missing"))
    strongest = strongest_contributions(prediction["contributions"])
    facts = facts_of(prediction)

    def check(answer: Mapping[str, Any]) -> str | None:
        return unclear_chance(answer, facts)

    answer = ask("explain_prediction", {"outcome": outcome_of(prediction)}, facts, check=check, model=model, run=run)
    return {
        "survived": int(prediction["survived"]),
        "probability": float(prediction["probability"]),
        "model_version": prediction["model_version"],
        "explanation": answer.values["explanation"],
        "strongest_features": dict(strongest),
        **answer.provenance(),
    }


def outcome_of(prediction: Mapping[str, Any]) -> str:
    """Name the predicted outcome as the prompt does."""
    return "survived" if int(prediction["survived"]) else "died"


def strongest_contributions(contributions: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the features that moved the prediction most, in log-odds, strongest first; ties by name."""
    moved = [(name, float(value)) for name, value in contributions.items() if value]
    return sorted(moved, key=lambda item: (-abs(item[1]), item[0]))[:FEATURES_NAMED]


def facts_of(prediction: Mapping[str, Any]) -> list[Fact]:
    """Return what an explanation may say: the outcome first, then the strongest features in order."""
    passenger, survived = prediction["passenger"], bool(int(prediction["survived"]))
    words = _Words.of(passenger)
    # No prediction is certain, even where the number is rounded to 0 or 1.
    probability = min(LARGEST_PROBABILITY, max(1 - LARGEST_PROBABILITY, float(prediction["probability"])))
    facts = [_outcome(probability, survived, words)]
    strongest = strongest_contributions(prediction["contributions"])
    subjects = [_subject_pattern(feature, passenger, words) for feature, _ in strongest]
    # Those that come next, up to the first of the other direction.
    alike = list(takewhile(lambda place: strongest[place][1] * strongest[0][1] > 0, range(len(strongest))))
    following = [subjects[place] for place in alike[1:]]
    for rank, (feature, value) in enumerate(strongest):
        subject = describe(feature, passenger)
        start = f"Most of all, {subject}" if rank == 0 else f"{subject[0].upper()}{subject[1:]}"
        raised = value > 0
        facts.append(
            Fact(
                f"{start} {'raised' if raised else 'lowered'} the chance of survival.",
                _strongest(subjects[0], following, raised, words) if rank == 0 else (),
                reasons=_main_reason(subjects[0], _clause(feature, passenger, words))
                if rank == 0 and raised == survived
                else (),
                subject=subjects[rank],
                claim=_claim(raised, survived, words),
                is_reason=raised == survived,
                is_required=rank == 0,
            )
        )
    return facts


def unclear_chance(answer: Mapping[str, Any], facts: list[Fact]) -> str | None:
    """Say where a chance could be taken for that of death, None if it cannot."""
    if "died" in facts[0].text and _names_another_chance(read(str(answer["explanation"]))):
        return "it is not said that the chance is that of survival"
    return None


def _names_another_chance(words: Sequence[str]) -> bool:
    """Whether "it" or "the chance" is named first without survival: behind a death it would be that of death."""
    for place, word in enumerate(words):
        if word in _CHANCES | {"it", "them"}:
            return not {"survival", "surviving"} & {*words[:place], *words[place + 1 : place + 3]}
    return False


_CHANCES = frozenset({"chance", "chances", "odds", "probability", "likelihood"})


@dataclass(frozen=True)
class _Words:
    """Patterns of the words for a passenger, which depend on the sex: the person, whom, whose, and the chance."""

    person: str
    whom: str
    whose: str

    @classmethod
    def of(cls, passenger: Mapping[str, Any]) -> "_Words":
        he, him, his = {"female": ("she", "her", "her"), "male": ("he", "him", "his")}.get(
            str(passenger.get("sex")), ("they", "them", "their")
        )
        return cls(
            person=f"(the passenger|this passenger|{he})",
            whom=f"(the passenger|this passenger|{him})",
            whose=f"({his}|the passenger 's|this passenger 's)",
        )

    @property
    def chance(self) -> str:
        """The chance of survival as the object of a sentence, or as its subject in the passive."""
        noun = "(chance|chances|odds|probability|likelihood)"
        return f"(it|them|(the|that|this|{self.whose}) ([predicted] {noun} {_CHANCE_OF}|survival {noun}))"


def _outcome(probability: float, survived: bool, words: _Words) -> Fact:
    """Return the predicted outcome with the chance, which may stand alone but does not say the outcome."""
    who, rate, adverb = (
        words.person,
        percent_pattern(probability),
        likelihood(probability if survived else 1 - probability),
    )
    size = size_of_chance(probability)
    chance = "(chance|chances|odds|probability|likelihood)"
    # Behind a predicted death, "a chance of 30 %" would be that of death.
    what = f"(survival {chance}|{chance} of (survival|surviving){f'|{chance}' if survived else ''})"
    noun = f"[{size}] [predicted|estimated] {what}"
    a_chance = f"([a|an|only a|just a] {rate} {noun}|[a|{words.whose}] {noun} (of|at) {rate})"
    chances = (
        f"(the|{words.whose}) {noun} (is|are|was|were|being|was put at|was estimated at|is estimated at|at) {rate}",
        f"{words.person} (had|has) {a_chance}",
        f"[with] the model (gave|gives|giving) [{words.whom}] {a_chance}",
        f"[with] the model (estimating|estimated|estimates) {a_chance} [for {words.whom}]",
        f"the model (put|puts) (the|{words.whose}) {noun} at {rate}",
    )
    bare = f"|[,] (at|with a probability of) {rate}" if survived else ""
    also = f"[[,] (with|at|given) {a_chance}|[,] {a_chance}{bare}]"
    if survived:
        done, to_do, noun_of = "survived|would survive|would have survived", "(have survived|survive)", "survival"
    else:
        done = "died|perished|did not (survive|make it)|would (die|have died|not survive|not have survived)"
        to_do, noun_of = "(have died|die|not survive|not have survived)", "(death|non survival)"
    likely = [f"{who} (most likely|likely|probably) ({done})"] if adverb else []
    unsaid = [] if survived else [f"{who} (is|was) (predicted not to|not predicted to) (survive|have survived)"]
    more = [f"{who} was more likely to {to_do} than not"] if adverb else []
    said = (
        f"[{who}] (is|was) (predicted|expected) to {to_do}",
        f"[the (model|prediction)] (predicts|predicted|is) [that] {who} ({done})",
        f"the prediction for {words.whom} (is|was) that {who} ({done})",
        f"(according to|based on) the (model|prediction) , {who} ({done})",
        f"the (model|prediction) predicts {noun_of}",
        f"the (predicted outcome|outcome predicted) [for {words.whom}] (is|was) ({noun_of}|that {who} ({done}))",
        f"{noun_of} (is|was) predicted [for {words.whom}]",
        *likely,
        *unsaid,
        *more,
    )
    return Fact(
        f"The passenger is predicted to have {'survived' if survived else 'died'}: "
        f"the chance of survival was {percent(probability)}.",
        tuple(f"[(with|given|at) {a_chance} ,] {one} {also}" for one in said),
        partly=chances,
        is_required=True,
    )


def _claim(raised: bool, survived: bool, words: _Words) -> tuple[str, ...]:
    """Return what may be said of features of one direction."""
    verbs, chance = _VERBS[raised], words.chance
    more = "[further|too|as well|in turn]"
    side, size = ("positive", "more") if raised else ("negative", "less")
    ways = [
        f"[on the {side} side ,] @ [also|further|then|both] ({verbs}) {chance} {more}",
        f"@ [also] made (survival {size} likely|{words.whom} {size} likely to survive) {more}",
        f"@ (was|were) [also] (a {side} factor|{side} factors)",
        f"{chance} (is|was|were) [also|further] ({_PASSIVE[raised]}) {more} by @",
        f"@ [also|both] had a {side} (effect|influence|impact) [on {chance}] {more}",
        f"@ [also] ({verbs}) {chance} {more} [,] (and so did|as did|as does) @ {more}",
    ]
    if raised:
        ways += [
            f"@ [also] (helped|helps|help) [{words.whom}] {more}",
            f"@ [also] (worked|counted|works|counts) in {words.whose} favour {more}",
            f"@ [also] pushed {chance} up {more}",
            f"in {words.whose} favour [,] @ ({verbs}) {chance} {more}",
        ]
    else:
        ways += [
            f"@ [also] (worked|counted|works|counts) against {words.whom} {more}",
            f"@ [also] pulled {chance} down {more}",
        ]
    if raised == survived:
        ways.append("@ [also] contributed to the (prediction|outcome) [too|as well]")
    return tuple(ways)


_PASSIVE = {True: "raised|increased|improved|boosted|lifted", False: "lowered|reduced|decreased|diminished"}


def _strongest(subject: str, following: Sequence[str], raised: bool, words: _Words) -> tuple[str, ...]:
    """Return what may be said of the strongest feature alone, with those of its direction that come next."""
    verbs, chance, effect = _VERBS[raised], words.chance, "positive" if raised else "negative"
    did = f"({verbs}) {chance}" + ("|helped" if raised else f"|(counted|worked) against {words.whom}")
    most = "[the] most [of all|strongly]"
    side = f"(in {words.whose} favour|for {words.whom})" if raised else f"against {words.whom}"
    strongest = "(strongest|biggest|largest|main|key|primary|greatest|most (important|influential|significant))"
    factor = f"[single] {strongest} [{effect}] (factor|influence|feature|contribution)"
    lowering = f"({_PARTICIPLE[raised]}) {chance}"
    direction = f"({side}|[,] [and] (which|that|it) {did}|and ({did})|[,] {lowering})"
    ways = [
        f"(most of all|above all|most importantly|more than anything [else]) [,] {subject} ({did})",
        f"{subject} ({did}) {most}",
        f"{chance} (is|was|were) ({_PASSIVE[raised]}) {most} by {subject}",
        f"{subject} (is|was) the {factor} [{direction}]",
        f"{subject} was the factor that ({did}) {most}",
        f"the {factor} [{side}] (was|is|came from) {subject} [{direction}]",
        f"what ({did}) [the] most was {subject}",
        f"{subject} had the {strongest} [{effect}] (effect|influence|impact) [{direction}|on {chance}]",
    ]
    if following:
        then = " [,] [and] [then|then by] ".join(f"[by] {one}" for one in following)
        ways.append(f"{subject} ({did}) {most} , followed by {then}")
        ways.append(f"{subject} ({did}) {most} , followed by {following[0]}")
    return tuple(ways)


def _main_reason(subject: str, clause: str) -> tuple[str, ...]:
    """Return what may be said of the strongest feature right behind the outcome that it speaks for."""
    mainly, main = "(mainly|primarily|largely|chiefly)", "(main|strongest|most important)"
    ways = [
        f"{mainly} (because of|due to) {subject}",
        f"[this|that] (is|was) {mainly} (because of|due to) {subject}",
        f"the {main} reason (is|was) {subject}",
        f"{subject} contributed [the] most [to (this|that|it)]",
    ]
    if clause:
        ways += [f"[this is] {mainly} because {clause}", f"the {main} reason (is|was) that {clause}"]
    return tuple(ways)


_PARTICIPLE = {
    True: "raising|increasing|improving|boosting|lifting",
    False: "lowering|reducing|decreasing|diminishing",
}


def _subject_pattern(feature: str, passenger: Mapping[str, Any], words: _Words) -> str:
    """Return the pattern of the ways to name a feature as the subject of a sentence; `describe` is one of them."""
    known = {name: value for name, value in passenger.items() if value is not None}
    described, whose = describe(feature, passenger), words.whose
    his = f"[{whose}]"
    ways = [literal(described)]
    if described.startswith("being "):
        what = literal(described.removeprefix("being "))
        noun = " [passenger]" if what in {"male", "female"} else ""
        ways += [f"{his} being [a] {what}{noun}"]
    if feature == "pclass" and "pclass" in known:
        ticket = f"{CLASSES[int(known['pclass'])]} class"
        ways += [
            f"{his} (travelling|being) in {ticket}",
            f"[{whose}|a] {ticket} [ticket|travel]",
            f"{whose} (place|travel) in {ticket}",
        ]
    if feature == "age" and "age" in known:
        age = f"{known['age']:g}"
        ways += [f"(an|the|{whose}) age of {age} [years]", f"{his} being {age} [years (old|of age)]"]
    if feature == "fare" and "fare" in known:
        fare = f"{known['fare']:.0f}"
        ways += [f"(a|the|{whose}) fare of (about|around|roughly|approximately) {fare} pounds"]
    if described == "travelling alone":
        ways += [f"{his} travelling alone"]
    if feature == "family_size" and described.startswith("a family of "):
        family = literal(described.removesuffix(" on board"))
        ways += [f"(having|travelling with|being in|being part of) {family} [on board]"]
        ways += [f"{whose} {family.removeprefix('a ')} [on board]"]
    if feature == "deck" and "cabin" in known:
        cabin = literal(described.removeprefix("a "))
        ways += [f"[having] (a|the|{whose}) {cabin}"]
    if described.startswith("boarding at "):
        port = literal(described.removeprefix("boarding at "))
        ways += [f"{his} (boarding|having boarded) at {port}"]
    if clause := _clause(feature, passenger, words):
        ways.append(f"(that|the fact that) {clause}")
    return f"({'|'.join(ways)})"


def _clause(feature: str, passenger: Mapping[str, Any], words: _Words) -> str:
    """Return the pattern of a feature as a clause of its own ("she travelled in third class"), empty if it has none."""
    described = describe(feature, passenger)
    if described.startswith("being "):
        return f"{words.person} (is|was) [a] {literal(described.removeprefix('being '))}"
    if described.startswith("boarding at "):
        return f"{words.person} boarded at {literal(described.removeprefix('boarding at '))}"
    if described.startswith("travelling "):
        return f"{words.person} (travelled|was travelling) {literal(described.removeprefix('travelling '))}"
    return ""


def describe(feature: str, passenger: Mapping[str, Any]) -> str:
    """Say in a few words what a feature of the model was for a passenger, as the subject of a sentence."""
    known = {name: value for name, value in passenger.items() if value is not None}
    family = 1 + int(known.get("sibsp", 0)) + int(known.get("parch", 0))
    texts = {
        "is_female": f"being {known.get('sex', 'of unknown sex')}",
        "is_woman_or_boy": _woman_boy_or_man(known),
        "pclass": f"travelling in {CLASSES[int(known['pclass'])]} class" if "pclass" in known else "an unknown class",
        "age": f"an age of {known['age']:g} years" if "age" in known else "an unknown age",
        "fare": f"a fare of about {known['fare']:.0f} pounds" if "fare" in known else "an unknown fare",
        "fare_per_person": "the fare for each person",
        "family_size": "travelling alone" if family == 1 else f"a family of {family} on board",
        "group_size": "the size of the group",
        "has_rare_title": "the title in the name",
        "deck": f"a cabin on deck {str(known['cabin'])[:1]}" if "cabin" in known else "an unknown cabin",
        "boarded_at_southampton": f"boarding at {PORTS[known['embarked']]}"
        if known.get("embarked") in PORTS
        else "an unknown port",
        "ticket_number": "the number of the ticket",
        "ticket_length": "the series of the ticket",
        "companions_survived": "the fate of the women and children on the same ticket",
    }
    if feature in texts:
        return texts[feature]
    return FEATURES[feature].description if feature in FEATURES else feature.replace("_", " ")


def _woman_boy_or_man(known: Mapping[str, Any]) -> str:
    title = title_of(str(known["_name"])) if "_name" in known else None
    if known.get("sex") == "female" or title == "woman":
        return "being a girl" if known.get("age", ADULT_FROM_YEARS) < ADULT_FROM_YEARS else "being a woman"
    if title == "boy" or (title is None and known.get("age", BOY_AGE_YEARS) < BOY_AGE_YEARS):
        return "being a boy"
    return "being a grown man" if "sex" in known or title else "an unknown sex"
